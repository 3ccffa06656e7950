"""A job under way: one stack, from its model to the files that are written."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_hqsam2.api import load_model, paint, predictor_for, segment_image
from napari_hqsam2.automatic import propose_objects, to_prompts
from napari_hqsam2.batch.bars import counting_bar, download_bar
from napari_hqsam2.batch.partial import Partial
from napari_hqsam2.batch.signature import SIGNATURE_KEY, sign
from napari_hqsam2.errors import HqSam2Error, PromptError, StackError
from napari_hqsam2.export import write_labels
from napari_hqsam2.outlines import write_outlines
from napari_hqsam2.predictors.precision import compute_dtype
from napari_hqsam2.prompts import FramePrompts
from napari_hqsam2.segmentation.masks import check_label_dtype, new_labels
from napari_hqsam2.segmentation.options import StackSettings
from napari_hqsam2.segmentation.overview import overview_tiles
from napari_hqsam2.segmentation.prompt_groups import check_prompts
from napari_hqsam2.segmentation.run_states import RunState
from napari_hqsam2.segmentation.stack_plan import StackPlan, plan_stack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.batch.job import SegmentJob
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.stack_files import StackFile

logger = logging.getLogger(__name__)

KEPT_ON = (HqSam2Error, OSError, RuntimeError, MemoryError)
"""What may fail on one frame, of a file or of a device, with others finished."""


@dataclass(slots=True)
class JobSummary:
    """What a job did."""

    written: list[Path] = field(default_factory=list)
    frames_done: int = 0
    """Frames that are finished, those of earlier processes included."""
    resumed_at: int = 0
    """How many of them were finished before."""
    skipped: str = ""
    """Why there was nothing to do; else empty."""
    is_elsewhere: bool = False
    """Whether that is because another process is at it."""
    interrupted: bool = False
    """Whether Ctrl-C ended the work early."""
    problem: str = ""
    """Why the work ended early, if something failed; else empty."""

    @property
    def is_complete(self) -> bool:
        """Whether all frames are finished."""
        return not (self.interrupted or self.problem)


class Models:
    """The model of the job before, for the next one that wants the same."""

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] = ()
        self._model: SAM2VideoPredictor | None = None

    def get(self, job: SegmentJob, console: Console) -> SAM2VideoPredictor:
        """Load the model of a job, unless it is here."""
        names = ("model", "checkpoint", "device", "tracking", "resolution", "compile")
        asked = tuple(getattr(job, name) for name in names)
        if self._model is None or asked != self._asked:
            self._model = None
            with download_bar(console) as progress:
                try:
                    self._model = load_model(
                        job.model,
                        checkpoint=job.checkpoint,
                        device=job.device,
                        progress=progress,
                        tracking=job.tracking,
                        resolution=job.resolution,
                        compile=job.compile,
                    )
                except (ValueError, RuntimeError) as error:
                    msg = f"The model cannot be loaded: {error}"
                    raise HqSam2Error(msg) from error
            self._asked = asked
        return self._model


class Work:
    """A job under way.

    Parameters
    ----------
    job
        Files and settings.
    stack
        What is segmented.
    prompts
        None of them where the model finds the objects itself.
    signature
        Of all that the result depends on.
    """

    def __init__(
        self,
        job: SegmentJob,
        stack: StackFile,
        prompts: Sequence[FramePrompts],
        signature: str,
    ) -> None:
        self.job = job
        self.stack = stack
        self.prompts = prompts
        self.signature = signature
        self.summary = JobSummary()
        self.settings = StackSettings(
            contrast_limits=job.contrast_limits,
            gamma=job.gamma,
            channels=job.channels,
            read_timeout=job.read_timeout,
            one_piece=job.one_piece,
            resolution=job.resolution,
            crop=job.crop,
        )
        view = self.settings.view if stack.axes.leading else self.settings.image_view
        self.view = view(stack.array, stack.axes.letters)
        _check_run(job, stack)
        if not job.everything:
            self._check_prompts()
        self.labels: LabelArray = new_labels(stack.axes)
        self.limits: IntensityLimits = self.view.limits()

    def fill(self, console: Console, models: Models) -> None:
        """Segment into `labels`; what ends it early leaves the finished frames."""
        predictor = models.get(self.job, console)
        self.partial = self._partial(predictor)
        self.partial.read(self.labels)
        self.summary.frames_done = self.summary.resumed_at = self.partial.done
        try:
            if self.job.everything:
                self.prompts = self._found(predictor, console)
                self._check_prompts()
            if self.stack.axes.leading:
                self._fill_stack(predictor, console)
            else:
                self._fill_image(predictor)
        except KeyboardInterrupt:
            self.summary.interrupted = True
        except KEPT_ON as error:
            if not self.summary.frames_done:
                raise
            logger.info("The work ended early", exc_info=error)
            self.summary.problem = told(error)
        if not self.summary.is_complete:
            self.partial.save(self.labels)

    def _partial(self, predictor: SAM2VideoPredictor) -> Partial:
        device = predictor.device
        way = (torch.__version__, device.type, compute_dtype(device))
        signature = sign({"of": self.signature, "way": way})
        return Partial(self.job.partial_folder, signature)

    def _check_prompts(self) -> None:
        if self.stack.axes.leading:
            self._plan()
        else:
            check_prompts(self.prompts, self.stack.axes)

    def _plan(self) -> StackPlan:
        job = self.job
        return plan_stack(
            self.view,
            self.prompts,
            axis=job.axis,
            frames=job.frames,
            direction=job.direction,
        )

    def _found(
        self, predictor: SAM2VideoPredictor, console: Console
    ) -> list[FramePrompts]:
        """Objects that nobody has pointed at, as prompts."""
        job, axes = self.job, self.stack.axes
        position = (0,) * len(axes.leading) if job.at is None else job.at
        if not self.partial.found:
            prompts = self._proposed(predictor, console, position)
            masks = {p.obj_id: p.mask for p in prompts if p.mask is not None}
            self.partial.keep_found(masks)
        return [
            FramePrompts(position, obj_id, mask=mask)
            for obj_id, mask in self.partial.found.items()
        ]

    def _proposed(
        self,
        predictor: SAM2VideoPredictor,
        console: Console,
        position: tuple[int, ...],
    ) -> list[FramePrompts]:
        job, axes = self.job, self.stack.axes
        with counting_bar(console, "Looking for objects", "points") as progress:
            found = propose_objects(
                self.stack.array,
                axes=axes.letters,
                position=position,
                progress=progress,
                model=predictor,
                contrast_limits=self.limits,
                channels=job.channels,
                hq_mode=job.hq_mode,
                read_timeout=job.read_timeout,
            )
        if not found:
            msg = (
                f"The model found no object on frame {position} of {job.stack.name}. "
                "Choose another frame with --at, or give prompts."
            )
            raise PromptError(msg)
        return to_prompts(found, axes.hw, position)

    def _fill_image(self, predictor: SAM2VideoPredictor) -> None:
        self.labels[:] = segment_image(
            self.stack.array,
            self.prompts,
            model=predictor,
            axes=self.stack.axes.letters,
            channels=self.job.channels,
            contrast_limits=self.limits,
            hq_mode=self.job.hq_mode,
            one_piece=self.job.one_piece,
            crop=self.job.crop,
            read_timeout=self.job.read_timeout,
        )
        self.summary.frames_done = 1

    def _fill_stack(self, predictor: SAM2VideoPredictor, console: Console) -> None:
        model = predictor_for(replace(self.settings, model=predictor))
        plan, summary = self._plan(), self.summary
        check_label_dtype(self.labels.dtype, plan.obj_ids)
        state = self.partial.run
        steps = plan.results(
            model,
            self.limits,
            self.job.hq_mode,
            _never,
            self.settings.window_rule(plan.view.axes.hw, model),
            None if state is None else RunState.from_plain(state, model.device),
        )
        with counting_bar(console, "Segmenting", "frames") as show:
            total = plan.num_steps(model)
            show(summary.frames_done, total)
            for step in steps:
                position = step.result.position
                paint(self.labels[position], step.result.masks)
                self.partial.note(position, step.state(), self.labels)
                summary.frames_done += 1
                show(summary.frames_done, total)

    def write(self) -> None:
        """Write the labels, and the picture if one is wanted."""
        job, stack = self.job, self.stack
        provenance = job.provenance | {
            "contrast_limits": str(self.limits),
            "objects": str(len({prompt.obj_id for prompt in self.prompts})),
            "prompts": str(len(self.prompts)),
            "complete": str(self.summary.is_complete),
            SIGNATURE_KEY: self.signature,
        }
        written = write_labels(
            job.output,
            self.labels,
            stack.axes.labels_letters,
            pixel_sizes=stack.pixel_sizes,
            provenance=provenance,
        )
        self.summary.written.append(written)
        if job.picture is not None:
            labels = self.labels.reshape(self.view.axes.labels_shape)
            tiles = overview_tiles(self.view, labels, self.limits)
            write_outlines(job.picture, tiles)
            self.summary.written.append(job.picture)
        if self.summary.is_complete:
            self.partial.remove()


def told(error: BaseException) -> str:
    """Words for what went wrong, with the type of what does not explain itself."""
    kind = "" if isinstance(error, HqSam2Error) else f"{type(error).__name__}: "
    return f"{kind}{error}"


def _never() -> bool:
    return False


def _check_run(job: SegmentJob, stack: StackFile) -> None:
    """Refuse what is said of a run if there is nothing to run through."""
    if not stack.axes.leading and (job.axis is not None or job.frames is not None):
        msg = (
            f"{job.stack.name} is one image ({stack.axes.described}): there is no axis "
            "to follow objects along, and no range of frames. Leave them out, or say "
            "which axes it has, such as TYX."
        )
        raise StackError(msg)
