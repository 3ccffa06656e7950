"""Parts of a large image that the model sees one at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import HW

OVERLAP = 0.25
"""Part of a crop's side that it shares with the next one."""


class Crop(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the crop: `image[crop.window]`."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    def inner_sides(self, hw: HW) -> tuple[bool, bool, bool, bool]:
        """Which of top, left, bottom and right are not the image's own border."""
        return (
            self.top > 0,
            self.left > 0,
            self.top + self.height < hw[0],
            self.left + self.width < hw[1],
        )


def crops_of(hw: HW, side: int) -> tuple[Crop, ...]:
    """Cover an image evenly with squares that overlap.

    Parameters
    ----------
    hw
        Height and width of the image in pixels.
    side
        Side of the squares in pixels; less where the image is smaller.

    Returns
    -------
    tuple of Crop
        Row by row.
    """
    height, width = min(side, hw[0]), min(side, hw[1])
    return tuple(
        Crop(top, left, height, width)
        for top in _starts(hw[0], height)
        for left in _starts(hw[1], width)
    )


def _starts(length: int, side: int) -> Sequence[int]:
    step = side * (1 - OVERLAP)
    count = 1 + math.ceil((length - side) / step)
    starts: list[int] = (
        np.linspace(0, length - side, count).round().astype(int).tolist()
    )
    return starts
