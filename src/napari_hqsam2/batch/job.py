"""Files in, files out: what is to be segmented, and how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import napari_hqsam2
from napari_hqsam2.batch.lease import Lease
from napari_hqsam2.batch.signature import SIGNATURE_KEY, sign, written_provenance
from napari_hqsam2.batch.work import JobSummary, Models, Work
from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.export import check_tiff_name
from napari_hqsam2.predictors.slow_reads import DEFAULT_TIMEOUT
from napari_hqsam2.prompt_tables import read_prompts
from napari_hqsam2.stack_files import open_stack
from napari_hqsam2.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import CropMode, Direction
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.tracking_config import TrackingMode
    from napari_hqsam2.prompts import FramePrompts

UNSIGNED = frozenset(
    {"output", "picture", "device", "compile", "read_timeout", "overwrite"}
)
"""What decides where and how fast, not what comes out."""


PATHS = ("stack", "output", "points", "boxes", "checkpoint", "picture")
FINISHED = "finished before"
ELSEWHERE = "under way elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """Files and settings of one segmentation; settings as in `api.StackOptions`."""

    stack: Path
    output: Path
    """OME-TIFF of labels to write."""
    points: Path | None = None
    boxes: Path | None = None
    """Tables of prompts, as `prompt_tables` describes them."""
    everything: bool = False
    """Take what the model finds on one frame instead of prompts."""
    at: tuple[int, ...] | None = None
    """Index of that frame along every leading axis; None is the first one."""
    axes: str | None = None
    axis: str | None = None
    model: str = DEFAULT_MODEL
    checkpoint: Path | None = None
    device: str = "auto"
    direction: Direction = "both"
    frames: tuple[int, int] | None = None
    contrast_limits: tuple[tuple[float, float], ...] | None = None
    gamma: float = 1.0
    channels: Sequence[int] | None = None
    hq_mode: HqMode = "add"
    one_piece: bool = False
    tracking: TrackingMode = "exact"
    resolution: int | None = None
    crop: CropMode = "auto"
    compile: bool = False
    read_timeout: float | None = DEFAULT_TIMEOUT
    picture: Path | None = None
    """Where to draw frames with outlines, if anywhere."""
    overwrite: bool = False
    """Also replace files in the place of `output` and `picture` that no job wrote."""

    def __post_init__(self) -> None:
        for name in PATHS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value))

    def run(
        self, console: Console | None = None, models: Models | None = None
    ) -> JobSummary:
        """Do the job, or what an earlier process has left of it.

        Ctrl-C, or a frame that fails, ends it after the last finished frame; what is
        finished is written, and the summary says why there is no more. So much is also
        kept in `partial_folder`, every minute too, and the next run goes on from there;
        its result is that of a run that was never broken off. A job that is finished,
        or that another process is at, is not done again.

        Parameters
        ----------
        console
            Where progress bars are shown; standard error by default.
        models
            Models of earlier jobs.

        Raises
        ------
        HqSam2Error
            An input cannot be used, or the first frame failed; nothing is written.
        """
        self._check()
        signature = self._signature()
        if self._is_finished(signature):
            return JobSummary(skipped=FINISHED)
        lease = Lease(self.output)
        owner = lease.take()
        if owner:
            return JobSummary(skipped=f"{ELSEWHERE} ({owner})", is_elsewhere=True)
        try:
            if self._is_finished(signature):
                return JobSummary(skipped=FINISHED)
            return self._work(
                signature, console or Console(stderr=True), models or Models()
            )
        finally:
            lease.release()

    def _work(self, signature: str, console: Console, models: Models) -> JobSummary:
        with open_stack(self.stack, self.axes) as stack:
            prompts: Sequence[FramePrompts] = ()
            if not self.everything:
                prompts = read_prompts(stack.axes, points=self.points, boxes=self.boxes)
            work = Work(self, stack, prompts, signature)
            work.fill(console, models)
            if work.summary.frames_done:
                work.write()
        return work.summary

    @property
    def partial_folder(self) -> Path:
        """Where a job that is not finished keeps what it has."""
        return self.output.with_name(f"{self.output.name}.partial")

    def _signature(self) -> str:
        values = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in UNSIGNED
        }
        return sign({"version": napari_hqsam2.__version__, **values})

    def _is_finished(self, signature: str) -> bool:
        """Whether the output is what this job would write.

        Raises
        ------
        StackError
            There is another file in its place, or in that of the picture.
        """
        told = written_provenance(self.output) if self.output.is_file() else {}
        if SIGNATURE_KEY not in told:
            for path in (self.output, self.picture):
                if path is not None and path.exists():
                    self._check_may_replace(path)
            return False
        has_picture = self.picture is None or self.picture.exists()
        is_complete = told.get("complete") == str(True)
        return has_picture and is_complete and told[SIGNATURE_KEY] == signature

    def _check_may_replace(self, path: Path) -> None:
        if path.is_dir():
            msg = f"{path} is a folder. Write to another place."
            raise StackError(msg)
        if not self.overwrite:
            msg = (
                f"{path} exists and was not written by this command, or was changed "
                "since. Write to another place, or move it away; overwrite=True, or "
                "--overwrite on the command line, replaces it."
            )
            raise StackError(msg)

    def _check(self) -> None:
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
