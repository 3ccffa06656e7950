"""How a run is carried out: in this thread, or elsewhere by another runner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_hqsam2.plugin.resolve import SegmentRequest
    from napari_hqsam2.segmentation.masks import FrameResult

    Report = Callable[[str], None]
    IsCancelled = Callable[[], bool]


class Engine(Protocol):
    """Does the segmentation; the only part that knows the model."""

    def run(
        self, request: SegmentRequest, report: Report, is_cancelled: IsCancelled
    ) -> Generator[FrameResult, None, None]:
        """Segment frame by frame; `report` takes words for what takes long."""
        ...

    def release(self) -> None:
        """Let go of the model; the next run loads it again."""
        ...


@dataclass(frozen=True, slots=True)
class RunCallbacks:
    """What happens while and after a run; always called in the viewer's thread."""

    on_frame: Callable[[FrameResult], None]
    on_report: Callable[[str], None]
    on_done: Callable[[bool], None]
    """Told whether the run was cancelled."""
    on_error: Callable[[Exception], None]


class Job(Protocol):
    """A run under way."""

    def cancel(self) -> None:
        """Stop after the present frame; what is done stays."""
        ...


class Runner(Protocol):
    """Starts runs."""

    def start(
        self, engine: Engine, request: SegmentRequest, callbacks: RunCallbacks
    ) -> Job:
        """Start a run and return at once if the runner has another thread."""
        ...


class SyncRunner:
    """Runs in the calling thread, for scripts and tests; errors are the caller's."""

    def __init__(self) -> None:
        self._is_cancelled = False

    def start(
        self, engine: Engine, request: SegmentRequest, callbacks: RunCallbacks
    ) -> Job:
        """Carry out the whole run before returning."""
        self._is_cancelled = False
        frames = engine.run(request, callbacks.on_report, lambda: self._is_cancelled)
        try:
            for frame in frames:
                callbacks.on_frame(frame)
                if self._is_cancelled:
                    break
        finally:
            frames.close()
        callbacks.on_done(self._is_cancelled)
        return self

    def cancel(self) -> None:
        """Stop before the next frame."""
        self._is_cancelled = True
