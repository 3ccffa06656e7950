"""Tables hold what is known, in units, and are read back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from tests.lineage.strategies import tracked_labels

from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.content import FrameNotes, TrackedLabels
from napari_hqsam2.lineage.tables import (
    divisions_from,
    object_rows,
    read_csv,
    write_csv,
)
from napari_hqsam2.stack_files import PixelSize

SIZES = {
    "T": PixelSize(5.0, "min"),
    "Z": PixelSize(2.0, "µm"),
    "Y": PixelSize(0.2, "µm"),
    "X": PixelSize(0.1, "µm"),
}


def test_rows_with_units_and_notes(tmp_path, dividing, division):
    content = TrackedLabels(
        labels=dividing,
        axes="TYX",
        divisions=(division,),
        names={2: 'left, "bright"'},
        notes={(2, 3): FrameNotes(3.0, 0.75, 2, 1)},
        pixel_sizes=SIZES,
    )
    table = pd.read_csv(write_csv(tmp_path / "it.csv", content))
    assert len(table) == 13
    row = table[(table.object_id == 2) & (table.t == 3)].iloc[0]
    assert row["name"] == 'left, "bright"'
    assert (row.y, row.x, row.mother, row.born) == (15, 13, 1, 3)
    assert (row.y0, row.x0, row.y1, row.x1) == (11, 9, 20, 18)
    assert (row.time, row.time_unit, row.length_unit) == (15, "min", "µm")
    assert (row.y_length, row.x_length) == pytest.approx((3.0, 1.3))
    assert row["size"] == pytest.approx(row.area * 0.02)
    assert (row.object_score, row.iou_score) == (3.0, 0.75)
    assert (row.prompts, row.locked) == (2, 1)
    assert table.z.isna().all()


def test_volumes(volume):
    content = TrackedLabels(labels=volume, axes="TZYX", pixel_sizes=SIZES)
    row = next(row for row in object_rows(content) if row.object_id == 4)
    assert (row.z, row.z0, row.z1, row.z_length) == (1, 1, 2, 2.0)
    assert row.size == pytest.approx(row.area * 0.04)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"Y": PixelSize(1), "X": PixelSize(1)},
        {"Y": PixelSize(1, "µm")},
        {"Y": PixelSize(1, "µm"), "X": PixelSize(1, "nm")},
    ],
)
def test_lengths_that_are_unknown_are_left_out(dividing, sizes):
    content = TrackedLabels(labels=dividing, axes="TYX", pixel_sizes=sizes)
    row = next(object_rows(content))
    assert row.size is row.y_length is row.length_unit is row.time is None


@given(tracked_labels())
@settings(max_examples=50)
def test_tables_come_back(content):
    with tempfile.TemporaryDirectory() as folder:
        rows = read_csv(write_csv(Path(folder) / "it.csv", content))
    assert rows == tuple(object_rows(content))
    assert divisions_from(rows) == content.divisions


def test_tables_that_cannot_be_read(tmp_path, dividing):
    content = TrackedLabels(labels=dividing, axes="TYX")
    with pytest.raises(LineageError, match=r"name the file \.csv, not it\.xls"):
        write_csv(tmp_path / "it.xls", content)
    path = write_csv(tmp_path / "it.csv", content)
    text = path.read_text()
    path.write_text(text.replace("object_id,", "id,"))
    with pytest.raises(LineageError, match="lacks the columns object_id"):
        read_csv(path)
    path.write_text(text.replace("\n1,", "\none,", 1))
    with pytest.raises(LineageError, match=r"Line 2 of it\.csv"):
        read_csv(path)


def test_no_objects(tmp_path):
    content = TrackedLabels(labels=np.zeros((3, 4), np.uint8), axes="YX")
    assert read_csv(write_csv(tmp_path / "it.csv", content)) == ()
