"""Masks survive packing, printing and reading."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_hqsam2.errors import PromptError
from napari_hqsam2.session.packed_masks import PackedMask, mask_key

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20))


@given(masks)
def test_a_mask_comes_back(mask):
    packed = PackedMask.of(mask)
    np.testing.assert_array_equal(packed.unpacked(), mask)
    assert bool(packed) == mask.any()
    assert PackedMask.from_text(packed.text) == packed
    assert eval(repr(packed)) == packed  # noqa: S307


@given(masks, st.integers(0, 5), st.integers(0, 5))
def test_a_part_is_the_whole_frame(part, top, left):
    hw = (top + part.shape[0] + 1, left + part.shape[1] + 2)
    whole = np.zeros(hw, dtype=bool)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    packed = PackedMask.placed(part, top, left, hw)
    assert packed == PackedMask.of(whole)
    assert packed.key == PackedMask.of(whole).key == mask_key(part, top, left, hw)


@given(masks, masks)
def test_keys_tell_masks_apart(one, other):
    is_same = one.shape == other.shape and np.array_equal(one, other)
    assert (PackedMask.of(one).key == PackedMask.of(other).key) == is_same


@pytest.mark.parametrize("text", ["", "1,2:abc", "4,4,0,0,2,2:zzzz", "a,b,c,d,e,f:"])
def test_other_texts_are_refused(text):
    with pytest.raises(PromptError, match="not the text of a packed mask"):
        PackedMask.from_text(text)
