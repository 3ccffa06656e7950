"""Logits become masks exactly as a full-size interpolation would make them."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.segmentation.composition import (
    CroppedObjects,
    GridObjects,
    ObjectScores,
    compose_masks,
)
from napari_hqsam2.segmentation.masks import paint

SIZES = st.tuples(st.integers(4, 20), st.integers(4, 20))
FRAMES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def smooth_logits(seed: int, count: int, hw: tuple[int, int]) -> torch.Tensor:
    """Blobs and empty maps, some of them at the border."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(-0.4, 1.0, (count, 1, 5, 6)).astype(np.float32)
    coarse[rng.random(count) < 0.2] = -3
    fine = F.interpolate(torch.from_numpy(coarse), hw, mode="bicubic")
    return fine[:, 0]


def on_grid(logits, ids=None):
    ids = range(1, len(logits) + 1) if ids is None else ids
    scores = [ObjectScores(obj_id, 0.5, 0.25) for obj_id in ids]
    return GridObjects.of(scores, torch.as_tensor(logits))


def as_labels(masks, hw):
    labels = np.zeros(hw, dtype=np.int32)
    paint(labels, masks)
    return labels


def expected_labels(logits, ids, hw):
    """Labels by definition, and where rounding cannot decide otherwise."""
    full = F.interpolate(logits[:, None].double(), hw, mode="bilinear")[:, 0].numpy()
    order = np.argsort(ids)
    full = full[order]
    winner = np.asarray(ids)[order][full.argmax(axis=0)]
    largest = np.sort(full, axis=0)[::-1]
    is_clear = np.abs(largest[0]) > 1e-4
    if len(ids) > 1:
        is_clear &= largest[0] - largest[1] > 1e-4
    return np.where(full.max(axis=0) > 0, winner, 0), is_clear


@given(st.integers(0, 10_000), st.integers(1, 5), SIZES, FRAMES)
def test_masks_are_those_of_the_whole_upsampled_logits(seed, count, low_hw, hw):
    logits = smooth_logits(seed, count, low_hw)
    ids = np.random.default_rng(seed).permutation(100)[:count] + 1
    expected, is_clear = expected_labels(logits, ids, hw)
    labels = as_labels(compose_masks(on_grid(logits, ids.tolist()), hw), hw)
    np.testing.assert_array_equal(labels[is_clear], expected[is_clear])


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 3), SIZES, FRAMES)
def test_cropped_objects_give_the_same_masks(seed, count, others, low_hw, hw):
    """Alone, and joined with objects that were found later."""
    logits = smooth_logits(seed, count + others, low_hw)
    ids = np.random.default_rng(seed).permutation(count + others) + 1
    first = on_grid(logits[:count], ids[:count].tolist())
    both = CroppedObjects.of(first)
    if others:
        both = both.and_also(
            CroppedObjects.of(on_grid(logits[count:], ids[count:].tolist()))
        )
    restored = both.restored(torch.device("cpu"))
    assert restored.low_res.shape == logits.shape
    expected = compose_masks(on_grid(logits, ids.tolist()), hw)
    found = compose_masks(restored, hw)
    assert [(m.obj_id, m.top, m.left) for m in found] == [
        (m.obj_id, m.top, m.left) for m in expected
    ]
    np.testing.assert_array_equal(as_labels(found, hw), as_labels(expected, hw))


def test_cropped_objects_hold_no_more_than_the_objects_and_their_rims():
    logits = torch.full((3, 64, 64), -5.0)
    logits[0, 20:24, 30:33] = 5
    logits[2, :2, 60:] = 5
    cropped = CroppedObjects.of(on_grid(logits))
    assert cropped.logits.shape == (6 * 5 + 0 + 3 * 5,)


def test_equal_logits_go_to_the_lower_id():
    for ids in ([3, 7], [7, 3]):
        masks = compose_masks(on_grid(torch.ones(2, 4, 4), ids), (8, 8))
        assert [(m.obj_id, m.area) for m in masks] == [(3, 64), (7, 0)]


def test_masks_are_cut_to_their_box_and_keep_their_scores():
    logits = torch.full((1, 16, 16), -5.0)
    logits[0, 4:8, 8:10] = 5
    (mask,) = compose_masks(on_grid(logits, [9]), (16, 16))
    assert (mask.top, mask.left, mask.mask.shape) == (4, 8, (4, 2))
    assert (mask.obj_id, mask.object_score, mask.iou_score) == (9, 0.5, 0.25)
    assert mask.mask.all()
    assert mask.mask.base is None


def test_an_absent_object_has_an_empty_mask():
    (mask,) = compose_masks(on_grid(torch.full((1, 8, 8), -1.0)), (32, 32))
    assert mask.area == 0
    assert (mask.top, mask.left, mask.mask.shape) == (0, 0, (0, 0))


def test_no_objects_give_no_masks():
    assert compose_masks(on_grid(torch.zeros(0, 8, 8)), (32, 32)) == ()


def test_ids_may_be_larger_than_the_labels_on_the_way():
    logits = torch.full((2, 4, 4), -1.0)
    logits[0, :2], logits[1, 2:] = 1, 1
    masks = compose_masks(on_grid(logits, [2**40, 2**31]), (4, 4))
    assert [(m.obj_id, m.top, m.area) for m in masks] == [
        (2**31, 2, 8),
        (2**40, 0, 8),
    ]


class TestGiven:
    def test_a_given_mask_holds_as_it_is_and_wins_over_logits(self):
        mask = np.zeros((16, 16), dtype=bool)
        mask[3, 5] = mask[10, 2] = True
        objects = on_grid(torch.full((2, 4, 4), 9.0))
        masks = compose_masks(objects, (16, 16), {2: mask})
        labels = as_labels(masks, (16, 16))
        np.testing.assert_array_equal(labels == 2, mask)
        assert (labels == 1).sum() == 256 - 2

    def test_where_given_masks_overlap_the_lower_id_wins(self):
        first, second = np.zeros((2, 8, 8), dtype=bool)
        first[:, :5] = second[:, 3:] = True
        objects = on_grid(torch.full((2, 4, 4), -1.0), [6, 5])
        masks = compose_masks(objects, (8, 8), {6: first, 5: second})
        assert [(m.obj_id, m.left, m.area) for m in masks] == [(5, 3, 40), (6, 0, 24)]

    def test_masks_of_other_objects_do_not_count(self):
        mask = np.ones((8, 8), dtype=bool)
        (only,) = compose_masks(on_grid(torch.ones(1, 4, 4)), (8, 8), {5: mask})
        assert (only.obj_id, only.area) == (1, 64)


@pytest.mark.needs_cuda
def test_devices_give_the_same_masks():
    logits, hw = smooth_logits(3, 40, (64, 64)), (517, 611)
    expected = as_labels(compose_masks(on_grid(logits), hw), hw)
    device = on_grid(logits.cuda())
    restored = CroppedObjects.of(device).restored(device.low_res.device)
    for objects in (device, restored):
        labels = as_labels(compose_masks(objects, hw), hw)
        np.testing.assert_array_equal(labels, expected)


def seconds(work) -> float:
    """Processor time, the least of some runs: other processes do not count."""
    times = []
    for _ in range(5):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def test_the_work_follows_the_objects_and_not_the_frame():
    """Small objects cost next to nothing compared with all logits in full."""
    side, hw, count = 64, (1024, 1024), 30
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centres = torch.randint(4, side - 4, (count, 2), generator=torch.manual_seed(0))
    logits = torch.stack(
        [3.0 - ((y - cy) ** 2 + (x - cx) ** 2).sqrt() for cy, cx in centres]
    )
    objects = on_grid(logits)

    def in_full():
        full = F.interpolate(logits[:, None], hw, mode="bilinear")[:, 0]
        torch.where(full.amax(dim=0) > 0, full.argmax(dim=0) + 1, 0)

    assert 5 * seconds(lambda: compose_masks(objects, hw)) < seconds(in_full)
