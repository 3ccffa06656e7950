"""The example in the document runs, and its table names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile

from napari_hqsam2 import Session

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "session.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "src" / "napari_hqsam2" / "plugin" / "data" / "nuclei_tyx.ome.tif"
FRAMES = 5


def test_the_example_runs(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "nuclei.tif", tifffile.imread(SAMPLE)[:FRAMES])
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/session.md", "exec"), names)  # noqa: S102
    labels = tifffile.imread("labels.tif")
    assert set(np.unique(labels)) == {0, 1, 7}
    assert all(frame.any() for frame in labels)
    compile(names["script"], "script", "exec")


def test_the_table_names_all_calls():
    calls = re.search(r"^## Calls\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)[1]
    rows = "\n".join(re.findall(r"^\|.*$", calls, re.MULTILINE))
    named = set(re.findall(r"`(?:Session\.)?(\w+)", rows)) - {"events"}
    public = {name for name in dir(Session) if not name.startswith("_")}
    assert named == public
