"""Single frames and runs: the same labels as `segment_stack`, and what is more."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_hqsam2 import BoxPrompt, FramePrompts, PointPrompt, Session, segment_stack
from napari_hqsam2.errors import (
    FrameTimeoutError,
    PromptError,
    SessionError,
    StackError,
)
from napari_hqsam2.predictors.frame_source import open_frames

SQUARE = np.zeros((40, 50), dtype=bool)
SQUARE[5:15, 10:20] = True


def run(session, axis=None, **options):
    """Take all steps of a run."""
    return list(session.propagate(axis, **options))


def frames(steps):
    return [step.frame for step in steps]


def labelled(session):
    """Frames of a series with any label."""
    return session.labels.any(axis=(1, 2)).nonzero()[0].tolist()


def placed(session, prompts):
    """Put `FramePrompts` into a session."""
    for item in prompts:
        if item.obj_id not in session.obj_ids:
            session.new_object(obj_id=item.obj_id)
        session.set_prompts(
            item.obj_id,
            item.position,
            points=item.points,
            box=item.box,
            mask=item.mask,
        )
    return session


def click(obj_id, *position, y=10.0, x=12.0):
    return FramePrompts(position, obj_id, (PointPrompt(y, x),))


PROMPTS = [
    click(5, 3),
    FramePrompts((1,), 2, box=BoxPrompt(20, 20, 35, 45)),
    click(5, 4, y=5),
    FramePrompts((2,), 9, mask=SQUARE),
    FramePrompts((3,), 2, (PointPrompt(30, 40), PointPrompt(2, 2, positive=False))),
]


@pytest.mark.parametrize(
    ("direction", "limits"), [("both", None), ("forward", (1, 5)), ("backward", None)]
)
def test_labels_are_those_of_segment_stack(stack, predictor, direction, limits):
    session = placed(Session(stack, axes="TYX", model=predictor), PROMPTS)
    steps = run(session, "T", direction=direction, frames=limits)
    expected = segment_stack(
        stack,
        PROMPTS,
        axes="TYX",
        model=predictor,
        direction=direction,
        frames=limits,
    )
    np.testing.assert_array_equal(session.labels, expected)
    assert session.labels.any()
    assert steps[-1].done == steps[-1].total == len(steps)


def test_local_tracking_is_that_of_segment_stack(stack, predictor):
    options = {"model": predictor, "tracking": "local", "resolution": 128}
    session = placed(Session(stack, axes="TYX", **options), PROMPTS)
    run(session)
    expected = segment_stack(stack, PROMPTS, axes="TYX", **options)
    np.testing.assert_array_equal(session.labels, expected)


def test_what_was_done_before_does_not_matter(session, stack, predictor):
    placed(session, PROMPTS)
    run(session, frames=(1, 5))
    session.segment(3)
    run(session, direction="backward")
    run(session)
    expected = segment_stack(stack, PROMPTS, axes="TYX", model=predictor)
    np.testing.assert_array_equal(session.labels, expected)


def test_a_frame_is_that_of_segment_stack(stack, predictor):
    session = placed(Session(stack, axes="TYX", model=predictor), PROMPTS)
    scores = session.segment(3)
    here = [item for item in PROMPTS if item.position == (3,)]
    expected = segment_stack(stack, here, axes="TYX", model=predictor, frames=(3, 4))
    # the limits are those of the stack, not of the frame
    np.testing.assert_array_equal(session.labels, expected)
    assert [item.obj_id for item in scores] == [2, 5]
    assert [item.area for item in scores] == [(expected == i).sum() for i in (2, 5)]


def test_both_axes_of_a_tzyx_stack(rng, predictor):
    stack = rng.integers(0, 255, (2, 3, 40, 50), dtype=np.uint8)
    prompts = [click(1, 0, 1), click(2, 1, 0, y=30, x=40)]
    session = placed(Session(stack, axes="TZYX", model=predictor), prompts)
    run(session, "Z")
    along_z = segment_stack(stack, prompts, axes="TZYX", axis="Z", model=predictor)
    np.testing.assert_array_equal(session.labels, along_z)
    steps = run(session, "T", at=(0, 1))
    assert [step.position for step in steps] == [(0, 1), (1, 1)]
    along_t = segment_stack(stack, prompts[:1], axes="TZYX", axis="T", model=predictor)
    expected = (along_t[:, 1] == 1) & (session.labels[:, 1] != 2)
    np.testing.assert_array_equal(session.labels[:, 1] == 1, expected)
    assert expected.any()
    assert {s.axis for s in session.scores(1)} == {"", "T", "Z"}


def test_a_single_image(rng, predictor):
    image = rng.integers(0, 255, (40, 50), dtype=np.uint8)
    session = Session(image, model=predictor)
    cell = session.new_object()
    session.add_points(cell, [(10, 12)])
    session.segment(())
    expected = segment_stack(image[None], [click(1, 0)], axes="TYX", model=predictor)
    np.testing.assert_array_equal(session.labels, expected[0])
    with pytest.raises(StackError, match="single frame"):
        session.propagate()


def test_frames_are_encoded_once(stack, predictor):
    source = open_frames(stack)
    reads = []

    class Counted:
        hw = source.hw

        def __len__(self):
            return len(source)

        def read(self, index):
            reads.append(index)
            return source.read(index)

    session = placed(
        Session(
            Counted(),
            axes="TYX",
            model=predictor,
            contrast_limits=(0, 60_000),
            crop="off",
        ),
        PROMPTS,
    )
    reads.clear()
    session.prepare(3)
    assert reads == [3]
    session.segment(3)
    run(session)
    run(session)
    assert sorted(reads) == list(range(6))


def test_locked_frames_never_change(session, stack):
    placed(session, [click(5, 3), click(2, 3, y=30, x=40)])
    session.labels[4][SQUARE] = 5
    session.lock(5, 4)
    session.lock(5, 0)
    run(session, overlap="overwrite")
    np.testing.assert_array_equal(session.labels[4] == 5, SQUARE)
    assert not (session.labels[0] == 5).any()
    assert (session.labels[1] == 5).any()
    with pytest.raises(PromptError, match="Object 5 is locked at T=4"):
        session.segment(4, [5])


def test_a_locked_frame_is_a_mask_prompt(session, stack, predictor):
    session.new_object(obj_id=5)
    session.labels[2][SQUARE] = 5
    session.lock(5, 2)
    run(session)
    prompts = [FramePrompts((2,), 5, mask=SQUARE)]
    expected = segment_stack(stack, prompts, axes="TYX", model=predictor)
    np.testing.assert_array_equal(session.labels, expected)


def test_a_locked_frame_outdoes_its_prompts(session, stack, predictor):
    placed(session, [click(5, 2)])
    session.segment(2)
    session.labels[2] = 5 * SQUARE
    session.lock(5, 2)
    run(session)
    prompts = [FramePrompts((2,), 5, mask=SQUARE)]
    expected = segment_stack(stack, prompts, axes="TYX", model=predictor)
    np.testing.assert_array_equal(session.labels, expected)


@pytest.mark.parametrize("overlap", ["protect", "overwrite"])
def test_other_labels(stack, predictor, overlap):
    labels = np.zeros(stack.shape, dtype=np.int64)
    labels[:, 8:30, 8:30] = 77
    session = placed(
        Session(stack, axes="TYX", model=predictor, labels=labels), [click(5, 3)]
    )
    before = labels.copy()
    run(session, overlap=overlap)
    assert session.labels is labels
    is_kept = np.array_equal(labels == 77, before == 77)
    assert is_kept == (overlap == "protect")


def test_a_correction_starts_from_what_is_there(session):
    placed(session, [click(5, 0)])
    run(session)
    before = session.labels.copy()
    session.add_points(5, [(4, 2.0, 2.0)], positive=False)
    (record,) = [item for item in session.prompts(5) if item.position == (4,)]
    np.testing.assert_array_equal(record.corrected.unpacked(), before[4] == 5)
    session.segment(4)
    assert not np.array_equal(session.labels[4], before[4])
    corrected = session.labels[4].copy()
    run(session, start=4, direction="forward")
    np.testing.assert_array_equal(session.labels[:4], before[:4])
    np.testing.assert_array_equal(session.labels[4], corrected)
    assert not np.array_equal(session.labels[5], before[5])
    session.clear_prompts(5, 4)
    np.testing.assert_array_equal(session.labels[4], before[4])


def test_a_correction_that_was_not_segmented_is_before_the_run(session):
    placed(session, [click(5, 0)])
    run(session)
    session.add_points(5, [(4, 2.0, 2.0)], positive=False)
    run(session, start=4)
    shown = session.labels.copy()
    assert session.undo_names[:3] == ("propagate", "segment", "add points")
    session.undo()
    session.undo()
    session.segment(4)
    run(session, start=4)
    np.testing.assert_array_equal(session.labels, shown)


def test_points_improve_a_mask_prompt(session):
    session.new_object(obj_id=5)
    session.add_mask(5, 2, SQUARE)
    session.segment(2)
    session.add_points(5, [(2, 30.0, 40.0)])
    session.segment(2)
    improved = session.labels[2].copy()
    assert not np.array_equal(improved == 5, SQUARE)
    session.add_mask(5, 2, None)
    session.segment(2)
    assert not np.array_equal(session.labels[2], improved)
    session.add_mask(5, 2, SQUARE)
    session.segment(2)
    np.testing.assert_array_equal(session.labels[2], improved)
    session.remove_points(5, 2)
    session.segment(2)
    np.testing.assert_array_equal(session.labels[2] == 5, SQUARE)


def test_only_what_changed_runs_again(session):
    placed(session, [click(5, 1), click(2, 0, y=30, x=40)])
    first = run(session, only_changed=True)
    assert frames(first) == [0, 1, 2, 3, 4, 5, 0]
    assert run(session, only_changed=True) == []
    session.add_points(5, [(4, 2.0, 2.0)], positive=False)
    session.segment(4)
    steps = run(session, only_changed=True)
    assert frames(steps) == [2, 3, 4, 5, 3, 2]
    assert {item.obj_id for step in steps for item in step.scores} == {5}
    assert run(session, only_changed=True) == []
    session.lock(5, 3)
    assert run(session, only_changed=True) == []
    patch = session.labels[3, :3, :3]
    patch[...] = np.where(patch == 5, 0, 5)
    assert frames(run(session, only_changed=True)) == [2, 3, 2]


def test_what_a_removed_prompt_gave_runs_again(session):
    placed(session, [click(5, 0)])
    run(session)
    before = session.labels.copy()
    session.add_box(5, 2, (20, 20, 35, 45))
    session.segment(2)
    run(session, only_changed=True)
    session.clear_prompts(5, 2)
    assert frames(run(session, only_changed=True)) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(session.labels, before)
    session.lock(5, 3)
    session.labels[3] = 5 * SQUARE
    assert frames(run(session, only_changed=True)) == [1, 2, 3, 4, 5, 2, 1]
    session.unlock(5, 3)
    assert frames(run(session, only_changed=True)) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(session.labels, before)


def test_a_cancelled_run_is_not_taken_for_a_whole_one(session):
    placed(session, [click(5, 1)])
    session.propagate(max_steps=2)
    run(session, max_steps=2)
    assert frames(run(session, only_changed=True)) == [1, 2, 3, 4, 5, 0]


def test_start_takes_what_the_labels_show(session, stack, predictor):
    session.new_object(obj_id=5)
    session.labels[2][SQUARE] = 5
    with pytest.raises(PromptError, match="No object has a prompt"):
        session.propagate()
    steps = run(session, start=2)
    assert frames(steps) == [2, 3, 4, 5, 1, 0]
    expected = segment_stack(
        stack, [FramePrompts((2,), 5, mask=SQUARE)], axes="TYX", model=predictor
    )
    np.testing.assert_array_equal(session.labels, expected)
    with pytest.raises(PromptError, match="outside the frames T=0 to 3"):
        session.propagate(start=4, frames=(0, 4))
    with pytest.raises(PromptError, match="labels show none"):
        session.propagate(start=2, at=3, objects=[session.new_object()])


def test_an_object_that_is_gone_is_left(session, predictor, monkeypatch):
    placed(session, [click(5, 1), click(2, 0, y=30, x=40)])
    decoder = predictor.model.sam_mask_decoder
    head = list(decoder.pred_obj_score_head.parameters())[-1]
    run(session)
    assert all(step.scores for step in run(session))
    with monkeypatch.context() as patch:
        # tracked frames only: prompts are remembered from before
        patch.setattr(head, "data", head.data - 100)
        steps = run(session, stop_after_empty=2)
    assert frames(steps) == [0, 1, 2, 3, 0]
    by_frame = {s.frame: [i.obj_id for i in s.scores] for s in steps[:4]}
    assert by_frame == {0: [2], 1: [2, 5], 2: [2, 5], 3: [5]}
    lost = {(d.position, d.obj_id, d.reason) for d in session.doubtful()}
    assert {((1,), 2, "lost"), ((2,), 5, "lost")} <= lost


def test_cancel_keeps_whole_frames(session):
    placed(session, PROMPTS)
    whole = [(s.position, s.dirty_box) for s in run(session)]
    expected = session.labels.copy()
    session.undo()
    asked = iter(range(1000))
    # asked before and after every frame, and between batches
    steps = run(session, cancel=lambda: next(asked) >= 6)
    done = [(step.position, step.dirty_box) for step in steps]
    assert 1 <= len(done) < len(whole)
    assert done == whole[: len(done)]
    for position, _ in done:
        assert session.labels[position].any()
    assert session.undo_names[0] == "propagate"
    run(session)
    np.testing.assert_array_equal(session.labels, expected)


def test_closing_a_run_keeps_whole_frames(session):
    placed(session, [click(5, 1)])
    steps = session.propagate()
    next(steps)
    with pytest.raises(SessionError, match="A run is under way"):
        session.add_points(5, [(1, 2, 3)])
    with pytest.raises(SessionError, match="A run is under way"):
        next(session.propagate())
    steps.close()
    assert session.undo_names[0] == "propagate"
    session.undo()
    assert not session.labels.any()


def test_a_frame_that_cannot_be_read_ends_the_run(stack, predictor):
    source = open_frames(stack)

    class Broken:
        hw = source.hw

        def __len__(self):
            return len(source)

        def read(self, index):
            if index == 4:
                msg = "frame 4 is damaged"
                raise StackError(msg)
            return source.read(index)

    session = Session(
        Broken(), axes="TYX", model=predictor, contrast_limits=(0, 60_000)
    )
    placed(session, [click(5, 1)])
    with pytest.raises(StackError, match="frame 4 is damaged"):
        run(session)
    assert [bool(frame.any()) for frame in session.labels] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert session.undo_names[0] == "propagate"
    session.add_points(5, [(1, 2, 3)])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"direction": "up"}, ValueError, "forward, backward, both"),
        ({"overlap": "maybe"}, ValueError, "protect, overwrite, ask"),
        ({"hq_mode": "max"}, ValueError, "add, only, off"),
        ({"stop_after_empty": 0}, ValueError, "1 or more"),
        ({"start": 1, "only_changed": True}, ValueError, "one of them"),
        ({"frames": (0, 9)}, StackError, "not a range of axis T"),
        ({"frames": (2, 4)}, PromptError, "on T=2 to 3; add a point"),
        ({"objects": [3]}, SessionError, "no object 3"),
    ],
)
def test_a_run_is_checked_before_it_starts(session, options, error, message):
    placed(session, [click(5, 1)])
    with pytest.raises(error, match=message):
        session.propagate(**options)


def test_negative_points_alone_are_no_object(session):
    session.new_object(obj_id=5)
    session.add_points(5, [(1, 2, 3)], positive=False)
    for ask in (lambda: session.segment(1), session.propagate):
        with pytest.raises(PromptError, match="negative points only"):
            ask()
    assert not session.labels.any()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.segment(0), "no prompt at T=0"),
        (lambda s: s.segment(0, [5]), "Object 5 has no prompt at T=0"),
    ],
)
def test_a_frame_without_prompts(session, ask, message):
    placed(session, [click(5, 1)])
    with pytest.raises(PromptError, match=message):
        ask(session)


def test_runs_with_and_without_hq(session, stack, predictor):
    placed(session, PROMPTS)
    for mode in ("add", "off"):
        run(session, hq_mode=mode)
        expected = segment_stack(
            stack, PROMPTS, axes="TYX", model=predictor, hq_mode=mode
        )
        np.testing.assert_array_equal(session.labels, expected)


def test_memories_of_prompts_are_made_once(session, predictor, monkeypatch):
    placed(session, PROMPTS)
    run(session, max_steps=1)
    asked = []

    def ask(_, frame, obj_id, __):
        asked.append((frame, obj_id))
        raise AssertionError

    for name in ("predict_clicks", "predict_mask"):
        monkeypatch.setattr(predictor, name, ask)
    run(session)
    session.set_prompts(5, 4, points=[PointPrompt(6, 6)])
    with pytest.raises(AssertionError):
        run(session)
    assert asked == [(4, 5)]


def test_hq_can_be_compared(session):
    placed(session, [click(5, 1)])
    found = []
    for mode in ("add", "only", "off", None):
        session.segment(1, hq_mode=mode)
        found.append(session.labels[1].copy())
    np.testing.assert_array_equal(found[0], found[3])
    assert not np.array_equal(found[0], found[2])


def test_a_run_that_waits_for_a_frame_can_be_cancelled(stack, predictor, make_stuck):
    options = {"model": predictor, "contrast_limits": (0, 60_000)}
    session = Session(make_stuck(stack, 4), axes="TYX", read_timeout=None, **options)
    placed(session, [click(1, 1)])
    over, steps = threading.Event(), []
    for step in session.propagate(cancel=over.is_set):
        steps.append(step)
        if step.frame == 3:
            threading.Timer(0.2, over.set).start()
    assert frames(steps) == [1, 2, 3]
    assert session.labels.any(axis=(1, 2)).tolist() == [
        False,
        *[True] * 3,
        False,
        False,
    ]
    assert session.undo() == "propagate"
    session.configure(read_timeout=0.3)
    run = session.propagate()
    assert [next(run).frame for _ in range(3)] == [1, 2, 3]
    with pytest.raises(FrameTimeoutError, match=r"Frame T=4 did not come within 0.3 s"):
        next(run)
    assert session.undo() == "propagate"
    session.redo()
    assert session.labels.any(axis=(1, 2)).tolist() == [
        False,
        *[True] * 3,
        False,
        False,
    ]
