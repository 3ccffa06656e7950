"""Pairs of images and labels on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.label_files import pair_files, read_labels, read_pair

if TYPE_CHECKING:
    from pathlib import Path


def test_pairs_are_found_by_their_names(pictures: tuple[Path, Path]) -> None:
    pairs = pair_files(*pictures)
    assert [(p.name, p.image.name, p.labels.name) for p in pairs] == [
        ("a", "a.png", "a_labels.tif"),
        ("b", "b_image.npy", "b.png"),
    ]
    first, second = (list(read_pair(pair)) for pair in pairs)
    assert [frame.name for frame in (*first, *second)] == ["a", "b"]
    assert set(np.unique(first[0].labels)) == {0, 1, 2}
    assert set(np.unique(second[0].labels)) == {0, 1, 2, 3}
    assert first[0].limits == (0, 255)
    assert second[0].limits != (0, 255)


def test_stacks_are_read_frame_by_frame(tmp_path: Path) -> None:
    stack = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9)
    tifffile.imwrite(tmp_path / "s.ome.tif", stack, metadata={"axes": "ZYX"})
    labels = zarr.create_array(tmp_path / "s.zarr", shape=stack.shape, dtype="uint8")
    labels[1, 2:4, 2:4] = 7
    (pair,) = pair_files(tmp_path / "s.ome.tif", tmp_path / "s.zarr")
    frames = list(read_pair(pair))
    assert [frame.name for frame in frames] == ["s.ome[0]", "s.ome[1]", "s.ome[2]"]
    np.testing.assert_array_equal(frames[2].image, stack[2])
    assert (frames[1].labels == 7).sum() == 4
    assert len({frame.limits for frame in frames}) == 1


def test_colours_are_images_but_not_labels(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        picture = Image.fromarray(np.zeros((6, 7, 3), np.uint8))
        picture.save(tmp_path / name / "a.png")
    (pair,) = pair_files(tmp_path / "images", tmp_path / "labels")
    with pytest.raises(EvaluationError, match="whole numbers"):
        list(read_pair(pair))


def test_labels_of_another_size_are_refused(pictures: tuple[Path, Path]) -> None:
    images, labels = pictures
    np.save(labels / "b.npy", np.zeros((5, 5), np.int32))
    (labels / "b.png").unlink()
    with pytest.raises(EvaluationError, match="have the shape of their image"):
        list(read_pair(pair_files(images, labels)[1]))


def test_names_that_do_not_agree_are_shown(pictures: tuple[Path, Path]) -> None:
    images, labels = pictures
    (labels / "a_labels.tif").rename(labels / "x.tif")
    (labels / "b.png").rename(labels / "y.png")
    with pytest.raises(EvaluationError, match=r"\(a, b, \.\.\.\).*\(x, y, \.\.\.\)"):
        pair_files(images, labels)


def test_what_has_no_counterpart_is_told(
    pictures: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = pictures
    (labels / "b.png").rename(labels / "y.png")
    assert [pair.name for pair in pair_files(images, labels)] == ["a"]
    assert "2 files have no counterpart and are left out, such as b, y." in caplog.text


def test_two_files_of_one_name_are_refused(pictures: tuple[Path, Path]) -> None:
    images, labels = pictures
    (labels / "a_masks.png").write_bytes(b"")
    with pytest.raises(EvaluationError, match="keep one"):
        pair_files(images, labels)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no image"):
        pair_files(tmp_path, tmp_path)
    with pytest.raises(EvaluationError, match="There is no folder"):
        pair_files(tmp_path / "none", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jpg", "loss"), ("a.npy", "float64"), ("b.npy", "2 frames")],
)
def test_what_is_no_label_image_is_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    path = tmp_path / name
    if path.suffix == ".jpg":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    else:
        shape = (8, 8) if name == "a.npy" else (2, 8, 8)
        np.save(path, np.zeros(shape, float if name == "a.npy" else int))
    with pytest.raises(EvaluationError, match=message):
        read_labels(path)


def test_masks_of_true_and_false_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.eye(8, dtype=bool)).save(path)
    assert read_labels(path).sum() == 8
