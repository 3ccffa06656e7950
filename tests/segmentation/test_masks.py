"""Masks get into labels, and nothing else there changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.errors import StackError
from napari_hqsam2.segmentation.masks import (
    CLEARED_ROWS,
    ObjectMask,
    paint,
    tight_window,
)


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


@given(
    st.integers(0, 10_000),
    st.sampled_from(["u1", "i2", "i4", "u8"]),
    st.booleans(),
    st.integers(1, 3 * CLEARED_ROWS),
)
def test_painting_is_what_a_slow_loop_does(seed, dtype, protect, height):
    rng = np.random.default_rng(seed)
    old = rng.integers(0, 6, (height, 9)).astype(dtype)
    objects = [
        object_mask(obj_id, 0, 1, rng.random((height, 6)) < 0.3) for obj_id in (2, 5)
    ]
    expected = np.where(np.isin(old, (2, 5)), 0, old)
    for item in objects:
        for y, x in np.argwhere(item.mask):
            if not protect or not expected[y, x + 1]:
                expected[y, x + 1] = item.obj_id
    paint(old, objects, protect=protect)
    np.testing.assert_array_equal(old, expected)


def test_painting_writes_through_views():
    stack = np.ones((3, 4, 4), dtype=np.int32)
    paint(stack[::-1][0].T, [object_mask(1, 1, 2, [[1]])])
    assert (stack[:2] == 1).all()
    np.testing.assert_array_equal(np.argwhere(stack[2]), [[2, 1]])


@given(st.integers(0, 10_000))
def test_tight_window(seed):
    mask = np.random.default_rng(seed).random((6, 7)) < 0.05
    rows, columns = tight_window(mask)
    assert mask[rows, columns].sum() == mask.sum()
    if mask.any():
        inside = mask[rows, columns]
        assert inside[[0, -1]].any(axis=1).all()
        assert inside[:, [0, -1]].any(axis=0).all()
    else:
        assert mask[rows, columns].shape == (0, 0)
