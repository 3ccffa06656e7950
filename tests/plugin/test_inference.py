"""The inference thread: order, replacement, cancelling, pauses, the end."""

import gc
import queue
import threading
import time
import weakref
from contextvars import copy_context
from functools import partial

import numpy as np
import pytest

from napari_hqsam2.errors import ReadCancelledError
from napari_hqsam2.plugin.inference import (
    MAX_WAITING,
    InferenceThread,
    SyncInference,
    Task,
)
from napari_hqsam2.segmentation.stack_view import StackView


class Main:
    """A main thread that does what it is told when the test says so."""

    def __init__(self):
        self.posted = queue.Queue()

    def run_until(self, condition):
        until = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < until
            try:
                self.posted.get(timeout=0.02)()
            except queue.Empty:
                continue


@pytest.fixture
def main():
    return Main()


@pytest.fixture
def inference(main):
    thread = InferenceThread(main.posted.put)
    yield thread
    thread.close(lambda: None)
    assert thread.join(10)


def gate():
    """A task that waits, and what lets it go on."""
    event = threading.Event()
    return Task(lambda _: event.wait(10)), event


def test_a_context_that_others_hold_on_to_keeps_no_task_alive(main, inference):
    kept, seen = [], []

    class Viewer:
        pass

    def submit():
        viewer = Viewer()

        def work(_):
            kept.append(copy_context())
            return viewer

        inference.submit(Task(work, lambda _: seen.append(True)))
        return weakref.ref(viewer)

    viewer = submit()
    main.run_until(lambda: seen)
    inference.submit(Task(lambda _: None, seen.append))
    main.run_until(lambda: len(seen) == 2)
    gc.collect()
    assert kept
    assert viewer() is None


def test_answers_come_in_order_from_one_other_thread(main, inference):
    seen, threads = [], set()

    def work(number):
        threads.add(threading.get_ident())
        return number

    for number in range(5):
        inference.submit(Task(lambda _, n=number: work(n), seen.append))
    main.run_until(lambda: len(seen) == 5)
    assert seen == [0, 1, 2, 3, 4]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_waiting_task_is_replaced_by_one_with_its_key(main, inference):
    first, go_on = gate()
    seen = []
    inference.submit(first)
    for number in range(4):
        inference.submit(Task(lambda _, n=number: n, seen.append, key="live"))
    inference.submit(Task(lambda _: "other", seen.append))
    go_on.set()
    main.run_until(lambda: len(seen) == 2)
    assert seen == [3, "other"]


def test_background_tasks_come_last(main, inference):
    first, go_on = gate()
    seen = []
    inference.submit(first)
    inference.submit(Task(lambda _: "later", seen.append, is_background=True))
    inference.submit(Task(lambda _: "now", seen.append))
    go_on.set()
    main.run_until(lambda: len(seen) == 2)
    assert seen == ["now", "later"]


def test_a_task_is_cancelled_while_it_runs(main, inference):
    steps, done = [], []

    def work(ticket):
        while not ticket.is_cancelled():
            ticket.tell(steps.append, len(steps))
            time.sleep(0.005)

    ticket = inference.submit(Task(work, done.append))
    main.run_until(lambda: len(steps) > 3)
    ticket.cancel()
    main.run_until(lambda: done)


def test_the_thread_pauses_while_the_viewer_is_busy(inference, main):
    told = []

    def work(ticket):
        for number in range(50):
            told.append(number)
            ticket.tell(lambda: None)

    done = []
    inference.submit(Task(work, done.append))
    time.sleep(0.2)
    assert len(told) <= MAX_WAITING + 1
    main.run_until(lambda: done)
    assert len(told) == 50


def test_errors_are_told_and_the_next_task_runs(main, inference):
    errors, seen = [], []

    def fail(_):
        msg = "broken"
        raise RuntimeError(msg)

    inference.submit(Task(fail, seen.append, errors.append))
    inference.submit(Task(lambda _: 1, seen.append))
    main.run_until(lambda: seen)
    assert str(errors[0]) == "broken"


def test_closing_ends_the_thread_although_nobody_listens(main):
    inference = InferenceThread(main.posted.put)
    ended, seen = threading.Event(), []

    def work(ticket):
        while not ticket.is_cancelled():
            ticket.tell(seen.append, 1)

    inference.submit(Task(work, seen.append))
    inference.submit(Task(lambda _: 1, seen.append))
    time.sleep(0.05)
    inference.close(ended.set)
    inference.close(lambda: pytest.fail("closed twice"))
    assert ended.wait(10)
    assert inference.join(10)
    while not main.posted.empty():
        main.posted.get()()
    assert seen == []
    assert inference.submit(Task(lambda _: 1)).is_cancelled()


def test_a_thread_that_never_ran_closes_at_once(main):
    ended = []
    inference = InferenceThread(main.posted.put)
    inference.close(lambda: ended.append(1))
    assert ended == [1]


def test_tasks_in_the_calling_thread():
    inference, seen = SyncInference(), []

    def first(_):
        inference.submit(Task(lambda _: "second", seen.append))
        return "first"

    inference.submit(Task(first, seen.append))
    assert seen == ["first", "second"]

    def fail(_):
        msg = "broken"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="broken"):
        inference.submit(Task(fail, on_error=seen.append))
    assert str(seen[-1]) == "broken"
    inference.submit(Task(lambda _: "third", seen.append))
    assert seen[-1] == "third"
    inference.close(lambda: seen.append("end"))
    assert inference.submit(Task(lambda _: seen.append("no"))).is_cancelled()
    assert seen[-1] == "end"


@pytest.fixture
def source(make_stuck):
    """Frames of which number 1 does not come."""
    stuck = make_stuck(np.zeros((3, 4, 5), np.uint8), 1)
    return StackView(stuck, "TYX", read_timeout=None).frames((0,), "T")


def test_a_task_that_waits_for_a_frame_can_be_cancelled(main, inference, source):
    errors = []
    ticket = inference.submit(Task(lambda _: source.read(1), on_error=errors.append))
    ticket.cancel()
    main.run_until(lambda: errors)
    assert isinstance(errors[0], ReadCancelledError)


def test_a_background_task_that_waits_for_a_frame_gives_way(main, inference, source):
    begun, done, errors = [], [], []

    def warm_up(_):
        begun.append(len(done))
        return source.read(1 if len(begun) == 1 else 2).shape

    inference.submit(Task(warm_up, done.append, errors.append, is_background=True))
    main.run_until(lambda: begun)
    inference.submit(Task(lambda _: "asked for", done.append))
    main.run_until(lambda: len(done) == 2)
    assert done == ["asked for", (4, 5)]
    assert not errors
    assert len(begun) == 2


def test_a_background_task_that_has_a_follower_does_not_begin_again(
    main, inference, source
):
    begun, done = [], []

    def warm_up(ticket, frame):
        begun.append(frame)
        return source.read(frame).shape

    def task(frame):
        work = partial(warm_up, frame=frame)
        return Task(work, done.append, key="warm up", is_background=True)

    inference.submit(task(1))
    main.run_until(lambda: begun)
    inference.submit(task(0))
    inference.submit(Task(lambda _: "asked for", done.append))
    main.run_until(lambda: len(done) == 2)
    assert (begun, done) == ([1, 0], ["asked for", (4, 5)])
