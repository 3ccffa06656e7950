"""Crops, dense targets and stills set in motion keep image and labels together."""

from __future__ import annotations

import numpy as np
import torch

from napari_hqsam2.training.clips import move_still
from napari_hqsam2.training.crops import (
    CropSettings,
    crop_clip,
    objects_of,
    resize_labels,
)
from napari_hqsam2.training.dense import REACH, dense_target
from napari_hqsam2.training.sources import Clip


def test_crops_move_image_and_labels_alike() -> None:
    labels = np.zeros((1, 80, 120), dtype=np.uint16)
    labels[0, 20:50, 30:90] = 3
    image = np.where(labels > 0, 255, 0).astype(np.uint8)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cropped = crop_clip(Clip(image, labels), 128, CropSettings(), rng)
        assert cropped is not None
        pictures, found = cropped
        assert pictures.shape == (1, 3, 128, 128)
        inside = found[0] == 3
        grey = pictures[0].mean(0).numpy()
        if inside.any() and not inside.all():
            # noise, blur and polarity may change, but object and ground stay apart
            assert abs(np.median(grey[inside]) - np.median(grey[~inside])) > 0.1


def test_a_frame_without_labels_yields_no_crop() -> None:
    empty = Clip(np.zeros((1, 64, 64), np.uint8), np.zeros((1, 64, 64), np.uint16))
    rng = np.random.default_rng(0)
    assert crop_clip(empty, 64, CropSettings(), rng) is None


def test_labels_are_resized_by_the_nearest_pixel_centre() -> None:
    labels = np.array([[[1, 2], [3, 4]]])
    expected = np.repeat(np.repeat(labels, 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(resize_labels(labels, 4), expected)


def test_objects_may_be_split_into_pieces_and_must_have_some_size() -> None:
    labels = np.zeros((40, 40), dtype=np.int32)
    labels[2:12, 2:12] = labels[20:30, 20:30] = 5
    labels[35, 35] = 6
    assert [int(m.sum()) for m in objects_of(labels, split=False)] == [200]
    assert [int(m.sum()) for m in objects_of(labels, split=True)] == [100, 100]


def test_dense_target_of_one_square() -> None:
    labels = np.zeros((32, 32), dtype=np.int32)
    labels[8:24, 8:24] = 1
    target = dense_target(labels)
    assert target.shape == (4, 8, 8)
    expected = torch.zeros(8, 8)
    expected[2:6, 2:6] = 1
    torch.testing.assert_close(target[0], expected)
    # the cell at row 2, column 5 is sampled at pixel (10, 22); the centre is 15.5
    torch.testing.assert_close(
        target[2:, 2, 5], torch.tensor([5.5 / REACH, -6.5 / REACH])
    )
    assert target[1, 0, 0] == 0
    assert target[1, 1, 3] > 0


def test_moved_stills_start_at_rest_and_keep_their_labels() -> None:
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20:44, 24:40] = 9
    image = torch.from_numpy(np.where(labels > 0, 1.0, 0.0)).float().expand(3, -1, -1)
    images, moved = move_still(image, labels, 4, np.random.default_rng(1))
    torch.testing.assert_close(images[0], image, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(moved[0], labels)
    assert not np.array_equal(moved[3], labels)
    for picture, truth in zip(images, moved, strict=True):
        assert np.mean((picture[0].numpy() > 0.5) == (truth == 9)) > 0.98
