"""Volumes: solid, connected objects, and their identity over time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_hqsam2.synthetic import (
    MODALITIES,
    VOLUME_MODALITIES,
    make_time_volume,
    make_volume,
)

SIZE = (10, 64, 72)


@pytest.mark.parametrize("name", VOLUME_MODALITIES)
def test_every_object_is_one_piece(name: str) -> None:
    volume = make_volume(np.random.default_rng(2), SIZE, name)
    assert volume.modality == name
    assert volume.image.shape == volume.labels.shape == SIZE
    assert volume.image.dtype == np.uint8
    count = int(volume.labels.max())
    assert count >= 1
    for obj_id in range(1, count + 1):
        _, pieces = ndimage.label(volume.labels == obj_id)
        assert pieces == 1


@pytest.mark.parametrize("name", VOLUME_MODALITIES)
def test_same_seed_same_volume(name: str) -> None:
    first, second = (make_volume(np.random.default_rng(3), SIZE, name) for _ in "ab")
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_objects_span_several_planes() -> None:
    volume = make_volume(np.random.default_rng(0), (24, 96, 96), "nuclei")
    spans = [
        (volume.labels == i).any(axis=(1, 2)).sum()
        for i in range(1, int(volume.labels.max()) + 1)
    ]
    assert np.median(spans) >= 3


def test_objects_keep_their_ids_over_time() -> None:
    stack = make_time_volume(np.random.default_rng(1), (3, 8, 64, 64), "nuclei")
    assert stack.images.shape == stack.labels.shape == (3, 8, 64, 64)
    kept = [
        ((stack.labels[0] == i) & (stack.labels[1] == i)).any()
        for i in np.unique(stack.labels[0])[1:]
        if (stack.labels[0] == i).sum() > 200
    ]
    assert kept
    assert np.mean(kept) > 0.7
    assert (stack.labels[0] != stack.labels[2]).any()


def test_sixteen_bits_on_request() -> None:
    volume = make_volume(np.random.default_rng(0), SIZE, "membranes", dtype="uint16")
    assert volume.image.dtype == np.uint16
    assert volume.image.max() > 255


def test_modalities_without_depth_are_refused() -> None:
    assert "photo" in MODALITIES
    with pytest.raises(
        ValueError, match=r"'photo' has no volumes; choose one of nuclei"
    ):
        make_volume(np.random.default_rng(0), SIZE, "photo")


def test_small_planes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 32 pixels, got size \(64, 8\)"):
        make_volume(np.random.default_rng(0), (4, 64, 8))
