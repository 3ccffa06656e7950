"""From what the user set and drew to one frozen request; pure functions only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.plugin.collect import collect_prompts
from napari_hqsam2.segmentation.prompt_groups import (
    check_positive,
    group_prompts,
    plan_span,
    resolve_frames,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hqsam2._types import Direction, Limits
    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.snapshots import (
        ImageSnapshot,
        LabelsSnapshot,
        PointSet,
        Shape,
    )
    from napari_hqsam2.prompts import FramePrompts

MAX_CHANNELS = 3
"""The model sees red, green and blue."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the user chose for a run, apart from layers."""

    model: str
    device: str = "auto"
    hq_mode: Literal["add", "only", "off"] = "add"
    channels: tuple[int, ...] | None = None
    """Channels shown to the model; None takes the default of the image."""
    axis: str | None = None
    """Letter of the axis to follow objects along; None takes the default."""
    direction: Direction = "both"
    frames: tuple[int, int] | None = None
    """Half-open range along the axis; None is all."""
    default_object: int = 1
    """Object of points whose layer does not say."""
    protect: bool = True
    """Whether pixels of other labels stay as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRequest:
    """Everything a run needs; crosses into the worker thread, refers to no layer."""

    image: str
    """Name of the image layer."""
    data: Any = field(repr=False)
    """Array-like of the stack."""
    axes: NamedAxes
    prompts: tuple[FramePrompts, ...]
    settings: RunSettings
    axis: str | None
    """Axis to follow objects along; None for a single frame."""
    frames: tuple[int, int]
    """Half-open range along `axis`; (0, 1) for a single frame."""
    contrast_limits: Limits | None
    num_results: int
    """Frame results to expect; a frame that is reached twice counts twice."""

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Objects of the run, in order."""
        return tuple(sorted({prompt.obj_id for prompt in self.prompts}))

    @property
    def words(self) -> str:
        """What the run does: "2 objects through T, frames 0 to 27"."""
        number = len(self.obj_ids)
        objects = "1 object" if number == 1 else f"{number} objects"
        if self.axis is None or self.frames[1] - self.frames[0] == 1:
            return f"{objects} on {self.axes.where(self.prompts[0].position)}"
        return f"{objects} {range_words(self.axes, self.axis, self.frames)}"


def range_words(axes: NamedAxes, axis: str, frames: tuple[int, int]) -> str:
    """Words for a range of frames: "through Z, slices 3 to 41"."""
    start, stop = frames
    counted = axes.counted(axis)
    return f"through {axes.word(axis)}, {counted} {start} to {stop - 1}"


def channel_choices(axes: NamedAxes) -> dict[tuple[int, ...], str]:
    """Channels that can be shown to the model, with words, the default first.

    Empty for images without a channel axis; colours of RGB images always go together.
    """
    if axes.stack.letters[0] != "C":
        return {}
    number = axes.stack.shape[0]
    choices: dict[tuple[int, ...], str] = {
        (index,): f"{index} alone" for index in range(number)
    }
    if number == 1 or number > MAX_CHANNELS:
        return choices
    return {tuple(range(number)): f"all {number} together", **choices}


def default_axis(axes: NamedAxes) -> str | None:
    """Axis that objects are followed along by default; None for one frame."""
    return axes.stack.propagation_axis() if axes.stack.leading else None


def resolve_stack(
    image: ImageSnapshot,
    points: PointSet | None,
    shapes: Sequence[Shape],
    settings: RunSettings,
) -> SegmentRequest:
    """Request for the whole stack, or for the chosen range of it.

    Raises
    ------
    PromptError
        No prompt, an object without a positive prompt, or a prompt that cannot be used.
    StackError
        The axis or range does not exist, or the image cannot be segmented.
    """
    check_image(image)
    axes = image.axes
    prompts = collect_prompts(axes, points, shapes, settings.default_object)
    if not axes.stack.leading:
        return _request(image, prompts, settings, None, range(1))
    axis = axes.stack.propagation_axis(settings.axis)
    frames = resolve_frames(settings.frames, axes.stack, axis)
    kept = _inside_range(axes, prompts, axis, frames)
    return _request(image, kept, settings, axis, frames)


def resolve_frame(
    image: ImageSnapshot,
    points: PointSet | None,
    shapes: Sequence[Shape],
    settings: RunSettings,
    position: tuple[int, ...],
) -> SegmentRequest:
    """Request for one frame, with the prompts on that frame alone.

    Raises
    ------
    PromptError, StackError
        As `resolve_stack`; also if no prompt lies on the frame.
    """
    check_image(image)
    axes = image.axes
    prompts = collect_prompts(axes, points, shapes, settings.default_object)
    here = tuple(prompt for prompt in prompts if prompt.position == position)
    if prompts and not here:
        others = sorted({prompt.position for prompt in prompts})
        msg = (
            f"There is no prompt on {axes.where(position)}; the prompts lie on "
            f"{_some(axes.where(place) for place in others)}. Go there, or segment "
            "through the stack."
        )
        raise PromptError(msg)
    if not axes.stack.leading:
        return _request(image, here, settings, None, range(1))
    axis = axes.stack.propagation_axis(settings.axis)
    index = position[axes.stack.leading.index(axis)]
    return _request(image, here, settings, axis, range(index, index + 1))


def check_image(image: ImageSnapshot) -> None:
    """Refuse images whose values the model cannot read.

    Raises
    ------
    StackError
        The values are complex numbers or objects.
    """
    kind = np.dtype(image.data.dtype).kind
    if kind not in "buif":
        msg = (
            f"'{image.name}' holds {image.data.dtype} values, which have no "
            "brightness. Segment a real image, such as its magnitude."
        )
        raise StackError(msg)


def check_labels(labels: LabelsSnapshot, image: ImageSnapshot) -> None:
    """Refuse a Labels layer that does not fit the image.

    Raises
    ------
    StackError
        Shape or place in the world differ, or it cannot be written to.
    """
    expected = image.axes.stack.labels_shape
    if labels.shape != expected:
        msg = (
            f"'{labels.name}' has shape {labels.shape}, but '{image.name}' needs "
            f"labels of shape {expected}. Choose another Labels layer, or a new one."
        )
        raise StackError(msg)
    if not labels.is_aligned:
        msg = (
            f"'{labels.name}' lies elsewhere in the world than '{image.name}': compare "
            "their scale, translate, rotate, shear, affine and units. Choose a new "
            "Labels layer, or give it the transform of the image."
        )
        raise StackError(msg)
    if labels.obstacle:
        msg = (
            f"'{labels.name}' cannot be written to: {labels.obstacle}. Choose a new "
            "Labels layer."
        )
        raise StackError(msg)


def _inside_range(
    axes: NamedAxes,
    prompts: tuple[FramePrompts, ...],
    axis: str,
    frames: range,
) -> tuple[FramePrompts, ...]:
    place = axes.stack.leading.index(axis)
    kept = tuple(p for p in prompts if p.position[place] in frames)
    lost = {p.obj_id for p in prompts} - {p.obj_id for p in kept}
    if lost:
        msg = (
            f"Object {_some(sorted(lost))} has no prompt inside the range "
            f"{frames.start} to {frames.stop - 1} of {axes.word(axis)}. Widen the "
            "range, or prompt it there."
        )
        raise PromptError(msg)
    return kept


def _request(
    image: ImageSnapshot,
    prompts: tuple[FramePrompts, ...],
    settings: RunSettings,
    axis: str | None,
    frames: range,
) -> SegmentRequest:
    if not prompts:
        msg = (
            "There is no prompt yet. Click on an object in a Points layer, or draw a "
            "rectangle around it in a Shapes layer."
        )
        raise PromptError(msg)
    return SegmentRequest(
        image=image.name,
        data=image.data,
        axes=image.axes,
        prompts=prompts,
        settings=_with_channels(settings, image.axes),
        axis=axis,
        frames=(frames.start, frames.stop),
        contrast_limits=image.contrast_limits,
        num_results=_count_results(image.axes, prompts, settings, axis, frames),
    )


def _with_channels(settings: RunSettings, axes: NamedAxes) -> RunSettings:
    choices = channel_choices(axes)
    if not choices:
        return replace(settings, channels=None)
    chosen = settings.channels or next(iter(choices))
    number = axes.stack.shape[0]
    allowed = len(chosen) <= MAX_CHANNELS and all(0 <= c < number for c in chosen)
    if not allowed:
        msg = (
            f"channels={chosen} cannot be shown to the model: choose one to three of "
            f"the channels 0 to {number - 1}."
        )
        raise StackError(msg)
    return replace(settings, channels=tuple(chosen))


def _count_results(
    axes: NamedAxes,
    prompts: tuple[FramePrompts, ...],
    settings: RunSettings,
    axis: str | None,
    frames: range,
) -> int:
    if axis is None:
        check_positive(prompts)
        return 1
    groups = group_prompts(prompts, axes.stack, axis)
    spans = (plan_span(group, frames, settings.direction) for group in groups)
    return sum(span.num_steps for span in spans)


def _some(items: Iterable[object], most: int = 4) -> str:
    texts = [str(item) for item in items]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
