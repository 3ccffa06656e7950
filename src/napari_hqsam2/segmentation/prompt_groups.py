"""Prompts checked against a stack and sorted into independent runs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.geometry import check_point, clip_box
from napari_hqsam2.prompts import FramePrompts, boolean_mask
from napari_hqsam2.segmentation.courses import Course, Courses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hqsam2._types import HW, BoolArray, Direction
    from napari_hqsam2.axes import StackAxes


@dataclass(frozen=True, slots=True, eq=False)
class PromptGroup:
    """Prompts that share all leading indices but the one they are followed along."""

    prompts: tuple[FramePrompts, ...]
    """Sorted by frame, then by object id; one for each pair of the two."""
    axis_index: int
    """Place of the propagation axis among the leading axes."""

    @property
    def origin(self) -> tuple[int, ...]:
        """Position of the group's frame 0."""
        return self.position(0)

    def position(self, frame: int) -> tuple[int, ...]:
        """Index of a frame along every leading axis of the stack."""
        position = list(self.prompts[0].position)
        position[self.axis_index] = frame
        return tuple(position)

    def frame(self, prompt: FramePrompts) -> int:
        """Index of a prompt's frame along the propagation axis."""
        return prompt.position[self.axis_index]

    def first_frames(self) -> dict[int, int]:
        """Earliest prompted frame of each object id."""
        firsts: dict[int, int] = {}
        for prompt in self.prompts:
            firsts.setdefault(prompt.obj_id, self.frame(prompt))
        return firsts

    def masks_on(self, frame: int) -> dict[int, BoolArray]:
        """Mask prompts on a frame by object id."""
        return {
            prompt.obj_id: prompt.mask
            for prompt in self.prompts
            if prompt.mask is not None and self.frame(prompt) == frame
        }


def check_prompts(
    prompts: Iterable[FramePrompts] | FramePrompts, axes: StackAxes
) -> tuple[FramePrompts, ...]:
    """Check prompts against the stack; boxes come back cut to the image.

    Raises
    ------
    PromptError
        No prompts, a position outside the stack, a point or box outside the image, a
        mask of another shape or without pixels, two prompts for one object and frame.
    """
    if isinstance(prompts, FramePrompts):
        prompts = (prompts,)
    checked = tuple(_checked(prompt, axes) for prompt in prompts)
    if not checked:
        msg = "There are no prompts; add a point, a box or a mask on an object."
        raise PromptError(msg)
    seen = set()
    for prompt in checked:
        key = (prompt.position, prompt.obj_id)
        if key in seen:
            msg = (
                f"Object {prompt.obj_id} has two FramePrompts at "
                f"{_place(axes, prompt)}; put its points and box into one."
            )
            raise PromptError(msg)
        seen.add(key)
    return checked


def group_prompts(
    prompts: Sequence[FramePrompts], axes: StackAxes, axis: str
) -> tuple[PromptGroup, ...]:
    """Sort checked prompts into groups that are followed along `axis` on their own.

    Raises
    ------
    PromptError
        An object has nothing but negative points within a group.
    """
    axis_index = axes.leading.index(axis)
    groups: defaultdict[tuple[int, ...], list[FramePrompts]] = defaultdict(list)
    for prompt in prompts:
        position = prompt.position
        fixed = position[:axis_index] + position[axis_index + 1 :]
        groups[fixed].append(prompt)
    sorted_groups = []
    for fixed in sorted(groups):
        members = sorted(
            groups[fixed], key=lambda prompt: (prompt.position, prompt.obj_id)
        )
        check_positive(members)
        sorted_groups.append(PromptGroup(tuple(members), axis_index))
    return tuple(sorted_groups)


def check_positive(prompts: Iterable[FramePrompts]) -> None:
    """Refuse an object that is only told where it is not.

    Raises
    ------
    PromptError
        An object has neither a positive point nor a box nor a mask.
    """
    is_positive: defaultdict[int, bool] = defaultdict(bool)
    for prompt in prompts:
        is_positive[prompt.obj_id] |= (
            prompt.box is not None
            or prompt.mask is not None
            or any(point.positive for point in prompt.points)
        )
    lacking = sorted(obj_id for obj_id, found in is_positive.items() if not found)
    if lacking:
        names = ", ".join(map(str, lacking))
        msg = (
            f"Object {names} has negative points only; add a positive point, a box or "
            "a mask to say where it is."
        )
        raise PromptError(msg)


def resolve_frames(frames: tuple[int, int] | None, axes: StackAxes, axis: str) -> range:
    """Frames to work on along the propagation axis.

    Raises
    ------
    StackError
        `frames` is not a pair 0 <= start < stop <= length of the axis.
    """
    length = axes.length(axis)
    if frames is None:
        return range(length)
    start, stop = frames
    if not 0 <= start < stop <= length:
        msg = (
            f"frames=({start}, {stop}) is not a range of axis {axis}; give (start, "
            f"stop) with 0 <= start < stop <= {length}, stop not included."
        )
        raise StackError(msg)
    return range(start, stop)


def check_frames(group: PromptGroup, frames: range, axis: str) -> None:
    """Refuse prompts outside the frames to work on.

    Raises
    ------
    PromptError
        A prompt lies outside `frames`.
    """
    for prompt in group.prompts:
        frame = group.frame(prompt)
        if frame not in frames:
            msg = (
                f"Object {prompt.obj_id} is prompted at {axis}={frame}, outside the "
                f"range {axis}={frames.start} to {frames.stop - 1}; widen the range or "
                "leave the prompt out."
            )
            raise PromptError(msg)


def plan_courses(
    group: PromptGroup, frames: range, direction: Direction, *, two_sided: bool
) -> Courses:
    """Ways of a group's objects, each from its earliest prompt on.

    Parameters
    ----------
    group
        The prompts.
    frames
        Frames that may be looked at.
    direction
        Where objects are followed to.
    two_sided
        Follow objects between two of their prompts from both of them.
    """
    known: defaultdict[int, list[int]] = defaultdict(list)
    for prompt in group.prompts:
        known[prompt.obj_id].append(group.frame(prompt))
    return Courses(
        {
            obj_id: Course.of(frames, min(on), on, direction, two_sided=two_sided)
            for obj_id, on in known.items()
        }
    )


def _checked(prompt: object, axes: StackAxes) -> FramePrompts:
    if not isinstance(prompt, FramePrompts):
        msg = (
            f"Prompts are a list of FramePrompts, got {prompt!r} in it. One click is "
            "FramePrompts(position=(0,), obj_id=1, points=(PointPrompt(y=9, x=5),))."
        )
        raise PromptError(msg)
    _check_position(prompt, axes)
    try:
        return _on_image(prompt, axes.hw)
    except PromptError as error:
        msg = f"Object {prompt.obj_id} at {_place(axes, prompt)}: {error}"
        raise PromptError(msg) from error


def _check_position(prompt: FramePrompts, axes: StackAxes) -> None:
    position, shape = prompt.position, axes.leading_shape
    if len(position) != len(shape):
        msg = (
            f"Object {prompt.obj_id} has position {position}, but the stack has "
            f"{len(shape)} leading axes ({axes.leading or 'none'} of "
            f"{axes.described}); give one index for each."
        )
        raise PromptError(msg)
    inside = (
        0 <= index < length for index, length in zip(position, shape, strict=True)
    )
    if not all(inside):
        msg = (
            f"Object {prompt.obj_id} is prompted at {axes.where(position)}, outside "
            f"the stack ({axes.described})."
        )
        raise PromptError(msg)


def _on_image(prompt: FramePrompts, hw: HW) -> FramePrompts:
    for point in prompt.points:
        check_point(point, hw)
    if prompt.box is not None:
        return replace(prompt, box=clip_box(prompt.box, hw))
    if prompt.mask is not None:
        return replace(prompt, mask=_checked_mask(prompt.mask, hw))
    return prompt


def _checked_mask(mask: BoolArray, hw: HW) -> BoolArray:
    mask = boolean_mask(mask)
    if mask.shape != hw:
        msg = (
            f"the mask has shape {mask.shape}, the image {hw}; give a mask of the "
            "image's own height and width."
        )
        raise PromptError(msg)
    if not mask.any():
        msg = "the mask has no pixel; paint the object or leave the mask out."
        raise PromptError(msg)
    return mask


def _place(axes: StackAxes, prompt: FramePrompts) -> str:
    return axes.where(prompt.position) or "this image"
