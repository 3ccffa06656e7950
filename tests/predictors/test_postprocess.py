"""Corrections of logits after prediction."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import torch
from hypothesis import given
from skimage.measure import label

from napari_hqsam2.predictors.postprocess import (
    SUPPRESSED_LOGIT,
    keep_largest_piece,
)


@given(hnp.arrays(bool, (3, 7, 9)))
def test_the_largest_piece_of_each_mask_stays(masks):
    logits = torch.from_numpy(np.where(masks, 3.0, -2.0))[:, None]
    kept = keep_largest_piece(logits)[:, 0].numpy()
    for mask, found in zip(masks, kept, strict=True):
        pieces = label(mask, connectivity=2)
        areas = np.bincount(pieces.ravel(), minlength=2)[1:]
        stays = np.isin(pieces, 1 + np.flatnonzero(areas == areas.max())) & mask
        np.testing.assert_array_equal(found > 0, stays)
        np.testing.assert_array_equal(found[mask & ~stays], SUPPRESSED_LOGIT)
        np.testing.assert_array_equal(found[~mask], -2.0)


def test_no_mask_is_no_mask():
    nothing = torch.full((2, 1, 4, 4), -1.0)
    assert torch.equal(keep_largest_piece(nothing), nothing)
    assert keep_largest_piece(torch.zeros(0, 1, 4, 4)).shape == (0, 1, 4, 4)
