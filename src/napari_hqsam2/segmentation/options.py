"""Options of the functions in `api`, with their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, get_args

import numpy as np

from napari_hqsam2.configs.resolution import check_resolution
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.intensity import check_gamma
from napari_hqsam2.predictors.slow_reads import DEFAULT_TIMEOUT, check_timeout
from napari_hqsam2.predictors.tracking_config import TrackingMode
from napari_hqsam2.segmentation.mixing import Look
from napari_hqsam2.segmentation.stack_view import StackView
from napari_hqsam2.segmentation.windows import check_crop, window_rule
from napari_hqsam2.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    import torch

    from napari_hqsam2._types import HW, CropMode, Direction
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.segmentation.mixing import Mix
    from napari_hqsam2.segmentation.windows import WindowRule

DIRECTIONS = ("forward", "backward", "both")
HQ_MODES = ("add", "only", "off")


class ImageOptions(TypedDict, total=False):
    """Keyword arguments of `segment_image`; all other functions take them too."""

    model: str | SAM2VideoPredictor
    """Name of a model, or what `load_model` returned. Default: the built-in model."""
    checkpoint: str | None
    """Path of a weights file for a model given by name, such as what ``napari-hqsam2
    train`` wrote; None takes the model's own."""
    device: str | torch.device
    """Where a model given by name computes; "auto" is CUDA, then MPS, then the CPU."""
    contrast_limits: IntensityLimits | None
    """(low, high) intensities shown to the model as black and white, or a pair for each
    channel; None takes the full range of uint8, else percentiles of the whole stack."""
    gamma: float
    """Power to which intensities between the limits are raised, as in napari: 1
    (default) leaves them, less lightens what is dark."""
    channels: Sequence[int] | None
    """One to three indices along C, shown to the model as red, green and blue."""
    mix: Mix | None
    """Up to three stacks shown to the model as red, green and blue, instead of the
    stack alone; `channels` is not heeded then."""
    hq_mode: HqMode
    """How the high-quality mask is used: "add" (default), "only" or "off"."""
    one_piece: bool
    """Whether of each mask only the largest connected piece is kept, for objects that
    are in one piece on every frame: nothing of a neighbour then sticks to them. False
    by default, as in SAM 2."""
    resolution: int | None
    """Side in pixels of the square that the model sees, a multiple of 32; None leaves
    it. Less is much faster and loses detail: memory attention takes a twelfth of the
    time at 512 instead of 1024 px."""
    crop: CropMode
    """Whether each object is looked at in a window of the frame, at full resolution or
    above, that follows it. "auto" (default) does so with windows of four to eight times
    the size of the object, for the built-in model on all frames and for others on those
    larger than one and a half times what they see; but not with `resolution` or local
    tracking, which are to be fast. A number is the side of the windows in pixels; "off"
    shows the model whole frames."""
    compile: bool
    """Compile the heavy parts of the model when they are first used, which takes
    minutes: for long batch work on a GPU, as a CPU gains nothing; not in a process with
    windows. Where it fails, all is computed as ever. A model that was passed stays
    compiled."""
    read_timeout: float | None
    """Seconds to wait for one frame of a stack that is not in memory (Dask, Zarr, a
    file, `FrameSource`), 120 by default; None waits until it comes. Which frame did not
    come is told; those that were finished are kept."""


class StackOptions(ImageOptions, total=False):
    """Keyword arguments that `segment_stack` and `iter_stack` share."""

    axes: str | None
    """Axis letters of the stack, such as "TZYX"; None as in `axes.resolve_axes`."""
    axis: str | None
    """Letter of the axis to follow objects along; None takes the last leading axis that
    is longer than one frame. All other leading axes stay fixed: prompts at different
    places along them are separate runs."""
    direction: Direction
    """From each object's earliest prompt: "forward", "backward" or "both" (default)."""
    frames: tuple[int, int] | None
    """(start, stop) along `axis`, stop not included; None is all frames."""
    tracking: TrackingMode | None
    """"exact", or "local": small objects are looked for in windows around them, much
    faster and with nearly the same masks. None leaves it to the model; by name, that
    is "exact"."""


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """`ImageOptions` with their defaults."""

    model: str | SAM2VideoPredictor = DEFAULT_MODEL
    checkpoint: str | None = None
    device: str | torch.device = "auto"
    contrast_limits: IntensityLimits | None = None
    gamma: float = 1.0
    channels: Sequence[int] | None = None
    mix: Mix | None = None
    hq_mode: HqMode = "add"
    one_piece: bool = False
    resolution: int | None = None
    crop: CropMode = "auto"
    compile: bool = False
    read_timeout: float | None = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        make_plain(self)
        _check_choice("hq_mode", self.hq_mode, HQ_MODES)
        if self.checkpoint is not None and not isinstance(self.model, str):
            msg = (
                "checkpoint belongs to a model given by name; a loaded one has its "
                "weights: model=load_model(name, checkpoint=...)."
            )
            raise ValueError(msg)
        check_crop(self.crop)
        check_timeout(self.read_timeout)
        check_gamma(self.gamma)
        _check_channels(self.channels)
        if self.resolution is not None:
            check_resolution(self.resolution)

    def view(self, stack: Any, axes: str | None) -> StackView:
        """A stack as the model sees it."""
        return StackView(stack, axes, self.channels, self.read_timeout, self._look)

    def image_view(self, image: Any, axes: str) -> StackView:
        """A single image as the model sees it, as a stack of one frame."""
        return StackView.of_image(
            image, axes, self.channels, self.read_timeout, self._look
        )

    @property
    def _look(self) -> Look:
        return Look(self.contrast_limits, self.gamma, self.mix)

    def window_rule(self, hw: HW, predictor: SAM2VideoPredictor) -> WindowRule | None:
        """Where objects are looked for on (H, W) frames; None is on the whole.

        `predictor` is the model with these settings. Who asks for speed, by a low
        resolution or local tracking, gets no windows unless they are asked for too.
        """
        is_fast = self.resolution is not None or predictor.config.tracking == "local"
        mode = "off" if self.crop == "auto" and is_fast else self.crop
        return window_rule(mode, hw, predictor.image_size)


@dataclass(frozen=True, kw_only=True)
class StackSettings(ImageSettings):
    """`StackOptions` with their defaults."""

    axes: str | None = None
    axis: str | None = None
    direction: Direction = "both"
    frames: tuple[int, int] | None = None
    tracking: TrackingMode | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("direction", self.direction, DIRECTIONS)
        if self.tracking is not None:
            _check_choice("tracking", self.tracking, get_args(TrackingMode))


def make_plain(settings: Any) -> None:
    """Let settings that are made just now hold no arrays or numbers of NumPy.

    They can then be compared and written down.
    """
    for name, value in vars(settings).items():
        object.__setattr__(settings, name, _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, tuple | list) else value


def _check_channels(channels: Any) -> None:
    """Refuse what is no sequence of numbers; which ones there are shows later."""
    is_listed = isinstance(channels, Sequence) and not isinstance(channels, str)
    if channels is None or (is_listed and all(isinstance(i, int) for i in channels)):
        return
    msg = (
        f"channels={channels!r} is not a list of indices along C; give one to three, "
        "such as channels=(0,)."
    )
    raise StackError(msg)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        msg = f"{name}={value!r} is not one of {', '.join(allowed)}."
        raise ValueError(msg)
