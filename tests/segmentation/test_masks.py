"""Logits become masks exactly as a full-size interpolation would make them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.errors import StackError
from napari_hqsam2.segmentation.masks import (
    ObjectMask,
    compose_masks,
    crop_logits,
    paint,
)


def smooth_logits(rng: np.random.Generator, count: int, hw: tuple[int, int]):
    """Blobs and empty maps, some of them at the border."""
    coarse = rng.normal(-0.4, 1.0, (count, 1, 5, 6)).astype(np.float32)
    coarse[rng.random(count) < 0.2] = -3
    fine = F.interpolate(torch.from_numpy(coarse), hw, mode="bicubic")
    return fine[:, 0].numpy()


def composed(logits, hw, ids=None, given=None):
    ids = list(range(1, len(logits) + 1)) if ids is None else ids
    zeros = [0.0] * len(ids)
    patches = crop_logits(ids, logits, zeros, zeros)
    return compose_masks(patches, low_hw=logits.shape[1:], hw=hw, given=given)


def as_labels(masks, hw):
    labels = np.zeros(hw, dtype=np.int32)
    paint(labels, masks)
    return labels


@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.tuples(st.integers(4, 20), st.integers(4, 20)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_masks_are_those_of_the_whole_upsampled_logits(seed, count, low_hw, hw):
    logits = smooth_logits(np.random.default_rng(seed), count, low_hw)
    full = F.interpolate(torch.from_numpy(logits)[:, None], hw, mode="bilinear")
    full = full[:, 0].numpy()
    largest = np.sort(full, axis=0)[::-1]
    # Pixels that rounding may decide either way.
    clear = np.abs(largest[0]) > 1e-4
    if count > 1:
        clear &= largest[0] - largest[1] > 1e-4
    expected = np.where(full.max(axis=0) > 0, full.argmax(axis=0) + 1, 0)
    labels = as_labels(composed(logits, hw), hw)
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_equal_logits_go_to_the_lower_id():
    logits = np.ones((2, 4, 4), dtype=np.float32)
    for ids in ([3, 7], [7, 3]):
        masks = composed(logits, (8, 8), ids=ids)
        assert [(m.obj_id, m.area) for m in masks] == [(3, 64), (7, 0)]


def test_masks_are_cut_to_their_box_and_keep_their_scores():
    logits = np.full((1, 16, 16), -5, dtype=np.float32)
    logits[0, 4:8, 8:10] = 5
    patches = crop_logits([9], logits, [1.5], [0.75])
    (mask,) = compose_masks(patches, low_hw=(16, 16), hw=(16, 16))
    assert (mask.top, mask.left, mask.mask.shape) == (4, 8, (4, 2))
    assert (mask.object_score, mask.iou_score) == (1.5, 0.75)
    assert mask.mask.all()


def test_an_absent_object_has_an_empty_mask():
    (mask,) = composed(np.full((1, 8, 8), -1, dtype=np.float32), (32, 32))
    assert mask.area == 0
    assert mask.mask.shape == (0, 0)


def test_a_given_mask_holds_as_it_is_and_wins_over_logits():
    logits = np.full((2, 4, 4), 9, dtype=np.float32)
    given_mask = np.zeros((16, 16), dtype=bool)
    given_mask[3, 5] = given_mask[10, 2] = True
    masks = composed(logits, (16, 16), given={2: given_mask})
    labels = as_labels(masks, (16, 16))
    np.testing.assert_array_equal(labels == 2, given_mask)
    assert (labels == 1).sum() == 256 - 2


def test_a_patch_holds_no_more_than_the_object_and_its_rim():
    logits = np.full((1, 64, 64), -5, dtype=np.float32)
    logits[0, 20:24, 30:33] = 5
    (patch,) = crop_logits([1], logits, [0.0], [0.0])
    assert patch.logits.shape == (6, 5)


def object_mask(obj_id, top, left, mask):
    return ObjectMask(obj_id, top, left, np.array(mask, dtype=bool), 1.0, 0.9)


def test_painting_touches_only_the_objects_own_label():
    labels = np.array([[1, 1, 0], [2, 0, 0], [2, 0, 3]], dtype=np.uint8)
    paint(labels, [object_mask(1, 1, 0, [[1, 1], [0, 1]])])
    np.testing.assert_array_equal(labels, [[0, 0, 0], [2, 1, 0], [2, 1, 3]])


def test_painting_without_protection_takes_other_labels():
    labels = np.array([[1, 1, 0], [2, 0, 0], [2, 0, 3]], dtype=np.uint8)
    paint(labels, [object_mask(1, 1, 0, [[1, 1], [0, 1]])], protect=False)
    np.testing.assert_array_equal(labels, [[0, 0, 0], [1, 1, 0], [2, 1, 3]])


def test_painting_clears_every_object_of_the_frame_before_it_sets_one():
    labels = np.array([[2, 2, 1]], dtype=np.int32)
    paint(labels, [object_mask(1, 0, 0, [[1, 1]]), object_mask(2, 0, 2, [[1]])])
    np.testing.assert_array_equal(labels, [[1, 1, 2]])


def test_painting_an_absent_object_clears_it():
    labels = np.array([[2, 2, 1]], dtype=np.int32)
    paint(labels, [ObjectMask(2, 0, 0, np.zeros((0, 0), dtype=bool), -1.0, 0.0)])
    np.testing.assert_array_equal(labels, [[0, 0, 1]])


def test_painting_an_id_that_does_not_fit_is_refused_and_changes_nothing():
    labels = np.full((2, 2), 5, dtype=np.uint8)
    with pytest.raises(StackError, match=r"up to 255.*id 256"):
        paint(labels, [object_mask(5, 0, 0, [[0]]), object_mask(256, 0, 0, [[1]])])
    assert (labels == 5).all()


def test_painting_into_floats_is_refused():
    with pytest.raises(StackError, match="integer dtype, got float64"):
        paint(np.zeros((2, 2)), [object_mask(1, 0, 0, [[1]])])
