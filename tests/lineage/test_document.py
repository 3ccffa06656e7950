"""The examples in the document run, in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import tifffile
from typer.testing import CliRunner

from napari_hqsam2.cli import app
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.exchange import ExportFormat

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "lineage.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_examples_run(tmp_path, monkeypatch, dividing):
    tifffile.imwrite(tmp_path / "nuclei.tif", dividing.astype("uint8") * 9)
    tifffile.imwrite(tmp_path / "labels.tif", dividing)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(compile(block, "docs/lineage.md", "exec"), names)  # noqa: S102
    for name in ("session", "again"):
        assert names[name].divisions() == (Division(3, 1, (2, 3)),)
    for line in "".join(blocks("bash")).splitlines():
        result = CliRunner().invoke(app, line.split()[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"


def test_the_table_names_all_formats():
    named = set(re.findall(r"^\| `(.*?)` \|", TEXT, re.MULTILINE))
    named = {part for row in named for part in row.split("`, `")} - {"to="}
    assert named == set(get_args(ExportFormat))
