"""Sessions of the video predictor: objects, corrections, directions, removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.tracking_config import TrackingConfig
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2.predictors.session import VideoSession

    Video = npt.NDArray[np.uint8]

POINTS = {1: [[20.0, 10.0]], 2: [[50.0, 30.0], [60.0, 12.0]], 5: [[40.0, 40.0]]}


def click(
    predictor: SAM2VideoPredictor, session: VideoSession, frame: int, obj_id: int
) -> Tensor:
    points = POINTS[obj_id]
    _, ids, masks = predictor.add_new_points_or_box(
        session, frame, obj_id, points, [1] * len(points)
    )
    return masks[ids.index(obj_id)]


def run(
    predictor: SAM2VideoPredictor, session: VideoSession, **how: object
) -> dict[tuple[int, int], Tensor]:
    return {
        (frame, obj_id): mask
        for frame, ids, masks in predictor.propagate_in_video(session, **how)
        for obj_id, mask in zip(ids, masks, strict=True)
    }


def test_shapes_and_order(predictor: SAM2VideoPredictor, video: Video) -> None:
    session = predictor.init_state(video)
    frame, ids, masks = predictor.add_new_points_or_box(
        session, 2, 7, [[10, 10]], [1], box=None
    )
    assert (frame, ids) == (2, [7])
    assert masks.shape == (1, 1, 48, 80)
    assert masks.dtype == torch.float32
    frames = [frame for frame, *_ in predictor.propagate_in_video(session)]
    assert frames == list(range(2, 10))
    frames = [f for f, *_ in predictor.propagate_in_video(session, reverse=True)]
    assert frames == [2, 1, 0]


def test_frame_limit_is_exact(predictor: SAM2VideoPredictor, video: Video) -> None:
    session = predictor.init_state(video)
    click(predictor, session, 0, 1)
    how = {"start_frame_idx": 3, "max_frame_num_to_track": 2}
    assert [f for f, _ in run(predictor, session, **how)] == [3, 4]
    assert [f for f, _ in run(predictor, session, reverse=True, **how)] == [3, 2]


def test_many_objects_equal_single_runs(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    together = predictor.init_state(video)
    for obj_id in POINTS:
        click(predictor, together, 1, obj_id)
    got = run(predictor, together)
    for obj_id in POINTS:
        alone = predictor.init_state(video)
        click(predictor, alone, 1, obj_id)
        for key, mask in run(predictor, alone).items():
            torch.testing.assert_close(got[key], mask, rtol=1e-4, atol=1e-4)


def test_an_object_added_later_changes_nothing_for_others(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    alone = predictor.init_state(video)
    click(predictor, alone, 0, 1)
    expected = run(predictor, alone)
    session = predictor.init_state(video)
    click(predictor, session, 0, 1)
    run(predictor, session, max_frame_num_to_track=5)
    click(predictor, session, 4, 2)
    got = run(predictor, session, start_frame_idx=4)
    for frame in range(4, 10):
        torch.testing.assert_close(
            got[frame, 1], expected[frame, 1], rtol=1e-4, atol=1e-4
        )
    assert (9, 2) in got


def test_an_object_added_while_tracking_joins_at_the_next_frame(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    click(predictor, session, 0, 1)
    seen = {}
    for frame, ids, _ in predictor.propagate_in_video(session):
        seen[frame] = ids
        if frame == 3:
            click(predictor, session, 4, 2)
        if frame == 6:
            predictor.remove_object(session, 1)
    assert seen[3] == [1]
    assert seen[4] == seen[6] == [1, 2]
    assert seen[7] == [2]


def test_objects_take_part_in_their_spans(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    click(predictor, session, 2, 1)
    click(predictor, session, 5, 2)
    spans = {1: range(2, 8), 2: range(5, 10)}
    forward = {r.frame: r.obj_ids for r in predictor.propagate(session, spans=spans)}
    expected = {t: (1,) if t < 5 else (1, 2) for t in range(2, 8)}
    assert forward == expected | {8: (2,), 9: (2,)}
    spans = {1: range(3), 2: range(6)}
    run = predictor.propagate(session, start_frame_idx=9, reverse=True, spans=spans)
    backward = {r.frame: r.obj_ids for r in run}
    assert backward == {t: (2,) if t > 2 else (1, 2) for t in range(5, -1, -1)}


def test_a_run_with_spans_may_begin_on_frame_0_in_reverse(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    click(predictor, session, 0, 1)
    assert not list(predictor.propagate(session, start_frame_idx=0, reverse=True))
    run = predictor.propagate(
        session, start_frame_idx=0, reverse=True, spans={1: range(1)}
    )
    assert [(r.frame, r.obj_ids) for r in run] == [(0, (1,))]


def test_removing_an_object_keeps_the_others(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    for obj_id in (1, 2):
        click(predictor, session, 0, obj_id)
    before = run(predictor, session)
    ids, updated = predictor.remove_object(session, 1)
    assert ids == [2]
    assert [frame for frame, _ in updated] == [0]
    after = run(predictor, session)
    assert set(after) == {(t, 2) for t in range(10)}
    for key, mask in after.items():
        torch.testing.assert_close(before[key], mask, rtol=1e-4, atol=1e-4)
    assert predictor.remove_object(session, 99) == ([2], [])
    with pytest.raises(KeyError, match="no object 99"):
        predictor.remove_object(session, 99, strict=True)


def test_corrections_become_conditioning_frames_if_wanted(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    config = TrackingConfig(
        fill_hole_area=0,
        add_all_frames_to_correct_as_cond=True,
        clear_non_cond_mem_around_input=True,
    )
    keeping = SAM2VideoPredictor(predictor.model, config)
    for one, expect_kept in ((keeping, True), (predictor, False)):
        session = one.init_state(video)
        click(one, session, 0, 1)
        tracked = run(one, session)
        _, _, masks = one.add_new_points_or_box(session, 5, 1, [[70.0, 40.0]], [0])
        assert not torch.equal(masks[0], tracked[5, 1])
        again = run(one, session)
        assert torch.equal(again[5, 1], masks[0]) is expect_kept
        assert (5 in session.objects[1].bank.conditioning) is expect_kept


def test_a_mask_prompt_is_taken_as_it_is(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    mask = np.zeros((48, 80), bool)[::-1]
    mask[10:35, 20:60] = True
    _, _, logits = predictor.add_new_mask(session, 3, 4, mask)
    agreement = (logits[0, 0].numpy() > 0) == mask
    assert agreement.mean() > 0.97
    assert run(predictor, session)[3, 4].equal(logits[0])


def test_an_empty_mask_is_an_absent_object(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    predictor.add_new_mask(session, 0, 1, np.zeros((48, 80), bool))
    result = next(iter(predictor.propagate(session)))
    assert result.object_scores[0] < 0
    assert (result.low_res < 0).all()
    pointer = session.objects[1].bank.conditioning[0].pointer
    assert torch.equal(pointer, predictor.model.no_obj_ptr)


def test_clearing_prompts(predictor: SAM2VideoPredictor, video: Video) -> None:
    session = predictor.init_state(video)
    click(predictor, session, 0, 1)
    click(predictor, session, 5, 1)
    run(predictor, session)
    result = predictor.clear_all_prompts_in_frame(session, 5, 1)
    assert result is not None
    assert result[:2] == (5, [1])
    assert session.objects[1].prompted_frames == {0}
    assert 9 in {frame for frame, _ in run(predictor, session)}
    predictor.clear_all_prompts_in_frame(session, 0, 1)
    with pytest.raises(PromptError, match="Object 1 has no prompt left"):
        run(predictor, session)
    with pytest.raises(KeyError, match="no object 8"):
        predictor.clear_all_prompts_in_frame(session, 0, 8)
    assert session.obj_ids == [1]


def test_reset_forgets_objects_but_not_features(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    first = click(predictor, session, 0, 1)
    predictor.reset_state(session)
    assert session.obj_ids == []
    with pytest.raises(PromptError, match="Nothing to track"):
        run(predictor, session)
    assert torch.equal(click(predictor, session, 0, 1), first)
    assert len(session.features) == 1


def test_old_points_are_kept_on_request(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(video)
    predictor.add_new_points_or_box(session, 0, 1, [[5, 5]], [1], box=[2, 2, 30, 30])
    predictor.add_new_points_or_box(
        session, 0, 1, [[40, 40]], [0], clear_old_points=False
    )
    assert session.objects[1].clicks[0].labels.tolist() == [[2, 3, 1, 0]]
    predictor.add_new_points_or_box(session, 0, 1, [[40, 40]], [0])
    assert session.objects[1].clicks[0].labels.tolist() == [[0]]


def test_hq_modes_differ_in_video(predictor: SAM2VideoPredictor, video: Video) -> None:
    masks = {}
    for hq in ("add", "only", "off"):
        session = predictor.init_state(video)
        session.hq = hq
        click(predictor, session, 0, 1)
        masks[hq] = run(predictor, session)[4, 1]
    assert not torch.equal(masks["add"], masks["only"])
    assert not torch.equal(masks["add"], masks["off"])
    session = predictor.init_state(video, hq_token_only=True)
    assert session.hq == "only"


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda p, s: p.add_new_points_or_box(s, 0, 1), PromptError, "Give points"),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, points=[[1, 1]]),
            PromptError,
            "belong together",
        ),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, [[1, 1], [2, 2]], [1]),
            PromptError,
            "one label a point",
        ),
        (
            lambda p, s: p.add_new_points_or_box(
                s, 0, 1, box=[0, 0, 9, 9], clear_old_points=False
            ),
            PromptError,
            "replaces old points",
        ),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, [[np.nan, 1]], [1]),
            PromptError,
            "NaN or infinity",
        ),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, [[1, 1]], [7]),
            PromptError,
            "no label 7",
        ),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, box=[[0, 0, 9, 9]] * 2),
            PromptError,
            "one object at a time",
        ),
        (
            lambda p, s: p.add_new_points_or_box(s, 0, 1, box=[0, 0, 9]),
            PromptError,
            r"x0, y0, x1, y1.*\(3,\)",
        ),
        (
            lambda p, s: p.add_new_points_or_box(s, 10, 1, [[1, 1]], [1]),
            IndexError,
            "frames 0 to 9",
        ),
        (
            lambda p, s: p.add_new_mask(s, 0, 1, np.zeros((2, 3, 4), bool)),
            PromptError,
            "2-D",
        ),
    ],
)
def test_bad_prompts_say_why_and_leave_no_object(
    call: Callable[[SAM2VideoPredictor, VideoSession], object],
    error: type[Exception],
    match: str,
    predictor: SAM2VideoPredictor,
    video: Video,
) -> None:
    session = predictor.init_state(video)
    with pytest.raises(error, match=match):
        call(predictor, session)
    assert session.obj_ids == []


def test_overlaps_can_be_resolved(predictor: SAM2VideoPredictor, video: Video) -> None:
    config = TrackingConfig(fill_hole_area=0, non_overlap_masks=True)
    exclusive = SAM2VideoPredictor(predictor.model, config)
    session = exclusive.init_state(video)
    mask = np.zeros((48, 80), bool)
    mask[10:30, 10:50] = True
    exclusive.add_new_mask(session, 0, 1, mask)
    _, _, logits = exclusive.add_new_mask(session, 0, 2, np.roll(mask, 15, 1))
    assert int(((logits > 0).sum(0) > 1).sum()) == 0
    assert int((logits > 0).any(0).sum()) > mask.sum()
