"""Undo and redo bring back exactly what was there, within their bytes."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from napari_hqsam2 import Session
from napari_hqsam2.errors import SessionError

FRAMES, HW = 3, (20, 24)


def snapshot(session):
    """All that can be seen of a session."""
    return session.labels.copy(), [
        (
            item,
            session.prompts(item.obj_id),
            session.locked(item.obj_id),
            session.scores(item.obj_id),
        )
        for item in session.objects()
    ]


def assert_same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


def blob(seed):
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 12, 2)
    mask = np.zeros(HW, dtype=bool)
    mask[top : top + 8, left : left + 9] = rng.random((8, 9)) > 0.3
    return mask


class SessionMachine(RuleBasedStateMachine):
    """Steps of a session beside a plain list of snapshots."""

    predictor = None

    @initialize()
    def start(self):
        stack = np.random.default_rng(1).integers(0, 255, (FRAMES, *HW), np.uint8)
        labels = np.zeros(stack.shape, dtype=np.int32)
        labels[:, 15:, 20:] = 99
        self.session = Session(stack, axes="TYX", model=self.predictor, labels=labels)
        self.session.new_object()
        self.session.new_object()
        self.seen = [snapshot(self.session)]
        self.now = 0
        self.undoable = len(self.session.undo_names)

    def note(self):
        """Compare the number of steps with the snapshots after something was done."""
        if len(self.session.undo_names) == self.undoable + self.now:
            assert_same(self.seen[self.now], snapshot(self.session))
            return
        self.now += 1
        del self.seen[self.now :]
        self.seen.append(snapshot(self.session))
        assert not self.session.can_redo
        assert len(self.session.undo_names) == self.undoable + self.now

    def locked_pixels(self):
        """Labels with nothing but locked objects on their locked frames."""
        kept = np.zeros_like(self.session.labels)
        for obj_id in self.session.obj_ids:
            for position in self.session.locked(obj_id):
                frame = self.session.labels[position]
                kept[position][frame == obj_id] = obj_id
        return kept

    def choose(self, number):
        return self.session.obj_ids[number % len(self.session.obj_ids)]

    objects = st.integers(0, 5)
    frames = st.integers(0, FRAMES - 1)

    @rule(seed=st.integers(0, 30), number=objects, frame=frames)
    def mask_and_segment(self, seed, number, frame):
        obj_id = self.choose(number)
        if (frame,) in self.session.locked(obj_id):
            return
        self.session.add_mask(obj_id, frame, blob(seed))
        self.note()
        locked = self.locked_pixels()
        self.session.segment(frame, [obj_id], overlap="overwrite")
        np.testing.assert_array_equal(self.locked_pixels(), locked)
        self.note()

    @rule(number=objects, frame=frames, positive=st.booleans())
    def click(self, number, frame, positive):
        obj_id = self.choose(number)
        if (frame,) in self.session.locked(obj_id):
            return
        self.session.add_points(obj_id, [(frame, 5, 6)], positive=positive)
        self.note()

    @rule(number=objects, frame=frames)
    def clear(self, number, frame):
        obj_id = self.choose(number)
        if (frame,) not in self.session.locked(obj_id):
            self.session.clear_prompts(obj_id, frame)
            self.note()

    @rule(number=objects, frame=frames, is_locked=st.booleans())
    def lock(self, number, frame, is_locked):
        change = self.session.lock if is_locked else self.session.unlock
        change(self.choose(number), frame)
        self.note()

    @rule(number=objects, name=st.sampled_from("ab"))
    def rename(self, number, name):
        self.session.rename(self.choose(number), name)
        self.note()

    @precondition(lambda self: len(self.session.obj_ids) > 1)
    @rule(number=objects)
    def delete(self, number):
        self.session.delete_object(self.choose(number))
        self.note()

    @rule()
    def new(self):
        self.session.new_object()
        self.note()

    @rule(number=objects, new=st.integers(50, 60))
    def reassign(self, number, new):
        if new not in self.session.obj_ids:
            self.session.reassign(self.choose(number), new)
            self.note()

    @rule(number=objects, frame=frames)
    def remove_frames(self, number, frame):
        obj_id = self.choose(number)
        self.session.remove_frames(obj_id, (frame, FRAMES))
        assert not (self.session.labels[frame:] == obj_id).any()
        self.note()

    @rule(number=objects, frame=frames)
    def split(self, number, frame):
        obj_id, labels = self.choose(number), self.session.labels.copy()
        parts = labels[:frame] == obj_id, labels[frame:] == obj_id
        if parts[0].any() and parts[1].any():
            new = self.session.split_object(obj_id, frame)
            labels[frame:][parts[1]] = new
            np.testing.assert_array_equal(self.session.labels, labels)
            self.note()

    @precondition(lambda self: len(self.session.obj_ids) > 1)
    @rule(number=objects, second=objects)
    def join(self, number, second):
        kept = self.choose(number)
        others = [i for i in self.session.obj_ids if i != kept]
        gone, labels = others[second % len(others)], self.session.labels.copy()
        self.session.join_objects(kept, gone)
        labels[labels == gone] = kept
        np.testing.assert_array_equal(self.session.labels, labels)
        self.note()

    @rule(number=objects, most=st.integers(1, 3))
    def run(self, number, most):
        obj_id = self.choose(number)
        if (0,) in self.session.locked(obj_id):
            return
        self.session.add_box(obj_id, 0, (2, 2, 9, 9))
        self.note()
        locked = self.locked_pixels()
        for _ in self.session.propagate(
            objects=[obj_id], max_steps=most, overlap="overwrite"
        ):
            pass
        np.testing.assert_array_equal(self.locked_pixels(), locked)
        # corrections that were not segmented yet are steps of their own
        after, undone = [], 0
        while len(self.session.undo_names) > self.undoable + self.now:
            after.append(snapshot(self.session))
            self.session.undo()
            undone += 1
        assert_same(self.seen[self.now], snapshot(self.session))
        for _ in range(undone):
            self.session.redo()
        del self.seen[self.now + 1 :]
        self.seen += after[::-1]
        self.now += undone

    @precondition(lambda self: self.now > 0)
    @rule(count=st.integers(1, 4))
    def undo(self, count):
        for _ in range(min(count, self.now)):
            self.session.undo()
            self.now -= 1
        assert_same(self.seen[self.now], snapshot(self.session))

    @precondition(lambda self: self.now < len(self.seen) - 1)
    @rule()
    def redo(self):
        self.session.redo()
        self.now += 1
        assert_same(self.seen[self.now], snapshot(self.session))

    def teardown(self):
        if hasattr(self, "seen"):
            last = snapshot(self.session)
            while self.session.can_undo:
                self.session.undo()
            assert set(np.unique(self.session.labels)) == {0, 99}
            assert self.session.objects() == ()
            while len(self.session.undo_names) < self.undoable + self.now:
                self.session.redo()
            assert_same(last, snapshot(self.session))


def test_undo_and_redo_against_snapshots(predictor):
    class Machine(SessionMachine):
        pass

    Machine.predictor = predictor
    Machine.TestCase.settings = settings(max_examples=12, stateful_step_count=15)
    Machine.TestCase("runTest").runTest()


@pytest.fixture
def session(stack):
    return Session(stack, axes="TYX", history_bytes=40_000)


def test_history_stays_within_its_bytes(session, rng):
    cell = session.new_object()
    for count in range(60):
        noise = rng.random((40, 50)) > 0.5
        session.add_mask(cell, count % 6, noise)
        session.segment(count % 6)
        assert session.history_bytes <= 40_000
    kept = len(session.undo_names)
    assert 5 < kept < 100
    for _ in range(kept):
        session.undo()
    with pytest.raises(SessionError, match="nothing to undo"):
        session.undo()
    # what can be undone no more is still part of the script
    calls = [x for x in session.as_python().splitlines() if x.startswith("session.")]
    assert len(calls) == 1 + 2 * 60 - kept


def test_the_newest_step_is_kept_at_any_size(stack):
    session = Session(stack, axes="TYX", history_bytes=1)
    cell = session.new_object()
    session.add_mask(cell, 0, np.ones((40, 50)))
    assert session.undo_names == ("mask",)
    session.undo()
    assert session.prompts(cell) == ()
    session.redo()
    with pytest.raises(SessionError, match="nothing to redo"):
        session.redo()


def test_fifty_steps_fit_easily(stack, rng):
    session = Session(stack, axes="TYX")
    cell = session.new_object()
    for count in range(50):
        session.add_mask(cell, count % 6, rng.random((40, 50)) > 0.5)
        session.segment(count % 6)
    assert len(session.undo_names) == 101
    assert session.history_bytes < 2**20


def test_calls_that_change_nothing_are_no_steps(session):
    cell = session.new_object(name="mother")
    session.rename(cell, "mother")
    session.unlock(cell, 1)
    assert session.undo_names == ("new object",)


def test_many_calls_can_be_one_step(session):
    told = []
    session.events.history.connect(lambda: told.append(session.undo_names))
    with session.one_step("find all"):
        one = session.new_object()
        with session.one_step("inner"):
            session.add_mask(one, 1, np.eye(40, 50))
        session.segment(1)
    assert session.undo_names == ("find all",)
    assert told[-1] == ("find all",)
    after = snapshot(session)
    session.undo()
    assert session.obj_ids == ()
    assert not session.labels.any()
    session.redo()
    assert_same(snapshot(session), after)
    with contextlib.suppress(SessionError), session.one_step("half"):
        session.rename(one, "mother")
        session.new_object(obj_id=one)
    assert session.undo_names == ("half", "find all")
    session.undo()
    assert_same(snapshot(session), after)


def test_calls_of_a_block_are_one_step(session):
    with session.one_step("click"):
        session.new_object()
        session.add_points(1, [(0, 10, 12)])
        with session.one_step("inner"):
            session.segment(0)
    assert session.undo_names == ("click",)
    assert session.labels.any() or session.scores(1)
    script = session.as_python()
    session.undo()
    assert session.obj_ids == ()
    assert not session.labels.any()
    session.redo()
    assert session.as_python() == script
    assert len(session.prompts(1)) == 1


def test_a_block_that_raises_keeps_what_was_done_as_one_step(session):
    def three_of_which_one_fails():
        with session.one_step("two"):
            session.new_object()
            session.new_object()
            session.new_object(obj_id=1)

    with pytest.raises(SessionError):
        three_of_which_one_fails()
    assert session.obj_ids == (1, 2)
    assert session.undo_names == ("two",)
    with session.one_step("nothing"):
        pass
    assert session.undo_names == ("two",)


def test_a_run_can_be_part_of_a_step(session):
    with session.one_step("all"):
        session.new_object()
        session.add_points(1, [(0, 10, 12)])
        for _ in session.propagate("T", frames=(0, 3)):
            pass
    assert session.undo_names == ("all",)
    session.undo()
    assert not session.labels.any()


def test_steps_are_undone_in_labels_of_a_wider_type(session):
    session.new_object()
    mask = np.zeros((40, 50), dtype=bool)
    mask[3:6, 4:8] = True
    session.add_mask(1, 0, mask)
    session.segment(0)
    session._store.array = session.labels.astype(np.int64)
    session.undo()
    assert not session.labels.any()
    session.redo()
    assert (session.labels[0] == 1).sum() == mask.sum()


def test_prepared_frames_are_encoded_once(session, monkeypatch):
    session.prepare(2)
    loader = session._tracker.predictor()._tracker.loader
    monkeypatch.setattr(loader, "encode", lambda _: pytest.fail("encoded again"))
    session.prepare((2,))
    session.new_object()
    session.add_points(1, [(2, 10, 12)])
    session.segment(2)
