"""Objects of a frame that were seen in different windows come together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import (
    FrameObjects,
    KeptObjects,
    WindowObjects,
    pixel_box,
)
from napari_hqsam2.segmentation.masks import paint

HW = (48, 64)
GRID = 16


def part(obj_ids, crop, seed):
    """Smooth logits, so that masks have an extent."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((len(obj_ids), 1, 4, 4), generator=generator)
    logits = F.interpolate(coarse, (GRID, GRID), mode="bilinear")[:, 0]
    scores = [ObjectScores(obj_id, 1.0, 0.5) for obj_id in obj_ids]
    return WindowObjects(GridObjects.of(scores, logits), crop)


@st.composite
def crops(draw):
    height, width = draw(st.integers(8, HW[0])), draw(st.integers(8, HW[1]))
    top = draw(st.integers(0, HW[0] - height))
    return Crop(top, draw(st.integers(0, HW[1] - width)), height, width)


@st.composite
def frames(draw):
    """Up to six objects in up to three windows."""
    ids = draw(st.permutations(range(1, 7)))
    cut = sorted(draw(st.lists(st.integers(1, 5), max_size=2, unique=True)))
    groups = np.split(np.array(ids), cut)
    return FrameObjects(
        tuple(
            part(group.tolist(), draw(crops()), draw(st.integers(0, 99)))
            for group in groups
        )
    )


def labels_of(masks):
    labels = np.zeros(HW, dtype=np.int32)
    paint(labels, masks)
    return labels


def expected_labels(objects):
    """The obvious way: all logits on the whole frame, the largest one wins."""
    ids = sorted(scores.obj_id for scores in objects.scores)
    logits = torch.full((len(ids), *HW), -torch.inf)
    for window in objects.parts:
        crop = window.crop
        shown = F.interpolate(
            window.objects.low_res[None], (crop.height, crop.width), mode="bilinear"
        )[0]
        for scores, one in zip(window.objects.scores, shown, strict=True):
            logits[ids.index(scores.obj_id)][crop.window] = one
    best, row = logits.max(dim=0)
    return np.where(best > 0, np.array(ids)[row], 0), logits


@given(frames())
def test_the_largest_logit_wins_wherever_windows_lie(objects):
    masks = objects.masks(HW)
    assert [mask.obj_id for mask in masks] == list(range(1, 7))
    painted = np.zeros(HW, dtype=np.int32)
    for mask in masks:
        painted[mask.window] += mask.mask
    assert painted.max() <= 1
    wanted, logits = expected_labels(objects)
    # rounding decides where two logits, or one and zero, are nearly the same
    ordered = torch.cat([logits.clamp(min=0), torch.zeros(1, *HW)]).sort(dim=0)[0]
    is_clear = ((ordered[-1] - ordered[-2]) > 1e-4).numpy()
    is_clear |= (ordered[-1] == 0).numpy() & ((logits.abs() > 1e-4).all(dim=0)).numpy()
    got = labels_of(masks)
    np.testing.assert_array_equal(got[is_clear], wanted[is_clear])
    assert is_clear.mean() > 0.5


@given(frames())
def test_kept_objects_are_the_same(objects):
    again = KeptObjects.of(objects).restored(torch.device("cpu"))
    np.testing.assert_array_equal(
        labels_of(again.masks(HW)), labels_of(objects.masks(HW))
    )


@given(frames(), st.sets(st.integers(1, 6)))
def test_objects_can_be_left_out(objects, out):
    left = objects.without(out)
    assert {scores.obj_id for scores in left.scores} == set(range(1, 7)) - out
    rest = objects.only(lambda obj_id: obj_id in out)
    assert len(left.and_also(rest).scores) == 6
    np.testing.assert_array_equal(
        labels_of(left.and_also(rest).masks(HW)), labels_of(objects.masks(HW))
    )


@given(frames(), st.integers(1, 6))
def test_given_masks_hold(objects, obj_id):
    mask = np.zeros(HW, dtype=bool)
    mask[10:20, 30:50] = True
    labels = labels_of(objects.masks(HW, {obj_id: mask}))
    np.testing.assert_array_equal(labels == obj_id, mask)


@pytest.mark.parametrize("crop", [Crop(0, 0, *HW), Crop(8, 16, 32, 32)])
def test_boxes_are_in_pixels_of_the_frame(crop):
    logits = torch.full((GRID, GRID), -1.0)
    assert pixel_box(logits, crop) is None
    logits[4:8, 2] = 1.0
    step = crop.height // GRID, crop.width // GRID
    assert pixel_box(logits, crop) == (
        crop.top + 4 * step[0],
        crop.left + 2 * step[1],
        crop.top + 8 * step[0],
        crop.left + 3 * step[1],
    )
    scores = [ObjectScores(3, 1.0, 1.0), ObjectScores(4, 1.0, 1.0)]
    both = torch.stack([logits, torch.full_like(logits, -1)])
    objects = FrameObjects((WindowObjects(GridObjects.of(scores, both), crop),))
    assert objects.empty == {3: False, 4: True}
