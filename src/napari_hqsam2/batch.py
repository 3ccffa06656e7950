"""Files in, files out: a stack segmented from prompt tables, with progress bars."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

import napari_hqsam2
from napari_hqsam2.api import load_model, segment_image, segment_stack
from napari_hqsam2.automatic import propose_objects, to_prompts
from napari_hqsam2.errors import HqSam2Error, PromptError, StackError
from napari_hqsam2.export import check_tiff_name, write_labels
from napari_hqsam2.outlines import write_outlines
from napari_hqsam2.prompt_tables import read_prompts
from napari_hqsam2.segmentation.options import ImageSettings
from napari_hqsam2.segmentation.overview import overview_tiles
from napari_hqsam2.segmentation.prompt_groups import check_prompts
from napari_hqsam2.segmentation.stack_plan import plan_stack
from napari_hqsam2.stack_files import open_stack
from napari_hqsam2.weights import download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from napari_hqsam2._types import CropMode, Direction, LabelArray
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.tracking_config import TrackingMode
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.stack_files import StackFile

logger = logging.getLogger(__name__)

KEPT_ON = (HqSam2Error, OSError, RuntimeError, MemoryError)
"""What may fail on one frame, of a file or of a device, with others finished."""


@dataclass(slots=True)
class JobSummary:
    """What a job did."""

    written: list[Path] = field(default_factory=list)
    frames_done: int = 0
    interrupted: bool = False
    """Whether Ctrl-C ended the work early."""
    problem: str = ""
    """Why the work ended early, if something failed; else empty."""

    @property
    def is_complete(self) -> bool:
        """Whether all frames are finished."""
        return not (self.interrupted or self.problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """Files and settings of one segmentation; settings as in `api.StackOptions`."""

    stack: Path
    output: Path
    points: Path | None
    boxes: Path | None
    everything: bool
    """Take what the model finds on one frame instead of prompts."""
    at: tuple[int, ...] | None
    """Index of that frame along every leading axis; None is the first one."""
    axes: str | None
    axis: str | None
    model: str
    checkpoint: Path | None
    device: str
    direction: Direction
    frames: tuple[int, int] | None
    contrast_limits: tuple[tuple[float, float], ...] | None
    gamma: float
    channels: Sequence[int] | None
    hq_mode: HqMode
    one_piece: bool
    tracking: TrackingMode
    resolution: int | None
    crop: CropMode
    compile: bool
    read_timeout: float | None
    picture: Path | None
    """Where to draw frames with outlines, if anywhere."""

    def run(self, console: Console) -> JobSummary:
        """Do the job, with progress bars on `console`.

        Ctrl-C, or a frame that fails, ends it after the last finished frame; what is
        finished is written, and the summary says why there is no more.

        Raises
        ------
        HqSam2Error
            An input cannot be used, or the first frame failed; nothing is written.
        """
        check_tiff_name(self.output)
        if self.everything and (self.points or self.boxes):
            msg = "Give prompts (--points, --boxes), or --everything; not both."
            raise PromptError(msg)
        for path in (self.output, self.picture):
            if path is not None and not path.parent.is_dir():
                msg = f"There is no folder {path.parent} to write {path.name} into."
                raise StackError(msg)
            if path is not None:
                self._check_is_no_input(path)
        with open_stack(self.stack, self.axes) as stack:
            prompts: Sequence[FramePrompts] = ()
            if not self.everything:
                prompts = read_prompts(stack.axes, points=self.points, boxes=self.boxes)
            work = _Work(self, stack, prompts, console)
            work.fill()
            if work.summary.frames_done:
                work.write()
        return work.summary

    def _check_is_no_input(self, path: Path) -> None:
        """Refuse to write over what is read."""
        target = path.resolve()
        for given in (self.stack, self.points, self.boxes, self.checkpoint):
            if given is not None and target.is_relative_to(given.resolve()):
                what = "is" if target == given.resolve() else "lies in"
                msg = (
                    f"{path} {what} an input of this work, {given.name}, which would "
                    "be changed. Write to another place."
                )
                raise StackError(msg)

    @property
    def provenance(self) -> dict[str, str]:
        """Settings as text, for the metadata of the labels."""
        values = {
            "software": f"napari-hqsam2 {napari_hqsam2.__version__}",
            "stack": self.stack.name,
            "everything": self.everything or None,
            "at": self.at,
            "model": self.model,
            "checkpoint": self.checkpoint and self.checkpoint.name,
            "direction": self.direction,
            "frames": self.frames,
            "channels": self.channels,
            "hq_mode": self.hq_mode,
            "one_piece": self.one_piece or None,
            "tracking": self.tracking,
            "resolution": self.resolution,
            "crop": self.crop,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


class _Work:
    """A job under way."""

    def __init__(
        self,
        job: SegmentJob,
        stack: StackFile,
        prompts: Sequence[FramePrompts],
        console: Console,
    ) -> None:
        self.job = job
        self.stack = stack
        self.prompts = prompts
        self.console = console
        self.summary = JobSummary()
        shown = ImageSettings(
            contrast_limits=job.contrast_limits,
            gamma=job.gamma,
            channels=job.channels,
            read_timeout=job.read_timeout,
        )
        view = shown.view if stack.axes.leading else shown.image_view
        self.view = view(stack.array, stack.axes.letters)
        if not job.everything:
            self._check_prompts()
        self.limits: IntensityLimits = self.view.limits()
        self.labels: LabelArray = np.zeros(stack.axes.labels_shape, dtype=np.int32)

    def fill(self) -> None:
        """Segment into `labels`; what ends it early leaves the finished frames."""
        predictor = self._load_model()
        try:
            if self.job.everything:
                self.prompts = self._found(predictor)
                self._check_prompts()
            if self.stack.axes.leading:
                self._fill_stack(predictor)
            else:
                self._fill_image(predictor)
        except KeyboardInterrupt:
            self.summary.interrupted = True
        except KEPT_ON as error:
            if not self.summary.frames_done:
                raise
            logger.info("The work ended early", exc_info=error)
            is_told = isinstance(error, HqSam2Error)
            kind = "" if is_told else f"{type(error).__name__}: "
            self.summary.problem = f"{kind}{error}"

    def _load_model(self) -> SAM2VideoPredictor:
        job = self.job
        with _download_bar(self.console) as progress:
            try:
                return load_model(
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

    def _check_prompts(self) -> None:
        job, axes = self.job, self.stack.axes
        if not axes.leading:
            check_prompts(self.prompts, axes)
            return
        plan_stack(
            self.view,
            self.prompts,
            axis=job.axis,
            frames=job.frames,
            direction=job.direction,
        )

    def _found(self, predictor: SAM2VideoPredictor) -> list[FramePrompts]:
        """Objects that nobody has pointed at, as prompts."""
        job, axes = self.job, self.stack.axes
        position = (0,) * len(axes.leading) if job.at is None else job.at
        with _bar(self.console, "Looking for objects", "crops") as progress:
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

    def _fill_stack(self, predictor: SAM2VideoPredictor) -> None:
        job = self.job
        with _bar(self.console, "Segmenting", "frames") as show:

            def progress(done: int, total: int) -> None:
                self.summary.frames_done = done
                show(done, total)

            segment_stack(
                self.stack.array,
                self.prompts,
                out=self.labels,
                progress=progress,
                axes=self.stack.axes.letters,
                axis=job.axis,
                model=predictor,
                direction=job.direction,
                frames=job.frames,
                contrast_limits=self.limits,
                channels=job.channels,
                hq_mode=job.hq_mode,
                one_piece=job.one_piece,
                crop=job.crop,
                read_timeout=job.read_timeout,
            )

    def write(self) -> None:
        """Write the labels, and the picture if one is wanted."""
        job, stack = self.job, self.stack
        provenance = job.provenance | {
            "contrast_limits": str(self.limits),
            "objects": str(len({prompt.obj_id for prompt in self.prompts})),
            "prompts": str(len(self.prompts)),
            "complete": str(self.summary.is_complete),
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


def download_with_bar(name: str, console: Console) -> Path:
    """Fetch the weights of a model, with a progress bar on `console`."""
    with _download_bar(console) as progress:
        return download.ensure_checkpoint(name, progress=progress)


@contextmanager
def _bar(
    console: Console, what: str, units: str
) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(units),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


@contextmanager
def _download_bar(
    console: Console,
) -> Iterator[Callable[[int, int | None], None]]:
    columns = (
        TextColumn("Downloading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield show
