"""Runs in a thread of napari's pool, with a progress bar in the activity dock."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker
from napari.utils import progress
from qtpy.QtCore import QObject
from superqt.utils import ensure_main_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_hqsam2.plugin.resolve import SegmentRequest
    from napari_hqsam2.plugin.runner import Engine, IsCancelled, Report, RunCallbacks
    from napari_hqsam2.plugin.state import PluginState, RunStatus
    from napari_hqsam2.segmentation.masks import FrameResult

MAX_WAITING = 4
"""Frame results that may wait for the viewer before the worker pauses."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception


class QtRunner:
    """Starts runs in another thread; callbacks come back in the starting one."""

    def __init__(self) -> None:
        self._jobs: set[QtJob] = set()

    def start(
        self, engine: Engine, request: SegmentRequest, callbacks: RunCallbacks
    ) -> QtJob:
        """Start a run and return at once."""
        job = QtJob(callbacks, self._jobs.discard)
        self._jobs.add(job)
        job.start(engine, request)
        return job


class QtJob(QObject):
    """One run in another thread. Frames reach the viewer in order, a few at a time."""

    def __init__(
        self, callbacks: RunCallbacks, on_end: Callable[[QtJob], None]
    ) -> None:
        super().__init__()
        self._on_end = on_end
        self._callbacks = callbacks
        self._cancelled = threading.Event()
        self._room = threading.Semaphore(MAX_WAITING)
        self._error: Exception | None = None

    def start(self, engine: Engine, request: SegmentRequest) -> None:
        """Hand the run to a worker thread."""
        worker = create_worker(
            _work,
            engine,
            request,
            self._on_reported,
            self._cancelled.is_set,
            self._room,
            _start_thread=False,
            _ignore_errors=True,
        )
        worker.yielded.connect(self._on_yielded)
        worker.aborted.connect(self.cancel)
        worker.finished.connect(self._on_finished)
        worker.start()

    def cancel(self) -> None:
        """Stop after the present frame."""
        self._cancelled.set()

    def _on_yielded(self, item: FrameResult | _Failure) -> None:
        if isinstance(item, _Failure):
            self._error = item.error
            return
        self._room.release()
        self._callbacks.on_frame(item)

    @ensure_main_thread
    def _on_reported(self, text: str) -> None:
        self._callbacks.on_report(text)

    def _on_finished(self) -> None:
        if self._error is not None:
            self._callbacks.on_error(self._error)
        else:
            self._callbacks.on_done(self._cancelled.is_set())
        self._on_end(self)


def _work(
    engine: Engine,
    request: SegmentRequest,
    report: Report,
    is_cancelled: IsCancelled,
    room: threading.Semaphore,
) -> Generator[FrameResult | _Failure, None, None]:
    try:
        with contextlib.closing(engine.run(request, report, is_cancelled)) as frames:
            for frame in frames:
                while not room.acquire(timeout=0.1):
                    if is_cancelled():
                        return
                yield frame
                if is_cancelled():
                    return
    except Exception as error:  # noqa: BLE001 - napari's worker swallows RuntimeError
        yield _Failure(error)


class ProgressBar:
    """Shows the state of a run in napari's activity dock.

    Parameters
    ----------
    state
        Its `run` is followed until `close`.
    """

    def __init__(self, state: PluginState) -> None:
        self._state = state
        self._bar: progress | None = None
        state.events.run.connect(self._on_run)

    def close(self) -> None:
        """Remove the bar and stop following."""
        self._state.events.run.disconnect(self._on_run)
        self._remove()

    def _on_run(self, run: RunStatus) -> None:
        if not run.is_busy:
            self._remove()
            return
        if self._bar is None:
            self._bar = progress(total=run.total, desc="HQ-SAM 2")
        self._bar.update(run.done - self._bar.n)

    def _remove(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
