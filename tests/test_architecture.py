"""The shape of the code: layers, sizes, cheap imports, nothing said twice."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_hqsam2"
SOURCES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "_version.py"})
HEAVY = ("torch", "torchvision", "napari", "qtpy", "PyQt6", "vispy", "hydra", "zarr")
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_EQUAL_LINES = 12


def _run(*command: str) -> str:
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _tracked_files() -> list[Path]:
    """Files that are committed, or would be by ``git add --all``."""
    if not (ROOT / ".git").exists():
        pytest.skip("what is tracked can be asked only in a git checkout")
    listing = _run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"
    )
    paths = (ROOT / name for name in listing.split("\0") if name)
    return [path for path in paths if path.is_file()]


def _text(path: Path) -> str:
    """Content of a text file; empty for a binary one."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode()


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = ast.get_docstring(function, clean=False) or ""
    first, last = function.lineno, function.end_lineno or function.lineno
    return last - first + 1 - len(docstring.splitlines())


def test_layers_import_in_one_direction() -> None:
    _run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = {f"{node.name}:{node.lineno}": _code_lines(node) for node in functions}
    assert {k: v for k, v in sizes.items() if v > MAX_FUNCTION_LINES} == {}


IMPORTS: dict[str, tuple[str, ...]] = {
    "napari_hqsam2": HEAVY,
    "napari_hqsam2.plugin": HEAVY,
    "napari_hqsam2.prompts": ("torch", "napari", "qtpy"),
    "napari_hqsam2.geometry": ("torch", "napari", "qtpy"),
    "napari_hqsam2.plugin.state": ("torch", "napari", "qtpy"),
    "napari_hqsam2.lineage.exchange": ("torch", "napari", "qtpy"),
    # torchvision and torch.compile bring Triton, which crashes in a process where
    # a software renderer has drawn a window before.
    "napari_hqsam2.api": ("torchvision", "torch._dynamo", "triton", "napari"),
    "napari_hqsam2.predictors.video_predictor": ("torch._dynamo", "triton"),
    **dict.fromkeys(
        (
            f"napari_hqsam2.evaluation.{name}_run"
            for name in ("image", "video", "volume", "ctc")
        ),
        ("torch._dynamo", "triton"),
    ),
    "napari_hqsam2.evaluation.label_files": (),
    "napari_hqsam2.evaluation.video_layouts": (),
}
"""What each module must not load, and none of those before it."""
OPTIONAL = ("pycocotools", "ctc_metrics")
"""What may not be there: importing it fails."""


def test_importing_does_not_load() -> None:
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({OPTIONAL!r}))
for module, absent in {IMPORTS!r}.items():
    importlib.import_module(module)
    print(*(f"{{module}}:{{name}}" for name in absent if name in sys.modules))
"""
    assert _run(sys.executable, "-c", code).split() == []


# Character classes keep this file from naming what it looks for.
FORBIDDEN = {
    "package registry": r"(?:pypi|pythonhosted|anaconda|npmjs|download[.]pytorch)[.]"
    r"(?:org|com)|index[-_]url|find[-_]links",
    "path of one machine": r"(?<![\w.~$}/-])/(?:work|root|opt|Users|home/\w+)/\w+",
}


@pytest.mark.parametrize("pattern", FORBIDDEN.values(), ids=FORBIDDEN)
def test_no_tracked_file_names_a(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in _tracked_files()
        if path != Path(__file__)
        for match in re.finditer(pattern, _text(path))
    ]
    assert found == []


def _significant_lines(path: Path) -> list[tuple[int, str]]:
    """Lines that carry code: no blanks, comments, lone brackets or imports."""
    numbered = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    stripped = ((number, line.strip()) for number, line in numbered)
    skipped = re.compile(r"#|from |import |[\])}]+,?$|$")
    return [(number, line) for number, line in stripped if not skipped.match(line)]


def _repeated_blocks(paths: list[Path], length: int) -> list[str]:
    places = defaultdict(list)
    for path in paths:
        lines = _significant_lines(path)
        for start in range(len(lines) - length + 1):
            window = lines[start : start + length]
            block = "\n".join(line for _, line in window)
            places[block].append((path, window[0][0], window[-1][0]))
    return [
        f"{first[0].name}:{first[1]} and {second[0].name}:{second[1]}"
        for found in places.values()
        for first, second in pairwise(found)
        if first[0] != second[0] or second[1] > first[2]
    ]


def test_nothing_is_said_twice() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert _repeated_blocks([*SOURCES, *tests], MAX_EQUAL_LINES) == []


def test_a_repeated_block_is_found(tmp_path: Path) -> None:
    block = "\n".join(f"value_{i} = {i}" for i in range(MAX_EQUAL_LINES))
    (tmp_path / "one.py").write_text(f"import os\n{block}\nend = 1\n", encoding="utf-8")
    (tmp_path / "two.py").write_text(f"start = 0\n\n{block}\n", encoding="utf-8")
    found = _repeated_blocks(sorted(tmp_path.iterdir()), MAX_EQUAL_LINES)
    assert found == ["one.py:2 and two.py:3"]


def _imported_packages(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = (node.names for node in nodes if isinstance(node, ast.Import))
    names = {alias.name for aliases in plain for alias in aliases}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


GIVEN = {"imagecodecs", "magicgui", "npe2", "torchvision"}
"""Needed without an import: TIFF codecs, and packages that users pin beside torch and
napari."""


def test_dependencies_are_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [project["project"]["dependencies"]]
    lists += project["project"]["optional-dependencies"].values()
    declared = {re.split(r"[<>=\[ ]", line)[0] for lines in lists for line in lines}
    imported = set().union(*map(_imported_packages, SOURCES))
    third_party = imported - sys.stdlib_module_names - {"napari_hqsam2"}
    owners = packages_distributions()
    needed = {owners[name][0].lower() for name in third_party}
    assert declared - GIVEN == needed - GIVEN
    assert declared >= GIVEN
