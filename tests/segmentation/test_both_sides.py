"""What passes from two sides have found of objects, as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_hqsam2 import FramePrompts, Session, iter_stack, segment_stack
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.segmentation.both_sides import joined
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects

WHOLE = Crop(0, 0, 64, 64)
HW = (64, 80)


def objects(crop, scores, *logits):
    """Objects 1, 2, ... with the same logits everywhere, or (h, w) maps."""
    maps = [torch.full((16, 16), float(v)) if isinstance(v, int) else v for v in logits]
    scored = [ObjectScores(k, *each) for k, each in enumerate(scores, 1)]
    grid = GridObjects.of(scored, torch.stack(maps))
    return FrameObjects((WindowObjects(grid, crop),))


def by_id(found):
    return {
        scores.obj_id: (scores, part.objects.low_res[row], part.crop)
        for part in found.parts
        for row, scores in enumerate(part.objects.scores)
    }


def test_logits_and_scores_are_mixed():
    forward = objects(WHOLE, [(4.0, 0.8), (1.0, 0.5)], 8, 3)
    backward = objects(WHOLE, [(-4.0, 0.4)], -40)
    found = by_id(joined(forward, backward, lambda _: 0.25))
    scores, low_res, crop = found[1]
    assert (scores.object_score, scores.iou_score) == pytest.approx((2.0, 0.7))
    assert low_res.unique().tolist() == [8 * 0.75 - 10 * 0.25]
    assert crop == WHOLE
    assert found[2][1].unique().tolist() == [3]


@pytest.mark.parametrize("lost_side", [0, 1])
def test_a_side_without_numbers_does_not_count(lost_side):
    sides = [objects(WHOLE, [(2.0, 0.5)], 7)] * 2
    sides[lost_side] = objects(WHOLE, [(float("nan"), 0.0)], -10)
    ((scores, low_res, _),) = by_id(joined(*sides, lambda _: 0.5)).values()
    assert scores.object_score == 2.0
    assert low_res.unique().tolist() == [7]


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_windows_of_both_sides_need_not_be_the_same(share):
    """The same square of 16 pixels, in two windows."""

    def seen_in(crop):
        step = crop.height // 16
        y, x = torch.meshgrid(
            crop.top + step * (torch.arange(16) + 0.5),
            crop.left + step * (torch.arange(16) + 0.5),
            indexing="ij",
        )
        inside = (y > 24) & (y < 40) & (x > 32) & (x < 48)
        return objects(crop, [(3.0, 0.9)], torch.where(inside, 6.0, -6.0))

    crops = Crop(0, 0, 64, 64), Crop(16, 24, 32, 32)
    sides = map(seen_in, crops)
    ((_, low_res, crop),) = by_id(joined(*sides, lambda _: share)).values()
    assert crop == crops[share > 0.5]
    assert ((low_res > 0) == (seen_in(crop).parts[0].objects.low_res[0] > 0)).all()


@pytest.fixture(scope="module")
def moving(make_untrained):
    """Masks stay where the image stays; the network says next to nothing."""
    made = make_untrained()
    config = replace(made.config, moved_share=0.999, fill_hole_area=0)
    return SAM2VideoPredictor(made.model, config)


@pytest.fixture(scope="module")
def still():
    """(7, 64, 80) the same frame again and again."""
    frame = np.random.default_rng(3).integers(0, 255, HW, dtype=np.uint8)
    return np.broadcast_to(frame, (7, *HW))


def block(side, left=8):
    mask = np.zeros(HW, dtype=bool)
    mask[10 : 10 + side, left : left + side] = True
    return mask


ENDS = [FramePrompts((0,), 1, mask=block(12)), FramePrompts((6,), 1, mask=block(36))]


def sides_of(labels, obj_id=1):
    """Side of the square that an object is about, by frame."""
    return np.sqrt([np.count_nonzero(frame == obj_id) for frame in labels])


@pytest.mark.parametrize("crop", ["off", 64])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_frames_between_two_masks_are_like_the_nearer_one(
    moving, still, crop, direction
):
    options = {"axes": "TYX", "model": moving, "crop": crop, "direction": direction}
    sides = sides_of(segment_stack(still, ENDS, **options))
    assert sides[[0, 6]].tolist() == [12, 36]
    assert sides[1:3] == pytest.approx(12, abs=3)
    assert sides[4:6] == pytest.approx(36, abs=3)
    frames = [r.position[0] for r in iter_stack(still, ENDS, **options)]
    assert frames == [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]


def test_models_that_move_no_masks_follow_from_one_side(moving, still):
    config = replace(moving.config, moved_share=0.0)
    model = SAM2VideoPredictor(moving.model, config)
    run = iter_stack(still, ENDS, axes="TYX", model=model, crop="off")
    assert [result.position[0] for result in run] == list(range(7))


def test_objects_between_two_prompts_do_not_see_each_other(moving, still):
    other = [FramePrompts((t,), 2, mask=block(9 + t, left=52)) for t in (1, 5)]
    options = {"axes": "TYX", "model": moving, "crop": "off"}
    together = segment_stack(still, [*ENDS, *other], **options)
    alone = segment_stack(still, other, **options)
    np.testing.assert_array_equal(together == 2, alone == 2)


def test_a_correction_reaches_both_ways_and_is_one_step(moving, still):
    session = Session(still, axes="TYX", model=moving, crop="off")
    obj_id = session.new_object()
    session.add_mask(obj_id, 0, block(12))
    for _ in session.propagate("T"):
        pass
    session.lock(obj_id, 4)
    before = session.labels.copy()
    session.add_mask(obj_id, 6, block(36))
    session.add_mask(obj_id, 3, block(24))
    steps = list(session.propagate("T", only_changed=True))
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1))
    sides = sides_of(session.labels)
    assert sides[1] == pytest.approx(12, abs=3)
    assert sides[2] == pytest.approx(24, abs=3)
    assert sides[5] == pytest.approx(24, abs=12)
    assert sides[3] == 24
    np.testing.assert_array_equal(session.labels[4], before[4])
    session.undo()
    np.testing.assert_array_equal(session.labels, before)
