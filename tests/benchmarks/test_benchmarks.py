"""The benchmarks run: each of them at its smallest.

What they measure at that size means nothing and is not looked at.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks import report, training_crops
from tests.benchmarks.__main__ import main
from tests.benchmarks.report import KEPT, PAGE

ROOT = Path(__file__).resolve().parents[2]
NEEDS_SAM2 = ("encode", "click", "track-one", "track-many", "local", "state", "growth")


def run(
    *arguments: str, root: Path = ROOT, module: str = "tests.benchmarks"
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # noqa: S603
        (sys.executable, "-m", module, *arguments),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def measured(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    found = tmp_path / "found.json"
    run("--smoke", "--device", "cpu", "--json", str(found), *arguments)
    records: list[dict[str, Any]] = json.loads(found.read_text(encoding="utf-8"))
    return records


def check(records: list[dict[str, Any]]) -> None:
    """Every row has a baseline, unless its baseline is not installed."""
    for record in records:
        row = record["measurement"]
        assert row["ours"]["value"] > 0
        if row["baseline"] is None:
            assert record["case"] in NEEDS_SAM2
            assert "sam2 is not installed" in row["note"]
            assert find_spec("sam2") is None
        else:
            assert row["baseline"]["value"] > 0


def test_operations_agree_with_the_obvious_code(tmp_path: Path) -> None:
    records = measured(tmp_path, "--case", "ops", "compose")
    check(records)
    rows = [record["measurement"] for record in records]
    composed = [row["note"] for row in rows if row["title"].startswith("compose")]
    assert set(composed) == {"labels identical"}
    components = [row["note"] for row in rows if row["title"].startswith("connected")]
    assert set(components) == {"results identical"}


@pytest.mark.slow
def test_every_case_runs(tmp_path: Path) -> None:
    records = measured(tmp_path)
    check(records)
    assert {record["case"] for record in records} >= {*NEEDS_SAM2, "draft", "compose"}


@pytest.mark.slow
def test_crops_for_training_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    training_crops.main(["--sizes", "256", "--only", "synthetic", "--stages"])
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"synthetic +256 px +[\d.]+ a second, .* of before$", lines[0])
    stages = {line[4:23].strip(): float(line[23:30]) for line in lines[1:]}
    assert stages.keys() == training_crops.STAGES.keys()
    assert max(stages, key=lambda stage: stages[stage]) == "drawing scenes"


@pytest.mark.slow
def test_operators_are_counted_without_a_gpu() -> None:
    options = ("--trunks", "tiny", "--objects", "1", "--names")
    done = run(*options, module="tests.benchmarks.operators")
    row = re.compile(
        r"^\| tiny, 1 \| ([a-z ]+) \| .* \| ([\d,]+) \(.* GB\) \| ([\d,]+) \|$",
        re.MULTILINE,
    )
    names, *counts = zip(*row.findall(done.stdout), strict=True)
    assert names == ("encode", "look around", "fuse", "predict", "remember")
    operators, calls = (sum(int(n.replace(",", "")) for n in each) for each in counts)
    # what was cast of parameters in each frame before was more than all that is left
    assert operators < 600
    # a generator for each layer, and a module for each slice of a list, were 11,000
    assert operators < calls < 9_000


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page with the table; nothing else is written to."""
    monkeypatch.setattr(report, "PAGE", tmp_path / PAGE.name)
    monkeypatch.setattr(report, "KEPT", tmp_path / KEPT.name)
    shutil.copy(PAGE, tmp_path)
    return tmp_path


def kept_record(kind: str) -> dict[str, Any]:
    return {
        "case": "compose",
        "measurement": {
            "title": f"earlier on {kind}",
            "baseline": {"name": "slow", "value": 3.0, "unit": "s"},
            "ours": {"name": "fast", "value": 0.002, "unit": "s"},
            "spread": [1400.0, 1600.0],
            "note": "",
        },
        "provenance": {
            "device": "one",
            "kind": kind,
            "threads": 2,
            "commit": "abc1234",
            "scale": "full",
        },
    }


def test_figures_replace_those_of_the_same_device(tmp_path: Path) -> None:
    """In a copy, and in another process, as sam2 changes the one it is imported in."""
    shutil.copytree(ROOT / "tests/benchmarks", tmp_path / "tests/benchmarks")
    for path in (ROOT / "tests/parity/golden/formula.py", PAGE):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True)
        shutil.copy(path, copied)
    kept = [kept_record("cpu"), kept_record("cuda")]
    (tmp_path / "docs" / KEPT.name).write_text(json.dumps(kept), encoding="utf-8")
    amounts = ("--size", "64", "--objects", "2", "--repeats", "1")
    run("--case", "compose", "--device", "cpu", *amounts, "--record", root=tmp_path)
    page = (tmp_path / "docs" / PAGE.name).read_text("utf-8")
    before = PAGE.read_text("utf-8")
    assert page.count("| compose 2 objects at 64 px |") == 1 + bool(find_spec("sam2"))
    assert "earlier on cpu" not in page
    row = "| slow: 3 s | fast: 2 ms | 1,500x (1,400 to 1,600) |  | one | 2 | abc1234 |"
    assert f"| earlier on cuda {row}" in page
    assert page.partition("<!--")[0] == before.partition("<!--")[0]


def test_the_table_is_that_of_the_kept_figures(docs: Path) -> None:
    if KEPT.is_file():
        shutil.copy(KEPT, docs)
    main(["--case", "none", "--record"])
    assert (docs / PAGE.name).read_text("utf-8") == PAGE.read_text("utf-8")


def test_a_smoke_run_leaves_the_table_alone(
    docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--smoke", "--record", "--case", "ops"])
    assert "leave one out" in capsys.readouterr().err
    assert (docs / PAGE.name).read_text("utf-8") == PAGE.read_text("utf-8")
