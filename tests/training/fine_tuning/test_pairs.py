"""Images and labels are paired by name, and what cannot be paired is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.training.fine_tuning.pairs import find_pairs

if TYPE_CHECKING:
    from pathlib import Path


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def names(images: Path, labels: Path | None = None) -> list[tuple[str, str]]:
    found = find_pairs(images, labels).found
    return [(pair.image.name, pair.labels.name) for pair in found]


def test_two_folders_are_paired_by_name_but_for_endings(tmp_path: Path) -> None:
    images = folder(
        tmp_path / "i", "t10.tif", "t2.ome.tif", "x_img.png", "odd.jpg", "n.txt"
    )
    labels = folder(tmp_path / "l", "t2.npy", "t10_Labels.tif", "x-mask.tiff")
    assert names(images, labels) == [
        ("t2.ome.tif", "t2.npy"),
        ("t10.tif", "t10_Labels.tif"),
        ("x_img.png", "x-mask.tiff"),
    ]
    left_out = find_pairs(images, labels).left_out
    assert [path.name for path in left_out] == ["odd.jpg"]


def test_equal_names_win_over_endings(tmp_path: Path) -> None:
    images = folder(tmp_path / "i", "cell_mask.tif")
    labels = folder(tmp_path / "l", "cell_mask.tif")
    assert names(images, labels) == [("cell_mask.tif", "cell_mask.tif")]


def test_one_folder_may_hold_both(tmp_path: Path) -> None:
    both = folder(tmp_path / "b", "a.tif", "a_labels.tif", "b.tif", "b_masks.png")
    assert names(both) == [("a.tif", "a_labels.tif"), ("b.tif", "b_masks.png")]


def test_a_file_goes_with_a_file_or_a_folder_of_frames(tmp_path: Path) -> None:
    here = folder(tmp_path / "b", "stack.tif", "truth.npy")
    frames = folder(tmp_path / "frames", "0.png", "1.png")
    assert names(here / "stack.tif", here / "truth.npy") == [("stack.tif", "truth.npy")]
    assert names(here / "stack.tif", frames) == [("stack.tif", "frames")]
    zarr = folder(tmp_path / "b.zarr")
    assert names(here / "stack.tif", zarr) == [("stack.tif", "b.zarr")]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (("a.tif",), ("b.tif",), r"Images: a\.tif; labels: b\.tif.*same name"),
        ((), ("b.tif",), "Images: none"),
        (("a.tif", "a.png"), ("a.tif",), "both be the image a"),
        (("a.tif",), ("a.tif", "a_gt.tif"), "both be the labels of a.tif"),
    ],
)
def test_what_cannot_be_paired_is_named(
    images: tuple[str, ...], labels: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=words):
        find_pairs(folder(tmp_path / "i", *images), folder(tmp_path / "l", *labels))


def test_paths_that_are_missing_or_lack_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="There is no file or folder"):
        find_pairs(tmp_path / "nowhere")
    alone = folder(tmp_path / "i", "a.tif") / "a.tif"
    with pytest.raises(TrainingError, match=r"is one image; give its labels"):
        find_pairs(alone)
