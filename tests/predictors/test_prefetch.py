"""Work ahead: in order, one at a time, errors in their place, no thread left."""

from __future__ import annotations

import threading
import time

import pytest

from napari_hqsam2.predictors.prefetch import Prefetcher, one_thread


def always(item: int) -> bool:
    del item
    return True


def prefetch_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_results_come_in_order_from_one_other_thread(depth: int) -> None:
    seen: list[tuple[int, int]] = []

    def work(item: int) -> int:
        seen.append((item, threading.get_ident()))
        return item * 10

    items = [7, 3, 9, 1, 5]
    with Prefetcher(work, items, depth, always) as ahead:
        got = [ahead.arrive(position) for position in range(len(items))]
    assert got == [None, 30, 90, 10, 50]
    assert [item for item, _ in seen] == items[1:]
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] != threading.get_ident()
    assert prefetch_threads() == []


def test_no_more_than_the_depth_is_done_ahead() -> None:
    done: list[int] = []
    with Prefetcher(done.append, range(100), 3, always) as ahead:
        ahead.arrive(0)
        wait_until(lambda: len(done) == 3)
        time.sleep(0.02)
        assert done == [1, 2, 3]
        ahead.arrive(1)
        wait_until(lambda: done == [1, 2, 3, 4])


def test_depth_0_starts_no_thread() -> None:
    with Prefetcher(str, range(9), 0, always) as ahead:
        assert [ahead.arrive(position) for position in range(9)] == [None] * 9
        assert prefetch_threads() == []


def test_an_error_is_raised_where_its_item_is_due() -> None:
    def work(item: int) -> int:
        if item == 2:
            msg = "no such frame"
            raise OSError(msg)
        return item

    with Prefetcher(work, range(5), 4, always) as ahead:
        ahead.arrive(0)
        assert ahead.arrive(1) == 1
        with pytest.raises(OSError, match="no such frame"):
            ahead.arrive(2)
        assert ahead.arrive(3) == 3


def test_what_is_not_wanted_is_neither_done_nor_waited_for() -> None:
    wanted = {1, 2, 4}
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        if item == 2:
            raise OSError
        return item

    with Prefetcher(work, range(5), 2, wanted.__contains__) as ahead:
        ahead.arrive(0)
        assert ahead.arrive(1) == 1
        wanted.discard(2)
        assert [ahead.arrive(position) for position in (2, 3, 4)] == [None, None, 4]
    assert done == [1, 2, 4]


def test_positions_may_be_left_out() -> None:
    with Prefetcher(str, range(10), 3, always) as ahead:
        ahead.arrive(0)
        assert ahead.arrive(3) == "3"
        assert ahead.arrive(5) == "5"


def test_the_end_waits_for_work_in_progress_and_drops_the_rest() -> None:
    started, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        started.set()
        go_on.wait(10)
        done.append(item)

    def interrupted() -> None:
        with Prefetcher(work, range(9), 5, always) as ahead:
            ahead.arrive(0)
            started.wait(10)
            threading.Timer(0.05, go_on.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [1]
    assert prefetch_threads() == []


def test_a_thread_that_is_lent_is_used_again() -> None:
    seen: set[int] = set()

    def work(item: int) -> int:
        seen.add(threading.get_ident())
        return item

    with one_thread("lent") as thread:
        for _ in range(2):
            with Prefetcher(work, range(3), 2, always, thread) as ahead:
                assert [ahead.arrive(position) for position in range(3)] == [None, 1, 2]
        assert len(seen) == 1


def test_a_lent_thread_is_idle_when_the_work_is_over() -> None:
    begun, may_end = threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        begun.set()
        assert may_end.wait(10)
        done.append(item)

    with one_thread("lent") as thread:
        with Prefetcher(work, range(9), 5, always, thread) as ahead:
            ahead.arrive(0)
            assert begun.wait(10)
            threading.Timer(0.05, may_end.set).start()
        assert done == [1]
        assert thread.submit(lambda: list(done)).result() == [1]
