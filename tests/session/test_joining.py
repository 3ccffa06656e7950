"""Two objects become one: pixels, prompts, locks, scores, divisions."""

from __future__ import annotations

import numpy as np
import pytest
from tests.session.test_cutting import SHAPE, block, followed, frames, places

from napari_hqsam2 import Session
from napari_hqsam2.errors import LineageError, SessionError


def snapshot(session):
    return session.objects(), [places(session, i) for i in session.obj_ids]


def test_joining_takes_a_split_back():
    session = followed()
    whole, labels = snapshot(session), session.labels.copy()
    scores = session.scores(1)
    new = session.split_object(1, 3)
    session.join_objects(1, new)
    assert snapshot(session) == whole
    assert session.scores(1) == scores
    np.testing.assert_array_equal(session.labels, labels)


def test_the_one_that_stays_keeps_its_name():
    session = followed()
    session.rename(1, "mother")
    new = session.split_object(1, 2)
    session.rename(new, "lost and found")
    session.join_objects(new, 1)
    assert [(o.obj_id, o.name) for o in session.objects()] == [
        (2, "object 2"),
        (3, "lost and found"),
    ]
    assert places(session, 3) == (
        frames(*range(6)),
        frames(*range(6)),
        frames(*range(6)),
        frames(0, 5),
    )


def test_masks_on_one_frame_become_one():
    """Where one was prompted, both are accepted; no score stands for the two."""
    session = followed()
    session.remove_frames(2, (4, 6))
    other = places(session, 1)
    before = session.labels.copy()
    session.join_objects(2, 1)
    shown, prompts, scores, locks = places(session, 2)
    assert shown == other[0]
    assert prompts == scores == frames(4, 5)
    assert locks == frames(0, 1, 2, 3, 5)
    np.testing.assert_array_equal(session.labels, np.where(before > 0, 2, 0))
    session.undo()
    assert places(session, 1) == other
    np.testing.assert_array_equal(session.labels, before)


def test_what_was_only_followed_is_not_accepted():
    labels = np.zeros(SHAPE, np.int32)
    for number in (1, 2):
        labels[:, block(number)] = number
    session = Session(np.zeros(SHAPE, np.uint8), axes="TYX", labels=labels)
    for number in (1, 2):
        session.new_object(obj_id=number)
    session.lock(2, 3)
    session.join_objects(1, 2)
    assert session.locked(1) == ((3,),)
    assert set(np.unique(session.labels)) == {0, 1}


def test_an_absence_that_was_accepted_gives_way():
    session = followed()
    session.unlock(1, 0)
    session.unlock(1, 5)
    session.remove_frames(1, (4, 6))
    session.lock(1, 4)
    session.remove_frames(2, (0, 4))
    session.join_objects(1, 2)
    assert session.locked(1) == ()
    assert places(session, 1)[0] == frames(*range(6))


def divided():
    """1 becomes 2 and 3 on frame 3; 4 is before 1; 5 is beside it on frame 2."""
    labels = np.zeros(SHAPE, np.int32)
    times = {1: (2,), 2: (3, 4, 5), 3: (3, 4), 4: (0, 1), 5: (2,)}
    for number, there in times.items():
        labels[there, 5 * number] = number
    session = Session(np.zeros(SHAPE, np.uint8), axes="TYX", labels=labels)
    session.adopt_labels()
    session.set_division(1, [2, 3], 3)
    return session


def told(session):
    return [(d.mother, d.daughters, d.frame) for d in session.divisions()]


@pytest.mark.parametrize(
    ("kept", "gone", "left"),
    [
        (4, 1, [(4, (2, 3), 3)]),
        (1, 4, [(1, (2, 3), 3)]),
        (2, 3, [(1, (2,), 3)]),
        (1, 2, None),
        (2, 1, None),
    ],
)
def test_families(kept, gone, left):
    session = divided()
    if left is None:
        with pytest.raises(
            LineageError, match=r"still there at T=5.* Or clear the division"
        ):
            session.join_objects(kept, gone)
        assert told(session) == [(1, (2, 3), 3)]
        return
    session.join_objects(kept, gone)
    assert told(session) == left
    session.undo()
    assert told(session) == [(1, (2, 3), 3)]


def test_an_only_daughter_is_her_mother_again():
    session = divided()
    session.delete_object(3)
    session.join_objects(1, 2)
    assert told(session) == []
    assert session.obj_ids == (1, 4, 5)


def test_two_mothers_are_refused():
    session = divided()
    session.set_division(4, [1, 5], 2)
    with pytest.raises(LineageError, match=r"different mothers \(1 at T=3 and 4 at"):
        session.join_objects(2, 5)


def test_the_script_joins_too():
    session = followed()
    session.join_objects(2, session.split_object(1, 3))
    names = {"stack": np.zeros(SHAPE, np.uint8)}
    exec(session.as_python(), names)  # noqa: S102 - the script is what is tested
    np.testing.assert_array_equal(names["session"].labels, session.labels)
    assert snapshot(names["session"]) == snapshot(session)


def test_what_cannot_be_joined_is_refused():
    session = followed()
    with pytest.raises(SessionError, match="cannot be joined with itself"):
        session.join_objects(1, 1)
    with pytest.raises(SessionError, match="no object 7"):
        session.join_objects(1, 7)
    assert session.undo_names[0] == "lock"
