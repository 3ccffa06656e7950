"""Folders of the Cell Tracking Challenge hold what they should, and come back."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from tests.lineage.strategies import tracked_labels

from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.content import TrackedLabels
from napari_hqsam2.lineage.ctc import read_ctc, write_ctc
from napari_hqsam2.lineage.divisions import Division


@pytest.fixture
def content(dividing, division):
    return TrackedLabels(
        labels=dividing, axes="TYX", divisions=(division,), provenance={"model": "m"}
    )


def read_back(folder):
    found = read_ctc(folder)
    labels = np.stack([found.labels[time] for time in range(found.labels.shape[0])])
    return labels, found.divisions


def test_files_and_tracks(tmp_path, content):
    folder = write_ctc(tmp_path / "01_RES", content)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"mask{n:03d}.tif" for n in range(6)),
        "provenance.json",
        "res_track.txt",
    ]
    lines = (folder / "res_track.txt").read_text().splitlines()
    # 4 leaves after T=1 and comes back at T=4, as 5 with 4 as its parent
    assert lines == ["1 0 2 0", "2 3 5 1", "3 3 5 1", "4 0 1 0", "5 4 5 4"]
    last = tifffile.imread(folder / "mask005.tif")
    assert last.dtype == np.uint16
    np.testing.assert_array_equal(last == 5, content.labels[5] == 4)


def test_names_of_annotations(tmp_path, content):
    folder = write_ctc(tmp_path / "TRA", content, as_truth=True)
    assert (folder / "man_track005.tif").exists()
    labels, divisions = read_back(folder)
    np.testing.assert_array_equal(labels, content.labels)
    assert divisions == content.divisions


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_challenge_finds_no_fault(tmp_path, content):
    metrics = pytest.importorskip("ctc_metrics.scripts.evaluate")
    result = write_ctc(tmp_path / "01_RES", content)
    (tmp_path / "01_GT").mkdir()
    truth = write_ctc(tmp_path / "01_GT" / "TRA", content, as_truth=True)
    found = metrics.evaluate_sequence(
        str(result), str(truth.parent), metrics=["Valid", "TRA", "LNK"]
    )
    assert found["Valid"] == 1
    assert found["TRA"] == 1
    assert found["LNK"] == 1


@given(tracked_labels())
@settings(max_examples=50)
def test_labels_come_back(content):
    """Only a daughter without a sister who begins late cannot be told from a return."""
    spans = content.table.spans()
    is_clear = all(
        len(d.daughters) > 1 or d.frame == spans[d.mother].last + 1
        for d in content.divisions
    )
    with tempfile.TemporaryDirectory() as folder:
        labels, divisions = read_back(write_ctc(Path(folder) / "it", content))
        if is_clear:
            np.testing.assert_array_equal(labels, content.labels)
            assert divisions == content.divisions
        again = TrackedLabels(labels=labels, axes=content.axes, divisions=divisions)
        twice = read_back(write_ctc(Path(folder) / "again", again))
    np.testing.assert_array_equal(twice[0], labels)
    assert twice[1] == divisions


def test_large_ids_get_labels_that_fit(tmp_path):
    labels = np.zeros((2, 3, 4), np.int32)
    labels[0, 0], labels[1, 1], labels[1, 2] = 70_000, 65_535, 2
    content = TrackedLabels(
        labels=labels, axes="TYX", divisions=(Division(1, 70_000, (2, 65_535)),)
    )
    found, divisions = read_back(write_ctc(tmp_path / "it", content))
    assert np.unique(found).tolist() == [0, 1, 2, 65_535]
    assert divisions == (Division(1, 1, (2, 65_535)),)


def test_impossible_divisions_are_not_written(tmp_path, dividing):
    content = TrackedLabels(
        labels=dividing, axes="TYX", divisions=(Division(2, 1, (2,)),)
    )
    with pytest.raises(LineageError, match="still there at T=2"):
        write_ctc(tmp_path / "it", content)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_replaced_only_when_allowed(tmp_path, content):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(LineageError, match="nothing in it is lost"):
        write_ctc(tmp_path / "mine", content, overwrite=True)
    folder = write_ctc(tmp_path / "it", content)
    with pytest.raises(LineageError, match="exists already"):
        write_ctc(folder, content)
    write_ctc(folder, content, overwrite=True)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_failure_leaves_the_old_folder(tmp_path, content, monkeypatch):
    folder = write_ctc(tmp_path / "it", content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(tifffile, "imwrite", fails)
    with pytest.raises(OSError, match="disk full"):
        write_ctc(folder, content, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 2", "Line 1 of res_track.txt is '1 0 2'"),
        ("1 0 2 x", "four whole numbers"),
        ("1 0 2 0\n1 3 4 0", "Line 2 of .* repeats a label"),
        ("1 3 2 0", "ends before it begins"),
        ("1 0 2 0\n2 2 5 1", "its parent 1 ends at 2"),
        ("2 2 5 1", "its parent 1 is not listed"),
        ("1 0 2 0", r"labels \[4\] that are not in the list"),
    ],
)
def test_lists_that_cannot_be(tmp_path, content, text, message):
    folder = write_ctc(tmp_path / "it", content)
    (folder / "res_track.txt").write_text(text)
    with pytest.raises(LineageError, match=message):
        read_back(folder)


def test_folders_that_are_none(tmp_path, content):
    with pytest.raises(LineageError, match=r"no res_track\.txt and no man_track\.txt"):
        read_ctc(tmp_path)
    folder = write_ctc(tmp_path / "it", content)
    (folder / "mask002.tif").unlink()
    with pytest.raises(LineageError, match="begin with 0 and be complete"):
        read_ctc(folder)
    tifffile.imwrite(folder / "mask002.tif", np.zeros((3, 4), np.uint16))
    with pytest.raises(LineageError, match=r"mask002.tif is uint16 of shape \(3, 4\)"):
        read_back(folder)
