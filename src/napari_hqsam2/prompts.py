"""Prompts as values, in the pixel indices of the image they belong to.

Data space is napari's: the centre of pixel (row, column) is at (y, x) = (row, column).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import PromptError

if TYPE_CHECKING:
    from napari_hqsam2._types import BoolArray


def whole_id(value: Any) -> int:
    """An object id as a plain number, of whatever type it is.

    Raises
    ------
    PromptError
        It is not a whole number.
    """
    try:
        number = int(value)
        is_whole = bool(number == value)
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    if not is_whole:
        msg = f"An object id is a whole number, 1 or more; got {value!r}."
        raise PromptError(msg)
    return number


def boolean_mask(mask: Any) -> BoolArray:
    """A mask prompt as booleans.

    Raises
    ------
    PromptError
        It holds more than an object and nothing: logits, probabilities, several labels.
    """
    values = np.asarray(mask)
    if values.dtype.kind == "b":
        return values
    is_real = values.dtype.kind in "iuf"
    inside = values[values != 0] if is_real else values.ravel()
    if not is_real or (len(inside) and not (inside[0] > 0 and np.ptp(inside) == 0)):
        held = f", {inside.min():g} to {inside.max():g}" if is_real else ""
        msg = (
            "A mask is True on the object and False elsewhere, or has one number above "
            f"0 there; got {values.dtype}{held}. Give mask > threshold or labels == id."
        )
        raise PromptError(msg)
    is_object: BoolArray = values != 0
    return is_object


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """One click."""

    y: float
    """Row in data space; the centre of row i is i."""
    x: float
    """Column in data space."""
    positive: bool = True
    """Whether the click lies on the object, or on what must be left out."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.y) and math.isfinite(self.x)):
            msg = (
                f"A point needs finite coordinates, got (y, x) = ({self.y}, {self.x})."
            )
            raise PromptError(msg)


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A half-open box of pixels.

    Pixel (row, column) is inside if y0 <= row < y1 and x0 <= column < x1.
    """

    y0: float
    x0: float
    y1: float
    x1: float

    def __post_init__(self) -> None:
        corners = (self.y0, self.x0, self.y1, self.x1)
        if not all(math.isfinite(value) for value in corners):
            msg = f"A box needs finite corners, got (y0, x0, y1, x1) = {corners}."
            raise PromptError(msg)
        if self.y1 <= self.y0 or self.x1 <= self.x0:
            msg = (
                f"A box needs y0 < y1 and x0 < x1, got (y0, x0, y1, x1) = {corners}. "
                "Draw it from one corner to the opposite one, with some area."
            )
            raise PromptError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class FramePrompts:
    """All prompts of one object on one frame of a stack."""

    position: tuple[int, ...]
    """Index of the frame along each axis but Y, X and channels, in axis order."""
    obj_id: int
    """Object the prompts belong to; also its label value, 1 or more."""
    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: BoolArray | None = field(default=None, repr=False)
    """Boolean (H, W) mask, taken as the object itself; excludes points and box."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "obj_id", whole_id(self.obj_id))
        if self.obj_id < 1:
            msg = (
                "An object id is a label value of 1 or more (0 is background), "
                f"got {self.obj_id}."
            )
            raise PromptError(msg)
        where = f" on frame {self.position}" if self.position else ""
        if self.mask is not None and (self.points or self.box is not None):
            msg = (
                f"Object {self.obj_id} has a mask and clicks or a box{where}; give one "
                "or the other."
            )
            raise PromptError(msg)
        if self.mask is None and self.box is None and not self.points:
            msg = (
                f"Object {self.obj_id} has no prompt{where}; add a point, a box or a "
                "mask."
            )
            raise PromptError(msg)
