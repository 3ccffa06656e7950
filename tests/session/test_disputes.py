"""Results that ask before they take pixels of other labels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import Session
from napari_hqsam2.session.disputes import Dispute

HW = (40, 50)


def block(left, right, top=10, bottom=20):
    mask = np.zeros(HW, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture
def asking(session):
    """Object 1 in columns 10 to 19 of frame 0; object 2 would have 15 to 29 as well."""
    for obj_id, mask in ((1, block(10, 20)), (2, block(15, 30))):
        session.new_object(obj_id=obj_id)
        session.add_mask(obj_id, 0, mask)
    session.segment(0, [1], overlap="ask")
    session.segment(0, [2], overlap="ask")
    return session


def columns(session, obj_id, frame=0):
    return np.flatnonzero((session.labels[frame] == obj_id).any(axis=0)).tolist()


def test_pixels_of_others_stay_and_are_told(asking):
    assert columns(asking, 1) == list(range(10, 20))
    assert columns(asking, 2) == list(range(20, 30))
    assert asking.disputes() == (Dispute((0,), 2, 1, 50),)
    assert asking.scores(2)[0].area == 100


def test_what_is_in_dispute_can_be_taken_and_given_back(asking):
    before = asking.labels.copy()
    assert asking.take_disputed() == (Dispute((0,), 2, 1, 50),)
    assert asking.undo_names[0] == "take pixels"
    after = asking.labels.copy()
    assert columns(asking, 1) == list(range(10, 15))
    assert columns(asking, 2) == list(range(15, 30))
    (scores,) = asking.scores(2)
    assert (scores.area, scores.centroid) == (150, (14.5, 22.0))
    assert asking.disputes() == asking.take_disputed() == ()
    asking.undo()
    np.testing.assert_array_equal(asking.labels, before)
    assert asking.disputes() == (Dispute((0,), 2, 1, 50),)
    assert asking.scores(2)[0].area == 100
    asking.redo()
    np.testing.assert_array_equal(asking.labels, after)
    assert asking.disputes() == ()


def test_nothing_is_asked_unless_that_is_wanted(session):
    session.new_object(obj_id=1)
    session.add_mask(1, 0, block(10, 20))
    session.labels[0][block(15, 30)] = 7
    session.segment(0)
    assert session.disputes() == ()
    session.segment(0, overlap="ask")
    assert session.disputes() == (Dispute((0,), 1, 7, 50),)
    session.segment(0, overlap="overwrite")
    assert session.disputes() == ()
    assert columns(session, 1) == list(range(10, 20))


def test_pixels_of_locked_objects_are_in_no_dispute(asking):
    asking.lock(1, 0)
    assert asking.disputes() == asking.take_disputed() == ()
    asking.unlock(1, 0)
    asking.lock(2, 0)
    assert asking.disputes() == ()
    asking.unlock(2, 0)
    assert len(asking.disputes()) == 1


def test_disputes_are_those_of_the_newest_results(asking):
    asking.new_object(obj_id=3)
    asking.add_mask(3, 1, block(0, 5))
    assert len(asking.disputes()) == 1, "nothing was painted since"
    asking.segment(1, overlap="ask")
    assert asking.disputes() == ()
    asking.undo()
    assert asking.disputes() == (Dispute((0,), 2, 1, 50),)


def test_a_group_of_calls_has_the_disputes_of_all(asking):
    asking.labels[1][block(40, 50)] = 9
    with asking.one_step("both"):
        asking.new_object(obj_id=3)
        asking.add_mask(3, 1, block(35, 45))
        asking.segment(1, overlap="ask")
        asking.add_mask(3, 0, block(5, 12))
        asking.segment(0, [3], overlap="ask")
    both = (Dispute((0,), 3, 1, 20), Dispute((1,), 3, 9, 50))
    assert asking.disputes() == both
    assert asking.take_disputed() == both
    assert columns(asking, 3) == list(range(5, 12))
    assert columns(asking, 3, 1) == list(range(35, 45))


@pytest.mark.parametrize("change", ["delete 1", "delete 2", "clear", "reassign"])
def test_disputes_end_with_what_they_are_about(asking, change):
    if change == "clear":
        asking.clear_prompts(2)
    elif change == "reassign":
        asking.reassign(2, 12)
    else:
        asking.delete_object(int(change[-1]))
    assert asking.disputes() == ()
    asking.undo()
    assert len(asking.disputes()) == 1


def test_a_label_that_was_erased_is_in_no_dispute(asking):
    asking.labels[0][block(0, 18)] = 0
    assert asking.disputes() == (Dispute((0,), 2, 1, 20),)
    asking.take_disputed()
    assert columns(asking, 2) == list(range(15, 30))


def test_runs_ask_on_every_frame(session, stack, predictor):
    session.labels[:, 0:40, 25:50] = 9
    session.new_object(obj_id=1)
    session.add_points(1, [(0, 15, 12)])
    free = Session(stack, axes="TYX", model=predictor)
    free.new_object(obj_id=1)
    free.add_points(1, [(0, 15, 12)])
    for run in (free.propagate("T"), session.propagate("T", overlap="ask")):
        list(run)
    wanted = free.labels == 1
    assert wanted[..., 25:].any(), "the untrained model takes half of every frame"
    assert (session.labels[..., 25:] == 9).all()
    taken = session.take_disputed()
    areas = wanted[..., 25:].sum(axis=(1, 2))
    assert {d.position[0]: d.area for d in taken} == {
        frame: area for frame, area in enumerate(areas) if area
    }
    np.testing.assert_array_equal(session.labels == 1, wanted)


def test_the_script_takes_the_same(asking, stack, predictor):
    asking.take_disputed()
    names = {"stack": stack, "model": predictor}
    exec(asking.as_python(), names)  # noqa: S102
    np.testing.assert_array_equal(names["session"].labels, asking.labels)


def test_corrections_that_a_run_segments_ask_too(session):
    session.new_object(obj_id=1)
    session.add_points(1, [(0, 15, 12)])
    session.segment(0)
    list(session.propagate("T"))
    session.labels[2:5][session.labels[2:5] == 1] = 9
    for frame in (2, 4):
        session.add_points(1, [(frame, 15, 12)])
    list(session.propagate("T", overlap="ask"))
    assert {(2,), (4,)} <= {item.position for item in session.disputes()}
