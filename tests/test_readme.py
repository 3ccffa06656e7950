"""The documents tell the truth: code blocks run, commands and files exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_hqsam2 import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
BLOCK = re.compile(
    r"^```(?P<language>\w+)(?P<needs>[^\n]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SAMPLE = ROOT / "src" / "napari_hqsam2" / "plugin" / "data" / "nuclei_tyx.ome.tif"
FRAMES = 5


def _python_blocks() -> list[object]:
    """Code of each block; ``python needs_weights=NAME`` wants that checkpoint.

    ``python needs_display`` opens a viewer.
    """
    parameters = []
    for match in BLOCK.finditer(README):
        if match["language"] != "python":
            continue
        _, _, weights = match["needs"].partition("needs_weights=")
        marks = (
            [pytest.mark.needs_weights(weights), pytest.mark.slow] if weights else []
        )
        if "needs_display" in match["needs"]:
            marks = [pytest.mark.gui]
        line = README.count("\n", 0, match.start()) + 1
        parameters.append(pytest.param(match["code"], marks=marks, id=f"line-{line}"))
    return parameters


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with the files that the README starts from."""
    tifffile.imwrite(tmp_path / "nuclei.tif", tifffile.imread(SAMPLE)[:FRAMES])
    (points,) = (m["code"] for m in BLOCK.finditer(README) if m["language"] == "csv")
    (tmp_path / "points.csv").write_text(points, encoding="utf-8")
    for name in ("positions", "clicks"):
        (tmp_path / name).mkdir()
    shutil.copy(tmp_path / "nuclei.tif", tmp_path / "positions")
    shutil.copy(tmp_path / "points.csv", tmp_path / "clicks" / "nuclei.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", _python_blocks())
def test_python_block_runs(
    folder: Path, code: str, request: pytest.FixtureRequest
) -> None:
    if "napari.Viewer()" in code:
        request.getfixturevalue("qapp")
    variables: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), variables)  # noqa: S102
    if "napari.Viewer()" in code:
        viewer: Any = variables["viewer"]
        assert viewer.layers["cells"].data.any(axis=(1, 2)).all()
        assert len(viewer.layers[-1].data)
        viewer.close()
    if "labels.tif" in code:
        labels = tifffile.imread(folder / "labels.tif")
        assert labels.shape == (FRAMES, 130, 130)
        assert set(np.unique(labels)) == {0, 1, 2}


def test_command_line_block_runs(folder: Path) -> None:
    commands = re.findall(r"^napari-hqsam2 (.*)$", README, re.MULTILINE)
    assert commands
    for command in commands:
        result = CliRunner().invoke(cli.app, command.split())
        assert result.exit_code == 0, f"{command}: {result.output}"
    for name in ("labels.ome.tif", "labels/nuclei.tif"):
        assert set(np.unique(tifffile.imread(folder / name))) == {0, 1, 2}
    assert (folder / "outlines.png").stat().st_size > 0


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_in(name: str) -> None:
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", rules, re.MULTILINE))
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    paths = re.findall(r"`((?:src|tests|tools|docs)/[\w./]+)`", text)
    assert [path for path in (*links, *paths) if not (ROOT / path).exists()] == []
