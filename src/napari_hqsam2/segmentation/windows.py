"""Where objects of a large frame are looked at: windows near full resolution.

An object's window depends on that object alone, so what is found does not depend on
which others are asked for. Windows lie on a lattice, so that neighbours have the same
one and share what is computed of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from napari_hqsam2.geometry import box_pixels
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.masks import tight_window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hqsam2._types import HW, CropMode
    from napari_hqsam2.prompts import FramePrompts

PixelBox: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels of the frame; half-open."""

LARGE_FROM = 1.5
"""Frames of this many times the model's input are large: clicks get windows too."""
LEAST_SIDE = 64
"""Least side of a window that may be asked for, in pixels."""
ROOM = 4.0
"""Least side of a new window as multiple of the longer side of its object."""
TOO_MUCH_ROOM = 10.0
"""The same from which a window is made smaller."""
COARSE_INPUT = 512
"""Models with no larger input, in pixels, see small objects much better in windows,
which cost them little."""
POINT_SIDES = (1.0, 0.5, 0.25)
"""Sides of windows around a click as multiples of the model's input."""
POINT_SIDE = 0.5
"""The same for models with a large input, which look once."""
SIDES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Sides of windows as multiples of the model's input. Few, so that they are shared."""
WHOLE_FRAME = 0.75
"""A window of this part of the frame's longer side is the whole frame."""
FOLLOWED_WHOLE = 36
"""Objects of so many pixels of the model's input are followed on the whole frame, if it
is not large: what is around them keeps them from being lost."""
LEAST_MARGIN = 1 / 16
"""An object this near to the border of its window, in sides of it, moves it."""

MOST_WINDOWS = 4
"""Windows at most in which an object is looked for on one frame."""


@dataclass(frozen=True, slots=True)
class WindowRule:
    """The windows of a frame."""

    hw: HW
    """Height and width of the frame in pixels."""
    input_size: int
    """S, side in pixels of the model's square input."""
    fixed_side: int | None = None
    """Side that was asked for; None follows the size of the object."""

    @property
    def whole(self) -> Crop:
        """The frame itself."""
        return Crop(0, 0, *self.hw)

    @property
    def is_large(self) -> bool:
        """Whether no object is to be looked for on the whole frame at once."""
        is_asked = self.fixed_side is not None
        return is_asked or max(self.hw) > LARGE_FROM * self.input_size

    def is_needed(self, prompts: Iterable[FramePrompts]) -> bool:
        """Whether any of these objects would be looked at in less than the frame."""
        is_whole = (self.first(each) == (self.whole,) for each in prompts)
        return self.is_large or not all(is_whole)

    def first(self, prompt: FramePrompts) -> tuple[Crop, ...]:
        """Windows to look for what a prompt means, wide ones first.

        What a click means may be of any size: where there are several windows, the
        answer that the model itself predicts to be the best one is to be kept.
        """
        box = prompt_box(prompt)
        least = ROOM * longer_side(box)
        sides: tuple[float, ...] = (least,)
        if prompt.box is None and prompt.mask is None:
            sides = tuple(max(least, side) for side in self._point_sides())
        crops = (self._around(box, self._usable(side)) for side in sides)
        return tuple(dict.fromkeys(crops))

    def _point_sides(self) -> tuple[float, ...]:
        """Sides of the windows around a click."""
        if self.fixed_side is not None:
            return (self.fixed_side,)
        factors = POINT_SIDES if self.input_size <= COARSE_INPUT else (POINT_SIDE,)
        return tuple(factor * self.input_size for factor in factors)

    def around(self, box: PixelBox) -> Crop:
        """Window around an object that is known."""
        return self._around(box, self._usable(ROOM * longer_side(box)))

    def fitting(self, crop: Crop, box: PixelBox | None, said: PixelBox) -> Crop:
        """Window for what was found in one, if anything; mostly the same one.

        `said` is the box around all prompts.
        """
        if box is None:
            return self.wider(crop, said) or crop
        box = joined_box(box, said)
        return self.wider(crop, box) or self.following(crop, box)

    def lost(self, crop: Crop, box: PixelBox) -> Crop:
        """Window to look for an object that is out of view: wider than it need be.

        `box` is where it was seen last, `crop` the window that it has.
        """
        if self._stays(crop):
            return crop
        return self._around(box, self._next(self._usable(ROOM * longer_side(box))))

    def is_followed_whole(self, box: PixelBox) -> bool:
        """Whether an object of this size is looked for on whole frames."""
        seen = longer_side(box) * self.input_size / max(self.hw)
        return not self.is_large and seen >= FOLLOWED_WHOLE

    def following(self, crop: Crop, box: PixelBox) -> Crop:
        """Window for the next frame; mostly the same one.

        It moves when the object comes near its border, and changes its side when the
        object has grown or shrunk by far.
        """
        if self._stays(crop):
            return crop
        side = max(crop.height, crop.width)
        best = self._usable(ROOM * longer_side(box))
        if best > side or self._usable(TOO_MUCH_ROOM * longer_side(box)) < side:
            return self._around(box, best)
        if self._is_within(box, crop, LEAST_MARGIN * side):
            return crop
        return self._around(box, side)

    def wider(self, crop: Crop, box: PixelBox) -> Crop | None:
        """Window in which to look anew, if an object leaves the one it has."""
        if self._is_within(box, crop, 0):
            return None
        side = max(crop.height, crop.width)
        moved = self._around(box, side)
        if moved != crop and self._is_within(box, moved, LEAST_MARGIN * side):
            return moved
        return self._around(box, self._next(side))

    def _stays(self, crop: Crop) -> bool:
        """Whether an object is looked for on the whole frame for good."""
        return crop == self.whole and not self.is_large

    def _is_within(self, box: PixelBox, crop: Crop, margin: float) -> bool:
        """Whether a box keeps away from the sides of a window inside the frame."""
        top, left, bottom, right = box
        distances = (
            top - crop.top,
            left - crop.left,
            crop.top + crop.height - bottom,
            crop.left + crop.width - right,
        )
        return all(
            distance > margin
            for distance, is_inner in zip(
                distances, crop.inner_sides(self.hw), strict=True
            )
            if is_inner
        )

    def _sides(self) -> tuple[int, ...]:
        if self.fixed_side is not None:
            return tuple(self.fixed_side << doubling for doubling in range(16))
        return tuple(round(factor * self.input_size) for factor in SIDES)

    def _usable(self, least: float) -> int:
        """Smallest side from `least` on; 0 is the whole frame."""
        limit = WHOLE_FRAME * max(self.hw)
        sides = (side for side in self._sides() if side >= least and side < limit)
        return next(sides, max(self.hw))

    def _next(self, side: int) -> int:
        return self._usable(side + 1)

    def _around(self, box: PixelBox, side: int) -> Crop:
        """Square of a side on the lattice, nearly about a box."""
        if side >= max(self.hw):
            return self.whole
        height, width = min(side, self.hw[0]), min(side, self.hw[1])
        top = _snapped((box[0] + box[2]) / 2, height, side, self.hw[0])
        left = _snapped((box[1] + box[3]) / 2, width, side, self.hw[1])
        return Crop(top, left, height, width)


def window_rule(mode: CropMode, hw: HW, input_size: int) -> WindowRule | None:
    """How the frames of a stack are to be looked at; None is whole.

    Parameters
    ----------
    mode
        As in `ImageOptions`.
    hw
        Height and width of the frames in pixels.
    input_size
        S, side in pixels of the model's square input.
    """
    if mode == "off":
        return None
    if mode == "auto":
        rule = WindowRule(hw, input_size)
        has_room = SIDES[0] * input_size < WHOLE_FRAME * max(hw)
        is_small_enough = rule.is_large or input_size <= COARSE_INPUT
        return rule if has_room and is_small_enough else None
    return WindowRule(hw, input_size, mode) if mode < max(hw) else None


def check_crop(mode: CropMode) -> None:
    """Refuse what is neither "auto" nor "off" nor a usable side, with ValueError."""
    is_side = isinstance(mode, int) and not isinstance(mode, bool)
    if mode in ("auto", "off") or (is_side and int(mode) >= LEAST_SIDE):
        return
    msg = (
        f"crop={mode!r} is not 'auto', 'off', or the side of a window in pixels, "
        f"{LEAST_SIDE} or more."
    )
    raise ValueError(msg)


def prompt_box(prompt: FramePrompts) -> PixelBox:
    """Smallest box around all that prompts of one object say on a frame."""
    if prompt.mask is not None:
        rows, columns = tight_window(prompt.mask)
        return rows.start, columns.start, rows.stop, columns.stop
    boxes = [
        (round(point.y), round(point.x), round(point.y) + 1, round(point.x) + 1)
        for point in prompt.points
    ]
    if prompt.box is not None:
        boxes.append(box_pixels(prompt.box))
    return joined_box(*boxes)


def joined_box(*boxes: PixelBox) -> PixelBox:
    """Smallest box around some."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def longer_side(box: PixelBox) -> int:
    """The larger one of height and width."""
    return max(box[2] - box[0], box[3] - box[1])


def _snapped(middle: float, length: int, side: int, whole: int) -> int:
    """Start of a window, on a lattice of half its side."""
    step = max(side // 2, 1)
    start = round((middle - length / 2) / step) * step
    return min(max(start, 0), whole - length)
