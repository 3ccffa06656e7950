"""Parts of an object along an axis are removed, or become an object of their own."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import Session
from napari_hqsam2.errors import SessionError, StackError

SHAPE = (6, 40, 50)


def block(number):
    drawn = np.zeros(SHAPE[1:], dtype=bool)
    drawn[5 * number : 5 * number + 4, 3:9] = True
    return drawn


def followed(shape=SHAPE, axes="TYX"):
    """Object 1 with a mask on every frame, accepted on two; 2 beside it."""
    session = Session(np.zeros(shape, np.uint8), axes=axes)
    for obj_id in (1, 2):
        session.new_object(obj_id=obj_id)
        for position in np.ndindex(shape[:-2]):
            session.add_mask(obj_id, position, block(obj_id))
            session.segment(position, [obj_id])
    first = (0,) * (len(shape) - 2)
    session.lock(1, first)
    session.lock(1, (*first[1:], 5))
    return session


def places(session, obj_id):
    """Frames by what is there: pixels, prompts, scores, locks."""
    shown = [
        p
        for p in np.ndindex(session.labels.shape[:-2])
        if (session.labels[p] == obj_id).any()
    ]
    if obj_id not in session.obj_ids:
        return shown, [], [], []
    return (
        shown,
        [each.position for each in session.prompts(obj_id)],
        [each.position for each in session.scores(obj_id)],
        list(session.locked(obj_id)),
    )


def frames(*numbers):
    return [(number,) for number in numbers]


def test_frames_are_removed_and_come_back():
    session = followed()
    before, other = places(session, 1), places(session, 2)
    labels = session.labels.copy()
    session.remove_frames(1, (4, 6))
    rest = frames(0, 1, 2, 3)
    assert places(session, 1) == (rest, rest, rest, frames(0))
    assert places(session, 2) == other
    session.remove_frames(1, (0, 2), axis="T")
    rest = frames(2, 3)
    assert places(session, 1) == (rest, rest, rest, [])
    session.undo()
    session.undo()
    assert places(session, 1) == before
    np.testing.assert_array_equal(session.labels, labels)


def test_the_rest_is_another_object():
    session = followed()
    both = [item.mask_key for item in session.scores(1)]
    labels, other = session.labels.copy(), places(session, 2)
    assert session.split_object(1, 3) == 3
    start, rest = frames(0, 1, 2), frames(3, 4, 5)
    assert places(session, 1) == (start, start, start, frames(0))
    assert places(session, 3) == (rest, rest, rest, frames(5))
    assert places(session, 2) == other
    halves = [*session.scores(1), *session.scores(3)]
    assert [item.mask_key for item in halves] == both
    assert {item.obj_id for item in session.scores(3)} == {3}
    session.undo()
    assert session.obj_ids == (1, 2)
    np.testing.assert_array_equal(session.labels, labels)


def test_daughters_go_with_what_divides():
    session = followed()
    session.remove_frames(1, (4, 6))
    session.remove_frames(2, (0, 4))
    session.set_division(1, [2], 4)
    assert session.split_object(1, 2) == 3
    assert [(d.mother, d.daughters) for d in session.divisions()] == [(3, (2,))]
    session.undo()
    assert [(d.mother, d.daughters) for d in session.divisions()] == [(1, (2,))]


@pytest.mark.parametrize("at", [None, (1, 2)])
def test_one_line_or_all(at):
    session = followed((3, 6, 40, 50), "TZYX")
    session.remove_frames(1, (2, 6), axis="Z", at=at)
    shown, *_ = places(session, 1)
    times = {time for time, depth in shown if depth >= 2}
    assert times == (set() if at is None else {0, 2})
    assert {place for place in shown if place[1] < 2} == set(np.ndindex(3, 2))


def test_the_script_cuts_too():
    session = followed()
    session.split_object(1, 3, new_id=9)
    session.remove_frames(9, (5, 6))
    script = session.as_python()
    names = {"stack": np.zeros(SHAPE, np.uint8)}
    exec(script, names)  # noqa: S102 - the script is what is tested
    np.testing.assert_array_equal(names["session"].labels, session.labels)
    assert names["session"].obj_ids == (1, 2, 9)


def test_what_cannot_be_cut_is_refused():
    session = followed()
    session.remove_frames(1, (4, 6))
    for frame, words in ((0, "only after the cut at T=0"), (4, "only before")):
        with pytest.raises(SessionError, match=words):
            session.split_object(1, frame)
    with pytest.raises(SessionError, match="object 2 already"):
        session.split_object(1, 2, new_id=2)
    with pytest.raises(StackError, match="not a range of axis T"):
        session.remove_frames(1, (3, 9))
    with pytest.raises(SessionError, match="no object 7"):
        session.remove_frames(7, (0, 1))
    assert session.undo_names[0] == "remove frames"
