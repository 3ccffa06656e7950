"""What the plugin does, without Qt and without napari."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from napari_hqsam2.errors import HqSam2Error, PromptError, StackError
from napari_hqsam2.plugin.choices import LayerKeeper
from napari_hqsam2.plugin.resolve import (
    RunSettings,
    SegmentRequest,
    check_labels,
    resolve_frame,
    resolve_stack,
)
from napari_hqsam2.plugin.runner import RunCallbacks
from napari_hqsam2.plugin.state import Message, RunStatus

if TYPE_CHECKING:
    from napari_hqsam2.plugin.runner import Engine, Job, Runner
    from napari_hqsam2.plugin.snapshots import Handle, ImageSnapshot, Shape
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort
    from napari_hqsam2.segmentation.masks import FrameResult

logger = logging.getLogger(__name__)
Scope = Literal["frame", "stack"]


@dataclass(slots=True, eq=False)
class Run:
    """One run: what was asked for, and what has become of it."""

    request: SegmentRequest
    image: Handle
    labels: Handle | None
    """None until the first frame makes the new layer."""
    scope: Scope
    done: int = 0
    seen: set[int] = field(default_factory=set)
    """Objects that had pixels on some frame."""
    stopped_by: str = ""
    """Why the run was stopped from outside, or empty."""
    can_write: bool = True


class PluginController:
    """Turns choices into runs, and the results of runs into labels.

    Parameters
    ----------
    state
        Choices; the controller reads them and writes `run` and `message`.
    viewer
        The viewer to work in.
    runner
        Carries out runs.
    engine
        Does the segmentation.
    """

    def __init__(
        self, state: PluginState, viewer: ViewerPort, runner: Runner, engine: Engine
    ) -> None:
        self.state = state
        self.viewer = viewer
        self._runner = runner
        self._engine = engine
        self._run: Run | None = None
        self._job: Job | None = None
        self.layers = LayerKeeper(state, viewer)
        viewer.events.layer_removed.connect(self._on_layer_removed)
        viewer.events.data_replaced.connect(self._on_data_replaced)

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self._run is not None

    def segment_frame(self) -> bool:
        """Segment the frame on show; False (and a message) if that cannot be done."""
        return self._start("frame")

    def segment_stack(self) -> bool:
        """Follow objects through the stack; False (and a message) if it cannot be."""
        return self._start("stack")

    def cancel(self) -> None:
        """Stop the run after the present frame; finished frames stay."""
        if self._job is not None and self._run is not None:
            self._set_run("cancelling")
            self._job.cancel()

    def suspend(self) -> None:
        """Cancel and free the model's memory, while nobody sees the widget."""
        self.cancel()
        self._engine.release()

    def close(self) -> None:
        """Cancel, stop listening and let go of the model."""
        self.cancel()
        self._run = None
        self.layers.close()
        self.viewer.events.layer_removed.disconnect(self._on_layer_removed)
        self.viewer.events.data_replaced.disconnect(self._on_data_replaced)
        self.viewer.close()
        self._engine.release()

    def prepare(self, scope: Scope) -> Run:
        """Check everything that a run needs.

        Raises
        ------
        PromptError, StackError
            Something is missing or does not fit; the message says what to do.
        """
        image = self.state.image
        if image is None:
            msg = (
                "There is no image layer yet. Open an image, or drop one on the viewer."
            )
            raise StackError(msg)
        snapshot = self.viewer.snapshot_image(image)
        request = self._resolve(scope, image, snapshot)
        labels = self.state.labels
        if labels is not None:
            check_labels(self.viewer.snapshot_labels(labels, image), snapshot)
        return Run(request, image, labels, scope)

    def launch(self, run: Run) -> Run:
        """Start a prepared run; without a thread, its errors are the caller's."""
        self._run = run
        self._set_run("starting")
        self._tell("Starting …")
        callbacks = RunCallbacks(
            on_frame=self._on_frame,
            on_report=self._on_report,
            on_done=self._on_done,
            on_error=self._on_error,
        )
        try:
            job = self._runner.start(self._engine, run.request, callbacks)
        except BaseException:
            self._finish()
            raise
        if self._run is run:
            self._job = job
        return run

    def _start(self, scope: Scope) -> bool:
        if self.is_busy:
            return False
        try:
            run = self.prepare(scope)
        except (PromptError, StackError) as error:
            self._refuse(str(error))
            return False
        self.launch(run)
        return True

    def _resolve(
        self, scope: Scope, image: Handle, snapshot: ImageSnapshot
    ) -> SegmentRequest:
        state, viewer = self.state, self.viewer
        points = None
        if state.points is not None:
            points = viewer.snapshot_points(state.points, image)
        shapes: tuple[Shape, ...] = ()
        if state.shapes is not None:
            shapes = viewer.snapshot_shapes(state.shapes, image)
        settings = RunSettings(
            model=state.model,
            device=state.device,
            hq_mode=state.hq_mode,
            channels=state.channels,
            axis=state.axis,
            direction=state.direction,
            frames=state.frames,
            default_object=state.object_id,
        )
        if scope == "stack":
            return resolve_stack(snapshot, points, shapes, settings)
        position = viewer.current_position(image)
        if position is None:
            msg = (
                "No single frame is on show. Switch to 2D display with the last two "
                "axes of the image on the canvas, or segment through the stack."
            )
            raise StackError(msg)
        return resolve_frame(snapshot, points, shapes, settings, position)

    def _on_frame(self, result: FrameResult) -> None:
        run = self._run
        if run is None or not run.can_write:
            return
        try:
            if run.labels is None:
                run.labels = self.viewer.add_labels(run.image)
                self.state.labels = run.labels
            notice = self.viewer.make_room(run.labels, max(run.request.obj_ids))
            self.viewer.paint(
                run.labels,
                result.position,
                result.masks,
                as_one_edit=run.scope == "frame",
            )
        except StackError as error:
            self._stop(run, str(error), can_write=False)
            return
        if notice:
            self.viewer.notify(notice)
        if not run.done:
            self._tell(f"Segmenting {run.request.words} …")
        run.done += 1
        run.seen.update(mask.obj_id for mask in result.masks if mask.mask.any())
        self._set_run("cancelling" if run.stopped_by else "running")

    def _on_report(self, text: str) -> None:
        if self._run is not None:
            self._tell(f"{text} …")

    def _on_done(self, was_cancelled: bool) -> None:
        run = self._finish()
        if run is None:
            return
        if run.labels is not None and run.can_write:
            self.viewer.finish(run.labels, _provenance(run.request))
        if was_cancelled or run.stopped_by:
            kept = f"{run.done} of {run.request.num_results} frames are kept."
            reason = run.stopped_by or "Cancelled."
            self._tell(f"{reason} {kept}", problem=bool(run.stopped_by))
            return
        lost = [str(obj) for obj in run.request.obj_ids if obj not in run.seen]
        if lost:
            self._tell(
                f"Object {', '.join(lost)} was not found on any frame. Add a box "
                "around it, or more points on it.",
                problem=True,
            )
            return
        self._tell(f"Done: {run.request.words}.", severity="done")

    def _on_error(self, error: Exception) -> None:
        run = self._finish()
        if isinstance(error, HqSam2Error):
            text = str(error)
        else:
            logger.error("The run failed", exc_info=error)
            text = f"The run failed with {type(error).__name__}: {error}"
        if run is not None and run.done:
            text = f"{text} ({run.done} finished frames are kept.)"
        self._refuse(text)

    def _on_layer_removed(self, layer: Handle) -> None:
        run = self._run
        if run is None or layer is None:
            return
        if layer is run.labels:
            self._stop(run, "The Labels layer was removed.", can_write=False)
        elif layer is run.image:
            self._stop(
                run, "The image layer was removed.", can_write=run.labels is not None
            )

    def _on_data_replaced(self, layer: Handle) -> None:
        if self._run is not None and layer is self._run.image:
            self._stop(self._run, "The data of the image was replaced.")

    def _stop(self, run: Run, reason: str, *, can_write: bool = True) -> None:
        run.stopped_by = run.stopped_by or reason
        run.can_write = run.can_write and can_write
        self.cancel()

    def _finish(self) -> Run | None:
        run, self._run, self._job = self._run, None, None
        self.state.run = RunStatus()
        return run

    def _set_run(self, phase: Any) -> None:
        run = self._run
        if run is not None:
            self.state.run = RunStatus(phase, run.done, run.request.num_results)

    def _refuse(self, text: str) -> None:
        self._tell(text, problem=True)
        self.viewer.notify(text, is_problem=True)

    def _tell(
        self,
        text: str,
        *,
        problem: bool = False,
        severity: Literal["hint", "done", "problem"] = "hint",
    ) -> None:
        self.state.message = Message(text, "problem" if problem else severity)
        self.viewer.show_status(text)


def _provenance(request: SegmentRequest) -> dict[str, str]:
    settings = request.settings
    return {
        "image": request.image,
        "model": settings.model,
        "version": version("napari-hqsam2"),
        "what": request.words,
        "direction": settings.direction,
        "hq_mode": settings.hq_mode,
        "channels": str(settings.channels),
        "contrast_limits": str(request.contrast_limits),
    }
