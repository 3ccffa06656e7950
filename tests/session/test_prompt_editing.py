"""Prompts and locks: what they become, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import BoxPrompt, PointPrompt, Session
from napari_hqsam2.errors import PromptError, SessionError
from napari_hqsam2.session.packed_masks import PackedMask


@pytest.fixture
def session(stack):
    """Masks alone need no model."""
    return Session(stack, axes="TYX", model="sam2.1_hq_hiera_nano")


@pytest.fixture
def cell(session):
    return session.new_object(name="mother")


@pytest.fixture
def square():
    mask = np.zeros((40, 50), dtype=bool)
    mask[5:15, 10:20] = True
    return mask


def test_points_go_to_their_frames(session, cell):
    session.add_points(cell, [(3, 10.0, 12.5), (2.6, 1, 2), (0, 4, 5)])
    session.add_points(cell, (3, 20, 21), positive=False)
    by_position = {item.position: item.points for item in session.prompts(cell)}
    assert by_position == {
        (0,): (PointPrompt(4, 5),),
        (3,): (
            PointPrompt(10, 12.5),
            PointPrompt(1, 2),
            PointPrompt(20, 21, positive=False),
        ),
    }


def test_points_are_removed_one_by_one_and_all(session, cell):
    session.add_points(cell, [(3, 1, 1), (3, 2, 2), (3, 3, 3)])
    session.remove_points(cell, 3, [0, 2])
    assert session.prompts(cell)[0].points == (PointPrompt(2, 2),)
    with pytest.raises(PromptError, match=r"has 1 points .* no point \[1\]"):
        session.remove_points(cell, 3, [1])
    session.remove_points(cell, 3)
    assert session.prompts(cell) == ()
    with pytest.raises(PromptError, match="no point to remove"):
        session.remove_points(cell, 3)


def test_a_scribble_is_points_along_it(session, cell):
    session.add_scribble(cell, 2, [(0, 0), (0, 6), (8, 6)], positive=False)
    points = session.prompts(cell)[0].points
    assert [(p.y, p.x) for p in points] == [(0, 0), (0, 3.5), (1, 6), (4.5, 6), (8, 6)]
    assert not any(p.positive for p in points)
    with pytest.raises(PromptError, match="a vertex"):
        session.add_scribble(cell, 2, [])


def test_boxes_are_cut_to_the_image_and_replaced(session, cell):
    session.add_box(cell, (1,), (-3, 2, 10, 99))
    assert session.prompts(cell)[0].box == BoxPrompt(0, 2, 10, 50)
    session.add_box(cell, (1,), BoxPrompt(1, 2, 3, 4))
    assert session.prompts(cell)[0].box == BoxPrompt(1, 2, 3, 4)
    session.add_box(cell, (1,), None)
    assert session.prompts(cell) == ()


def test_polygons_add_up_and_cut_out(session, cell, square):
    corners = [(5, 10), (5, 19), (14, 19), (14, 10)]
    session.add_polygon(cell, 1, corners)
    drawn = session.prompts(cell)[0].mask.unpacked()
    assert (drawn & ~square).sum() == 0
    assert drawn.sum() > 60
    session.add_polygon(cell, 1, [(5, 10), (5, 14), (14, 14), (14, 10)], positive=False)
    half = session.prompts(cell)[0].mask.unpacked()
    assert 0 < half.sum() < drawn.sum()
    with pytest.raises(PromptError, match="no pixel"):
        session.add_polygon(cell, 1, corners, positive=False)


def test_all_prompts_of_a_frame_at_once(session, cell, square):
    session.set_prompts(cell, 1, points=[PointPrompt(np.float64(3), 4)], mask=square)
    (only,) = session.prompts(cell)
    assert only.points == (PointPrompt(3, 4),)
    assert only.mask == only.corrected == PackedMask.of(square)
    session.set_prompts(cell, 1, box=BoxPrompt(1, 2, 3, 4))
    (only,) = session.prompts(cell)
    assert (only.points, only.mask) == ((), None)
    session.clear_prompts(cell)
    assert session.prompts(cell) == ()


def test_a_mask_is_the_object(session, cell, square):
    session.add_mask(cell, 1, square)
    (scores,) = session.segment(1)
    np.testing.assert_array_equal(session.labels[1] == cell, square)
    assert (scores.area, scores.centroid, scores.source) == (100, (9.5, 14.5), "mask")


def test_a_mask_keeps_the_score_of_the_model_that_made_it(session, cell, square):
    session.add_mask(cell, 1, square, score=np.float32(0.25))
    (scores,) = session.segment(1)
    assert (scores.iou_score, scores.source) == (0.25, "mask")
    assert [doubt.reason for doubt in session.doubtful()] == ["low score"]
    session.set_prompts(cell, 1, points=[PointPrompt(3, 4)], mask=square)
    session.set_prompts(cell, 1, mask=square)
    assert session.segment(1)[0].iou_score == 0.25
    session.add_mask(cell, 1, square)
    assert session.segment(1)[0].iou_score == 1.0
    assert session.doubtful() == ()
    session.add_mask(cell, 1, square, score=0.5)
    session.set_prompts(cell, 1, mask=np.roll(square, 3, axis=0))
    assert session.prompts(cell)[0].mask_score is None


def test_the_score_of_a_mask_is_in_a_run_that_starts_from_it(session, cell, square):
    session.add_mask(cell, 1, square, score=0.25)
    for _ in session.propagate("T", frames=(1, 3)):
        pass
    assert session.scores(cell)[0].iou_score == 0.25


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_of_masks_are_parts_of_one(session, cell, square, score):
    with pytest.raises(PromptError, match="from 0 to 1, got"):
        session.add_mask(cell, 1, square, score=score)


def test_when_prompts_go_so_does_their_result(session, cell, square):
    session.add_mask(cell, 1, square)
    session.segment(1)
    session.clear_prompts(cell, 1)
    assert not session.labels.any()
    assert session.scores(cell) == ()


def test_labels_that_were_there_come_back(stack, square):
    labels = np.zeros(stack.shape, dtype=np.uint16)
    labels[1][square] = 7
    session = Session(stack, axes="TYX", labels=labels)
    assert session.new_object() == 8
    assert session.new_object(obj_id=7) == 7
    session.add_mask(7, 1, np.roll(square, 4, axis=0))
    session.segment(1)
    assert not np.array_equal(labels[1] == 7, square)
    session.add_mask(7, 1, None)
    np.testing.assert_array_equal(labels[1] == 7, square)


def test_prompts_on_a_locked_frame_are_refused(session, cell, square):
    session.add_mask(cell, 1, square)
    session.lock(cell, 1)
    assert session.locked(cell) == ((1,),)
    for change in (
        lambda: session.add_points(cell, [(1, 2, 3)]),
        lambda: session.add_mask(cell, 1, None),
        lambda: session.clear_prompts(cell, 1),
    ):
        with pytest.raises(
            PromptError, match=rf"Object {cell} is locked .* at T=1; unlock"
        ):
            change()
    session.clear_prompts(cell)
    assert len(session.prompts(cell)) == 1
    session.unlock(cell, 1)
    session.clear_prompts(cell)
    assert session.prompts(cell) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.add_points(1, [(3, 40, 2)]), "outside the image"),
        (lambda s: s.add_points(1, [(6, 4, 2)]), "no frame T=6"),
        (lambda s: s.add_points(1, [(4, 2)]), r"\(1, 2\); give \(P, 3\) .* t, y, x"),
        (lambda s: s.add_points(1, [(3, np.nan, 2)]), "finite"),
        (lambda s: s.add_box(1, 3, (50, 60, 70, 80)), "outside the image"),
        (lambda s: s.add_box(1, 3, (5, 6, 7)), "got 3 numbers"),
        (lambda s: s.add_mask(1, 3, np.ones((3, 3))), r"shape \(3, 3\)"),
        (lambda s: s.add_mask(1, 3, np.ones(3)), "2-D"),
        (lambda s: s.add_mask(1, 3, np.zeros((40, 50))), "no pixel"),
        (lambda s: s.lock(1, (1, 2)), "give 1 indices"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(session, cell, change, message):
    steps = session.undo_names
    with pytest.raises(PromptError, match=message):
        change(session)
    assert session.prompts(cell) == ()
    assert session.undo_names == steps


def test_an_unknown_object_is_named(session, cell):
    with pytest.raises(SessionError, match=r"no object 5 \(objects: 1\).*obj_id=5"):
        session.add_points(5, [(1, 2, 3)])


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ([(1, 1)], r"three finite corners or more, \(V, 2\); got shape \(1, 2\)\."),
        ([1, 2, 3, 4, 5, 6], r"got shape \(6,\)"),
        ([(1, float("nan")), (3, 3), (4, 9)], r"\(3, 2\) with NaN or infinity"),
        (
            [(90, 9), (95, 9), (92, 20)],
            "rows 90 to 95 .* no pixel of the frame of 40 x",
        ),
    ],
)
def test_polygons_that_hold_nothing_are_refused(session, cell, corners, message):
    session.add_polygon(cell, 1, [(5, 10), (5, 19), (14, 19)])
    before = session.prompts(cell)
    for positive in (True, False):
        with pytest.raises(PromptError, match=message):
            session.add_polygon(cell, 1, corners, positive=positive)
    assert session.prompts(cell) == before


def test_points_that_are_not_finite_are_called_so(session, cell):
    with pytest.raises(PromptError, match=r"shape \(1, 3\) with NaN or infinity; give"):
        session.add_points(cell, [(0, float("inf"), 5)])


@pytest.mark.parametrize("position", [1.5, (1.5,), "1", None, [float("nan")]])
def test_a_position_is_not_rounded(session, cell, square, position):
    with pytest.raises(PromptError, match=r"not made of whole numbers; .* each of T"):
        session.add_mask(cell, position, square)
    session.add_mask(cell, np.float32(1), square)
    assert session.prompts(cell)[0].position == (1,)
