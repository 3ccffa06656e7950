"""Work on the next items of a sequence, done by a thread while this one is used."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from napari_hqsam2.predictors.slow_reads import reads_cancelled_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")


def one_thread(name: str) -> ThreadPoolExecutor:
    """A thread that starts with its first piece of work."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)


class Prefetcher(Generic[T]):
    """Results for the items of a sequence, begun before they are asked for.

    A context manager: at its end nothing is worked on any more, once the item that the
    thread is at is done; a frame that does not come is given up.

    Parameters
    ----------
    work : callable
        Makes the result for an item; is called in one thread, one item at a time.
    items : sequence of int
        In the order in which they will be asked for.
    depth : int
        Most items that are worked on ahead; 0 does nothing ahead.
    is_wanted : callable
        Whether an item needs a result; asked before work begins and before it is
        waited for.
    thread : ThreadPoolExecutor, optional
        Of one worker, which lives on; else a thread of its own, which ends.
    """

    def __init__(
        self,
        work: Callable[[int], T],
        items: Sequence[int],
        depth: int,
        is_wanted: Callable[[int], bool],
        thread: ThreadPoolExecutor | None = None,
    ) -> None:
        self._work = work
        self._items = items
        self._depth = depth
        self._is_wanted = is_wanted
        self._futures: dict[int, Future[T]] = {}
        self._next = 0
        self._is_over = threading.Event()
        self._owns_thread = thread is None
        self._thread = thread or one_thread("prefetch")
        self._last: Future[T] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for future in self._futures.values():
            future.cancel()
        if self._owns_thread:
            self._thread.shutdown(wait=True, cancel_futures=True)
        elif self._last is not None:
            # items are done in order, so that none is left once the last one is done
            wait([self._last])
        self._futures.clear()

    def arrive(self, position: int) -> T | None:
        """Result for the item at a position; positions only grow.

        Returns
        -------
        object or None
            None if the item was not worked on, or is not wanted any more. An error of
            the work is raised here.
        """
        future = self._futures.pop(position, None)
        for passed in [p for p in self._futures if p < position]:
            del self._futures[passed]
        self._begin_after(position)
        if future is None or not self._is_wanted(self._items[position]):
            return None
        return future.result()

    def _do(self, item: int) -> T:
        with reads_cancelled_by(self._is_over.is_set):
            return self._work(item)

    def _begin_after(self, position: int) -> None:
        last = min(position + self._depth, len(self._items) - 1)
        for ahead in range(max(self._next, position + 1), last + 1):
            if self._is_wanted(self._items[ahead]):
                self._last = self._futures[ahead] = self._thread.submit(
                    copy_context().run, self._do, self._items[ahead]
                )
        self._next = max(self._next, last + 1)
