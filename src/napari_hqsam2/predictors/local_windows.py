"""Where local tracking looks: windows of the grid that follow each object.

Everything is counted in cells of the feature grid. None instead of a window is the
whole grid.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_hqsam2._types import HW

SIDES = (8, 12, 16, 20, 24, 32, 48)
"""Sides of windows. Few, so that objects share batches."""
LEAST_MARGIN = 3
"""Cells between an object and the border of a new window."""
RELATIVE_MARGIN = 0.5
"""The same as part of the longer side of the object's box, where that is more."""
WHOLE_GRID = 0.75
"""A window of this part of the grid's shorter side saves nothing worth an error."""


@dataclass(frozen=True, slots=True)
class CellBox:
    """Cells that an object covers; half-open."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def longer_side(self) -> int:
        """The larger one of height and width."""
        return max(self.bottom - self.top, self.right - self.left)


@dataclass(frozen=True, slots=True)
class Window:
    """A square part of the grid."""

    top: int
    left: int
    side: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where an object was looked for on a frame, and where it was."""

    window: Window | None
    """The part of the grid that was searched and is remembered; None for all of it."""
    box: CellBox | None
    """Cells of its mask; None if it was out of view."""


def window_around(box: CellBox, grid: HW, least_side: int = 0) -> Window | None:
    """Window around an object, with room to move and to grow.

    Parameters
    ----------
    box : CellBox
        The object, inside the grid.
    grid : tuple of int
        (h, w).
    least_side : int
        The window's side is at least this one.
    """
    margin = max(LEAST_MARGIN, round(RELATIVE_MARGIN * box.longer_side))
    side = usable_side(max(box.longer_side + 2 * margin, least_side), grid)
    if side is None:
        return None
    centre = ((box.top + box.bottom) / 2, (box.left + box.right) / 2)
    return _centred(centre, side, grid)


def usable_side(least: int, grid: HW) -> int | None:
    """Smallest side from `least` on, or None if that is nearly the whole grid."""
    index = bisect_left(SIDES, least)
    if index == len(SIDES) or SIDES[index] >= WHOLE_GRID * min(grid):
        return None
    return SIDES[index]


def grown(window: Window, grid: HW, steps: int = 1) -> Window | None:
    """The window with the next larger side, or the one after, about its centre."""
    index = SIDES.index(window.side) + steps
    side = usable_side(SIDES[index], grid) if index < len(SIDES) else None
    if side is None:
        return None
    centre = (window.top + window.side / 2, window.left + window.side / 2)
    return _centred(centre, side, grid)


def next_window(last: Sighting | None, gap: int, grid: HW) -> Window | None:
    """Where to look for an object.

    Parameters
    ----------
    last : Sighting or None
        The nearest one in time that is remembered, if any.
    gap : int
        Frames from there to here, at least 1; each one after the first widens the
        window by a step.
    grid : tuple of int
        (h, w).

    Notes
    -----
    A window keeps a side that is one step larger than it need be, lest an object that
    pulsates leave its batch on every other frame. An object out of view is looked for
    where it was last, in windows that grow until they are the whole grid.
    """
    if last is None:
        return None
    if last.box is None:
        return None if last.window is None else grown(last.window, grid, gap)
    window = window_around(last.box, grid)
    if window is None:
        return None
    if last.window is not None and last.window.side > window.side:
        index = SIDES.index(window.side) + 1
        if last.window.side == SIDES[index]:
            window = window_around(last.box, grid, least_side=SIDES[index])
    return window if window is None or gap == 1 else grown(window, grid, gap - 1)


def touches_border(box: CellBox, window: Window, grid: HW) -> bool:
    """Whether an object reaches a border of its window that is not the image's."""
    bottom, right = window.top + window.side, window.left + window.side
    return (
        (window.top > 0 and box.top <= window.top)
        or (window.left > 0 and box.left <= window.left)
        or (bottom < grid[0] and box.bottom >= bottom)
        or (right < grid[1] and box.right >= right)
    )


def wider_window(box: CellBox, window: Window, grid: HW) -> Window | None:
    """The next larger window, about an object that touched the border of its own."""
    index = SIDES.index(window.side) + 1
    if index == len(SIDES):
        return None
    return window_around(box, grid, least_side=SIDES[index])


def _centred(centre: tuple[float, float], side: int, grid: HW) -> Window:
    top, left = (
        min(max(round(middle - side / 2), 0), length - side)
        for middle, length in zip(centre, grid, strict=True)
    )
    return Window(top, left, side)
