"""Divisions are set, split, suggested, undone, saved, and stay true."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from napari_hqsam2 import Session
from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import LineageError, SessionError
from napari_hqsam2.lineage.divisions import Division, Lineage
from napari_hqsam2.lineage.measuring import measure

SQUARES = {
    0: {1: (10, 20, 10)},
    1: {1: (10, 20, 10)},
    2: {2: (11, 14, 7), 3: (11, 27, 7), 4: (30, 5, 4)},
    3: {2: (11, 12, 7), 3: (11, 30, 7), 4: (30, 5, 4)},
    4: {2: (11, 10, 7), 3: (11, 32, 7), 4: (30, 5, 4)},
}
"""Top, left and side by frame and object: 1 becomes 2 and 3 at T=2."""


@pytest.fixture
def labels(stack):
    labels = np.zeros(stack.shape, np.int32)
    for time, squares in SQUARES.items():
        for obj_id, (top, left, side) in squares.items():
            labels[time, top : top + side, left : left + side] = obj_id
    return labels


@pytest.fixture
def session(stack, labels):
    session = Session(stack, axes="TYX", labels=labels)
    session.adopt_labels()
    return session


def test_labels_become_objects(stack, labels):
    session = Session(stack, axes="TYX", labels=labels)
    named = session.new_object(name="mine", obj_id=3)
    assert session.adopt_labels([(1, [3, 2], 2)]) == (1, 2, 4)
    assert session.obj_ids == (1, 2, 3, 4)
    assert session.objects()[2].name == "mine"
    assert session.divisions() == (Division(2, 1, (2, 3)),)
    session.undo()
    assert session.obj_ids == (named,)
    with pytest.raises(LineageError, match="Object 9 belongs"):
        session.adopt_labels([(1, [9], 2)])
    assert session.obj_ids == (named,)


def test_a_division_is_one_step(session):
    told = []
    session.events.objects.connect(told.append)
    assert session.set_division(1, [3, 2]) == Division(2, 1, (2, 3))
    assert told == [(2, 3)]
    assert session.divisions() == (Division(2, 1, (2, 3)),)
    assert session.undo() == "set division"
    assert session.divisions() == ()
    session.redo()
    session.clear_division(1)
    assert session.divisions() == ()
    session.undo()
    assert session.divisions() == (Division(2, 1, (2, 3)),)


def test_the_new_id_is_free(session, labels):
    labels[labels == 2] = 1
    labels[5, 0, 0] = 8
    with pytest.raises(SessionError, match="Label 8 is in use by pixels"):
        session.set_division(1, [1, 3], new_id=8)
    with pytest.raises(SessionError, match="an object 4 already"):
        session.set_division(1, [1, 3], new_id=4)
    assert session.set_division(1, [1, 3]).daughters == (3, 9)


def test_a_second_division_replaces_the_first(session):
    session.set_division(1, [2, 4])
    session.set_division(1, [2, 3])
    assert session.divisions() == (Division(2, 1, (2, 3)),)


def test_a_mother_whose_label_goes_on_is_split(session, labels):
    labels[labels == 2] = 1
    session.add_points(1, [(3, 15, 15)])
    session.lock(1, 1)
    session.lock(1, 4)
    before = labels.copy()
    division = session.set_division(1, [1, 3])
    assert division == Division(2, 1, (3, 5))
    assert not (labels[2:] == 1).any()
    np.testing.assert_array_equal(labels[2:] == 5, before[2:] == 1)
    assert session.locked(1) == ((1,),)
    assert session.locked(5) == ((4,),)
    assert [p.position for p in session.prompts(5)] == [(3,)]
    assert session.prompts(1) == ()
    script = session.as_python()
    session.undo()
    np.testing.assert_array_equal(labels, before)
    assert session.locked(1) == ((1,), (4,))
    assert session.obj_ids == (1, 2, 3, 4)
    again = {"stack": np.zeros(labels.shape, np.uint8), "labels": before}
    exec(script, again)  # noqa: S102
    assert again["session"].divisions() == (division,)


@pytest.mark.parametrize(
    ("mother", "daughters", "frame", "message"),
    [
        (4, [2, 3], 2, "Object 4 divides at T=2 but is still there at T=4"),
        (1, [2, 3], 3, "Object 2 is there at T=2, before"),
        (1, [1, 3], 5, "from T=0 to T=1, so it cannot be split at T=5"),
        (1, [], 2, "no daughters"),
        (1, [], None, "frame of the division is unknown"),
    ],
)
def test_divisions_that_cannot_be(session, mother, daughters, frame, message):
    names = session.undo_names
    with pytest.raises(LineageError, match=message):
        session.set_division(mother, daughters, frame)
    assert session.divisions() == ()
    assert session.undo_names == names


def test_a_daughter_has_one_mother(session):
    session.new_object(obj_id=8)
    session.set_division(1, [2, 3])
    with pytest.raises(LineageError, match="Object 3 is a daughter twice"):
        session.set_division(8, [3], 2)
    with pytest.raises(LineageError, match="descends from itself"):
        session.set_division(2, [1], 0)


def test_objects_that_are_not_there(session):
    with pytest.raises(SessionError, match="no object 9"):
        session.set_division(1, [9])
    with pytest.raises(SessionError, match="Object 4 does not divide"):
        session.clear_division(4)


def test_other_calls_keep_it_true(session):
    session.set_division(1, [2, 3])
    session.reassign(1, 11)
    session.reassign(3, 13)
    assert session.divisions() == (Division(2, 11, (2, 13)),)
    session.delete_object(2)
    assert session.divisions() == (Division(2, 11, (13,)),)
    session.delete_object(11)
    assert session.divisions() == ()
    assert session.objects()[-1].born is None
    for _ in range(4):
        session.undo()
    assert session.divisions() == (Division(2, 1, (2, 3)),)


def test_suggestions_change_nothing(session, labels):
    (found,) = session.suggest_divisions()
    assert found.division == Division(2, 1, (2, 3))
    assert session.divisions() == ()
    session.set_division(1, found.division.daughters, found.division.frame)
    assert session.suggest_divisions() == ()
    session.clear_division(1)
    session.reassign(3, 7)
    labels[labels == 7] = 9
    assert session.suggest_divisions() == (), "9 is not an object"


def test_saved_and_loaded(session, stack, tmp_path):
    session.set_division(1, [2, 3])
    session.save(tmp_path / "it.session")
    loaded = Session.load(tmp_path / "it.session", stack)
    assert loaded.divisions() == session.divisions()
    assert loaded.objects() == session.objects()


def test_depth_is_not_time(stack):
    session = Session(stack, axes="ZYX")
    with pytest.raises(LineageError, match="no time T"):
        session.set_division(session.new_object(), [session.new_object()], 1)
    with pytest.raises(LineageError, match="no time T"):
        session.suggest_divisions()


def test_time_lapses_of_volumes(stack):
    labels = np.zeros((3, 2, *stack.shape[1:]), np.int32)
    labels[0, :, 5:15, 5:15] = 1
    labels[1:, 1, 5:15, 4:9] = 1
    labels[1:, :, 5:15, 11:17] = 2
    session = Session(stack.reshape(labels.shape), axes="TZYX", labels=labels)
    session.adopt_labels()
    assert session.set_division(1, [1, 2]) == Division(1, 1, (2, 3))
    assert np.unique(labels[1:]).tolist() == [0, 2, 3]


class Lineages(RuleBasedStateMachine):
    """Whatever is done and undone, divisions are of objects and possible."""

    @initialize(seed=st.integers(0, 99))
    def start(self, seed):
        rng = np.random.default_rng(seed)
        labels = np.zeros((4, 3, 4), np.int32)
        labels[rng.random(labels.shape) < 0.4] = 1
        labels = labels * rng.integers(1, 7, labels.shape)
        self.session = Session(
            np.zeros(labels.shape, np.uint8), axes="TYX", labels=labels
        )
        self.session.adopt_labels()

    def some(self, number):
        ids = self.session.obj_ids
        return ids[number % len(ids)] if ids else 1

    @rule(mother=st.integers(0, 9), others=st.sets(st.integers(0, 9), max_size=3))
    def divide(self, mother, others):
        before = self.state()
        try:
            self.session.set_division(self.some(mother), map(self.some, others))
        except (LineageError, SessionError):
            assert self.state() == before

    @rule(obj_id=st.integers(0, 9))
    def delete(self, obj_id):
        with suppress(SessionError):
            self.session.delete_object(self.some(obj_id))

    @rule(obj_id=st.integers(0, 9), new_id=st.integers(1, 12))
    def reassign(self, obj_id, new_id):
        with suppress(SessionError):
            self.session.reassign(self.some(obj_id), new_id)

    @rule(mother=st.integers(0, 9))
    def clear(self, mother):
        with suppress(SessionError):
            self.session.clear_division(self.some(mother))

    @precondition(lambda self: self.session.can_undo)
    @rule()
    def undo_and_redo(self):
        before = self.state()
        self.session.undo()
        self.session.redo()
        assert self.state() == before

    @precondition(lambda self: self.session.can_undo)
    @rule()
    def undo(self):
        self.session.undo()

    def state(self):
        session = self.session
        return session.objects(), session.divisions(), session.labels.tobytes()

    @invariant()
    def divisions_are_possible(self):
        session = self.session
        labels = StackAxes("TYX", session.labels.shape)
        divisions = session.divisions()
        Lineage(measure(session.labels, labels).spans(), divisions).check(
            need_pixels=False
        )
        named = {i for each in divisions for i in (each.mother, *each.daughters)}
        assert named <= set(session.obj_ids)


Lineages.TestCase.settings = settings(max_examples=15, stateful_step_count=12)
TestLineages = Lineages.TestCase
