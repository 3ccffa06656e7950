"""Frames that come late or never: reads that can time out and be cancelled.

A read that blocks cannot be stopped. It is left to a daemon thread, which ends when the
source answers after all, and never keeps a process from ending.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from napari_hqsam2.errors import FrameTimeoutError, ReadCancelledError
from napari_hqsam2.predictors.frame_source import read_part, read_seen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_hqsam2._types import HW, AnyArray
    from napari_hqsam2.predictors.frame_source import FrameSource

T = TypeVar("T")

DEFAULT_TIMEOUT = 120.0
"""Seconds to wait for one frame."""
POLL = 0.05
"""Seconds after which a wait looks whether the work was cancelled."""
MAX_IDLE = 4
"""Threads that are kept for the next reads."""


def _never() -> bool:
    return False


_is_cancelled: ContextVar[Callable[[], bool]] = ContextVar(
    "is_cancelled", default=_never
)


@contextmanager
def reads_cancelled_by(is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """Let reads of this thread that block in the block be given up.

    Parameters
    ----------
    is_cancelled
        Asked while a frame is waited for; True raises ReadCancelledError there. What
        was said around the block counts too.
    """
    outer = _is_cancelled.get()
    token = _is_cancelled.set(lambda: is_cancelled() or outer())
    try:
        yield
    finally:
        _is_cancelled.reset(token)


def until_cancelled(
    items: Generator[T, None, None], is_cancelled: Callable[[], bool]
) -> Iterator[T]:
    """Items of work that reads frames, which ends where `is_cancelled` ends a read."""
    try:
        while True:
            try:
                with reads_cancelled_by(is_cancelled):
                    item = next(items)
            except StopIteration:
                return
            except ReadCancelledError:
                if is_cancelled():
                    return
                raise
            yield item
    finally:
        items.close()


class PatientSource:
    """A source whose frames are waited for, but not for ever; a `FrameSource`.

    Parameters
    ----------
    source
        Where frames come from; it may block.
    timeout
        Seconds to wait for one frame; None waits until it comes.
    where
        Names a frame by its index, for messages: "T=3".
    kind
        What the source is, for messages.
    """

    def __init__(
        self,
        source: FrameSource,
        timeout: float | None,
        where: Callable[[int], str],
        kind: str,
    ) -> None:
        self._source = source
        self._timeout = timeout
        self._where = where
        self._kind = kind

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._source)

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self._source.hw

    def read(self, index: int) -> AnyArray:
        """Read frame `index`.

        Raises
        ------
        FrameTimeoutError
            It did not come in time.
        ReadCancelledError
            The work was cancelled before it came.
        StackError
            As of the source.
        """
        return self._wait_for(index, lambda: self._source.read(index))

    def read_part(self, index: int, window: tuple[slice, slice]) -> AnyArray:
        """Read a window of frame `index`; otherwise as `read`."""
        return self._wait_for(index, lambda: read_part(self._source, index, window))

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        """Read what is shown of frame `index`; otherwise as `read`."""
        source = self._source
        return self._wait_for(index, lambda: read_seen(source, index, window, side))

    def _wait_for(self, index: int, work: Callable[[], AnyArray]) -> AnyArray:
        future, is_cancelled = _begin(work), _is_cancelled.get()
        began = time.monotonic()
        while not wait((future,), timeout=POLL).done:
            if is_cancelled():
                msg = f"Cancelled while frame {self._where(index)} was waited for."
                raise ReadCancelledError(msg)
            if self._timeout is not None and time.monotonic() > began + self._timeout:
                msg = (
                    f"Frame {self._where(index)} did not come within "
                    f"{self._timeout:g} s. Its source ({self._kind}) may wait for a "
                    "disk, a network or a lock: see that it answers, leave the frame "
                    "out of the range, or wait longer (read_timeout=, or "
                    "--read-timeout on the command line)."
                )
                raise FrameTimeoutError(msg)
        return future.result()


def check_timeout(timeout: float | None) -> None:
    """Refuse what is no time to wait for a frame.

    Raises
    ------
    ValueError
        It is neither None nor a number above 0.
    """
    if timeout is not None and not timeout > 0:
        msg = (
            f"read_timeout={timeout!r} must be seconds above 0, or None to wait until "
            "a frame comes."
        )
        raise ValueError(msg)


class _Reader(threading.Thread):
    """Does one read after the other, in a daemon thread."""

    def __init__(self) -> None:
        super().__init__(name="hqsam2-read", daemon=True)
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    def begin(self, future: Future[Any], work: Callable[[], Any]) -> None:
        """Let the thread do some work."""
        self._calls.put((future, work))

    def run(self) -> None:
        """Work until there are enough other threads that have nothing to do."""
        is_needed = True
        while is_needed:
            future, work = self._calls.get()
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - raised where it is awaited
                error = raised
            with _idle_lock:
                is_needed = len(_idle) < MAX_IDLE
                if is_needed:
                    _idle.append(self)
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            del future, work, result, error


_idle: list[_Reader] = []
_idle_lock = threading.Lock()


def _begin(work: Callable[[], T]) -> Future[T]:
    """Let a thread that is free do some work."""
    future: Future[T] = Future()
    with _idle_lock:
        reader = _idle.pop() if _idle else None
    if reader is None or not reader.is_alive():  # as after a fork
        reader = _Reader()
        reader.start()
    context = copy_context()
    reader.begin(future, lambda: context.run(work))
    return future
