"""Files are complete, hold what they say, and replace others only when done."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_hqsam2.errors import StackError
from napari_hqsam2.export import write_label_zarr, write_labels
from napari_hqsam2.files import atomic_folder, atomic_path
from napari_hqsam2.outlines import (
    Tile,
    draw_outlines,
    object_colour,
    spread,
    write_outlines,
)
from napari_hqsam2.stack_files import PixelSize, open_stack


@pytest.fixture
def labels(rng):
    return rng.integers(0, 70_000, (2, 3, 20, 30), dtype=np.int32)


def test_labels_come_back_with_axes_and_sizes(tmp_path, labels):
    sizes = {
        "T": PixelSize(30.0, "s"),
        "Z": PixelSize(0.5, "µm"),
        "Y": PixelSize(0.1, "µm"),
        "X": PixelSize(0.2, "µm"),
    }
    path = write_labels(tmp_path / "out.ome.tif", labels, "TZYX", pixel_sizes=sizes)
    with open_stack(path) as stack:
        assert stack.axes.letters == "TZYX"
        assert stack.pixel_sizes == sizes
        np.testing.assert_array_equal(stack.array[:], labels)
        assert stack.array.dtype == np.int32


def test_provenance_lies_in_the_metadata(tmp_path, labels):
    provenance = {"model": "sam2.1_hq_hiera_nano", "note": "a < b & c"}
    path = write_labels(tmp_path / "out.tif", labels, "TZYX", provenance=provenance)
    with tifffile.TiffFile(path) as tiff:
        ome = tifffile.xml2dict(tiff.ome_metadata)["OME"]
    pairs = ome["StructuredAnnotations"]["MapAnnotation"]["Value"]["M"]
    assert {pair["K"]: pair["value"] for pair in pairs} == provenance


@pytest.mark.parametrize("kind", ["dask", "zarr"])
def test_lazy_labels_are_written_frame_by_frame(tmp_path, labels, kind):
    lazy = da.from_array(labels) if kind == "dask" else zarr.array(labels)
    path = write_labels(tmp_path / "out.tif", lazy, "TZYX")
    np.testing.assert_array_equal(tifffile.imread(path), labels)


@pytest.mark.parametrize("axes", ["YX", "TYX", "PTYX"])
def test_axes_are_kept(tmp_path, axes):
    shape = (2, 3, 8, 9)[-len(axes) :]
    path = write_labels(tmp_path / "out.tif", np.ones(shape, np.uint16), axes)
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape) == (axes, shape)


@pytest.mark.parametrize(
    ("name", "dtype", "axes", "problem"),
    [
        ("out.png", np.int32, "TYX", "name the file .tif or .ome.tif, not out.png"),
        ("out.tif", np.int64, "TYX", "got int64; convert them"),
        ("out.tif", np.float32, "TYX", "got float32"),
        ("out.tif", np.int32, "YX", "names 2 axes but the array has 3"),
        ("out.tif", np.int32, "YXT", "end with Y and X"),
        ("out.tif", np.int32, "CYX", "no channels"),
    ],
)
def test_labels_that_cannot_be_written_are_refused(
    tmp_path, name, dtype, axes, problem
):
    with pytest.raises(StackError, match=problem):
        write_labels(tmp_path / name, np.ones((2, 8, 8), dtype), axes)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.tif"
    path.write_bytes(b"old")
    stack = da.ones((3, 8, 8), chunks=(1, 8, 8), dtype=np.int32)

    def fail_on_second(block, block_info):
        if block_info[0]["chunk-location"][0] == 1:
            msg = "the disk fell off"
            raise OSError(msg)
        return block

    with pytest.raises(OSError, match="the disk fell off"):
        write_labels(path, stack.map_blocks(fail_on_second, dtype=np.int32), "TYX")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_dead_processes_left_of_a_file_is_removed(tmp_path):
    path = tmp_path / "a[1].txt"
    stale, fresh, other = (
        tmp_path / name
        for name in (".a[1].tmp-01.txt", ".a[1].tmp-02.txt", ".b.tmp-03.txt")
    )
    for left in (stale, fresh, other):
        left.write_text("half", encoding="utf-8")
    for left in (stale, other):
        os.utime(left, (time.time() - 7200,) * 2)
    with atomic_path(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert set(tmp_path.iterdir()) == {path, fresh, other}


def test_outlines_are_drawn_on_the_rim_of_each_object_only():
    rgb = np.full((20, 20, 3), 7, dtype=np.uint8)
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[2:8, 2:8] = 1
    labels[10:18, 10:18] = 2
    drawn = draw_outlines(rgb, labels)
    assert tuple(drawn[2, 5]) == object_colour(1)
    assert tuple(drawn[10, 10]) == object_colour(2)
    assert (drawn[4, 4] == 7).all()
    assert (drawn[0, 0] == 7).all()
    assert (rgb == 7).all()


def test_colours_of_neighbouring_ids_differ():
    colours = np.array([object_colour(i) for i in range(1, 40)], dtype=int)
    steps = np.abs(np.diff(colours, axis=0)).max(axis=1)
    assert steps.min() > 100


def test_a_picture_shows_every_frame(tmp_path):
    labels = np.zeros((40, 60), dtype=np.int32)
    labels[5:15, 5:15] = 3
    tiles = [
        Tile(f"T={t}", np.full((40, 60, 3), 60 + t, np.uint8), labels) for t in range(5)
    ]
    path = tmp_path / "picture.png"
    write_outlines(path, tiles)
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    for t in range(5):
        shown = (pixels == 60 + t).all(axis=-1)
        assert shown.sum() > 0.5 * 320 * 213
    coloured = (pixels == object_colour(3)).all(axis=-1)
    assert coloured.any(axis=0).sum() > 50


def test_pictures_that_cannot_be_drawn_are_refused(tmp_path):
    tile = Tile("", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int32))
    with pytest.raises(StackError, match="at least one"):
        write_outlines(tmp_path / "a.png", [])
    with pytest.raises(StackError, match=r"name it \.png"):
        write_outlines(tmp_path / "a.nonsense", [tile])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "most"), [(3, 5), (5, 5), (100, 7), (8, 7)])
def test_spread(count, most):
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert sorted(set(chosen)) == chosen
    assert (chosen[0], chosen[-1]) == (0, count - 1)


def test_label_zarr_replaces_nothing_but_its_like(tmp_path, labels):
    zarr.create_group(tmp_path / "raw.zarr")
    (tmp_path / "file").touch()
    for name in ("raw.zarr", "file"):
        with pytest.raises(StackError, match="was not written by an export"):
            write_label_zarr(tmp_path / name, labels, "TZYX")
    path = write_label_zarr(tmp_path / "it.zarr", labels, "TZYX")
    write_label_zarr(path, labels[:1], "TZYX")
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack.array[:], labels[:1])


def test_folders_are_exchanged_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "it"
    for text in ("old", "new"):
        with atomic_folder(folder) as new:
            (new / "text").write_text(text)
    assert (folder / "text").read_text() == "new"
    with pytest.raises(FileNotFoundError), atomic_folder(folder) as new:
        (new / "other").read_text()
    rename = Path.rename

    def fails(self, target):
        if ".tmp-" in self.name and ".old" not in self.name:
            raise OSError("in use")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="in use"), atomic_folder(folder) as new:
        (new / "text").write_text("newer")
    assert (folder / "text").read_text() == "new"
    assert list(tmp_path.iterdir()) == [folder]
