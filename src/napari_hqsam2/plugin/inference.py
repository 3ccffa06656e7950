"""One thread for the model: tasks go in, answers come back to the viewer's thread.

Nothing here waits for the inference thread, so that it may wait for the viewer's.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakMethod, ref

from napari_hqsam2.errors import ReadCancelledError
from napari_hqsam2.predictors.slow_reads import reads_cancelled_by

if TYPE_CHECKING:
    from collections.abc import Callable

    Post: TypeAlias = Callable[[Callable[[], None]], None]
    """Lets the viewer's thread call something, and returns at once."""

MAX_WAITING = 4
"""Answers that may wait for the viewer before the inference thread pauses."""
POLL = 0.1
"""Seconds after which a pause looks whether all is over."""


def _ignore(_: Any) -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Something for the inference thread to do."""

    work: Callable[[Ticket], Any]
    """Called in that thread."""
    on_done: Callable[[Any], None] = _ignore
    """Called in the viewer's thread with what `work` returned."""
    on_error: Callable[[Exception], None] = _ignore
    """Called in the viewer's thread with what `work` raised."""
    key: str = ""
    """A waiting task with the same key is replaced; empty replaces none."""
    is_background: bool = False
    """Whether all other tasks come first."""


class Ticket:
    """A task that was handed in."""

    def __init__(self, task: Task, tell: Callable[..., None]) -> None:
        self.task = task
        self._tell = tell
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the task to stop soon; what is done stays."""
        self._cancelled.set()

    def is_cancelled(self) -> bool:
        """Whether the task is to stop."""
        return self._cancelled.is_set()

    def tell(self, callback: Callable[..., None], *args: Any) -> None:
        """Let the viewer's thread call something, after what it was told before."""
        self._tell(callback, *args)


class Inference(Protocol):
    """Carries out tasks one after the other."""

    def submit(self, task: Task) -> Ticket:
        """Hand in a task."""
        ...

    def tell(self, callback: Callable[..., None], *args: Any) -> None:
        """Let the viewer's thread call something; for tasks."""
        ...

    def close(self, last: Callable[[], None]) -> None:
        """Stop, drop what waits, and call `last` when nothing runs any more."""
        ...


class InferenceThread:
    """Tasks in a daemon thread of their own, which the first task starts.

    Parameters
    ----------
    post
        The way to the viewer's thread; must keep the order.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._current: Ticket | None = None
        self._room = threading.Semaphore(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._last: Callable[[], None] | None = None

    def submit(self, task: Task) -> Ticket:
        """Hand in a task; after `close` it is dropped."""
        ticket = Ticket(task, self.tell)
        with self._changed:
            if self._last is not None:
                ticket.cancel()
                return ticket
            if task.key:
                others = (t for t in self._waiting if t.task.key != task.key)
                self._waiting = deque(others)
            self._waiting.append(ticket)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop, name="hqsam2-inference", daemon=True
                )
                self._thread.start()
        return ticket

    def tell(self, callback: Callable[..., None], *args: Any) -> None:
        """Let the viewer's thread call something; pauses while much waits there."""
        while not self._room.acquire(timeout=POLL):
            if self._last is not None:
                return
        self._post(partial(self._call, callback, args))

    def close(self, last: Callable[[], None]) -> None:
        """Stop; nothing comes back to the viewer's thread any more."""
        with self._changed:
            if self._last is not None:
                return
            self._last = last
            self._waiting.clear()
            if self._current is not None:
                self._current.cancel()
            self._changed.notify()
        if self._thread is None:
            last()

    def join(self, timeout: float) -> bool:
        """Wait for the end after `close`, outside of viewers; tell whether it came."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _call(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._room.release()
        if self._last is None:
            callback(*args)

    def _loop(self) -> None:
        while (ticket := self._next()) is not None:
            self._carry_out(ticket)
        if self._last is not None:
            self._last()

    def _next(self) -> Ticket | None:
        with self._changed:
            self._current = None
            while not self._waiting and self._last is None:
                self._changed.wait()
            if self._last is not None:
                return None
            first = next(
                (t for t in self._waiting if not t.task.is_background),
                self._waiting[0],
            )
            self._waiting.remove(first)
            self._current = first
            return first

    def _carry_out(self, ticket: Ticket) -> None:
        task = ticket.task
        try:
            with reads_cancelled_by(_asks(WeakMethod(self._gives_way), ref(ticket))):
                result = task.work(ticket)
        except ReadCancelledError as error:
            if ticket.is_cancelled():
                self.tell(task.on_error, error)
            else:
                self._put_back(ticket)
        except Exception as error:  # noqa: BLE001 - told in the viewer's thread
            self.tell(task.on_error, error)
        else:
            self.tell(task.on_done, result)

    def _gives_way(self, ticket: Ticket) -> bool:
        """Whether a task is not to wait for a frame that does not come."""
        if ticket.is_cancelled():
            return True
        with self._changed:
            others = (t for t in self._waiting if not t.task.is_background)
            return ticket.task.is_background and next(others, None) is not None

    def _put_back(self, ticket: Ticket) -> None:
        """Let a task that gave way begin again later, unless it has a follower."""
        with self._changed:
            keys = {t.task.key for t in self._waiting if t.task.key}
            if self._last is None and ticket.task.key not in keys:
                self._waiting.appendleft(ticket)


def _asks(
    gives_way: WeakMethod[Callable[[Ticket], bool]], ticket: ref[Ticket]
) -> Callable[[], bool]:
    """Ask whether a task gives way, and keep nothing of it alive.

    Threads that other packages start during a task (Zarr does) hold on to its context.
    """

    def ask() -> bool:
        method, current = gives_way(), ticket()
        return method is None or current is None or method(current)

    return ask


class SyncInference:
    """Tasks in the calling thread, for scripts and tests; errors are the caller's."""

    def __init__(self) -> None:
        self._waiting: deque[Ticket] = deque()
        self._is_working = False
        self._is_closed = False

    def submit(self, task: Task) -> Ticket:
        """Carry out a task, and those that it hands in, before returning."""
        ticket = Ticket(task, self.tell)
        if self._is_closed:
            ticket.cancel()
            return ticket
        self._waiting.append(ticket)
        if not self._is_working:
            self._work()
        return ticket

    def tell(self, callback: Callable[..., None], *args: Any) -> None:
        """Call at once."""
        callback(*args)

    def close(self, last: Callable[[], None]) -> None:
        """Take no more tasks."""
        self._is_closed = True
        self._waiting.clear()
        last()

    def _work(self) -> None:
        self._is_working = True
        try:
            while self._waiting:
                ticket = self._waiting.popleft()
                try:
                    result = ticket.task.work(ticket)
                except Exception as error:
                    ticket.task.on_error(error)
                    raise
                ticket.task.on_done(result)
        finally:
            self._is_working = False
            self._waiting.clear()
