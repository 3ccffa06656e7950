"""Frames that the model sees little of, or that hold what is no number: said once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.predictors.frame_source import read_part, read_seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2._types import HW, AnyArray, Limits
    from napari_hqsam2.predictors.frame_source import FrameSource

logger = logging.getLogger(__name__)

SAMPLED = 32
"""Rows and columns of a frame that are looked at first."""

Position = tuple[int, ...]


def oddity(frame: AnyArray, limits: Limits | None = None) -> str:
    """What is odd about a frame, as the end of a sentence; empty if nothing is.

    Parameters
    ----------
    frame
        (H, W) or (H, W, C), of real numbers.
    limits
        Intensities that are shown black and white; None if they are not fixed.

    Examples
    --------
    >>> oddity(np.zeros((2, 2)))
    'has the value 0 everywhere: the model sees one plain colour'
    """
    rows, columns = (max(1, length // SAMPLED) for length in frame.shape[:2])
    some = frame[::rows, ::columns]
    if frame.dtype.kind != "f" and _is_varied(some, limits):
        return ""
    low, high = frame.min(), frame.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return _without_numbers(frame)
    if low == high:
        return f"has the value {low:g} everywhere: the model sees one plain colour"
    return "" if limits is None else _outside(low, high, limits)


def _is_varied(some: AnyArray, limits: Limits | None) -> bool:
    """Whether a few of its pixels tell already that a frame is not odd."""
    low, high = some.min(), some.max()
    return bool(low < high) and (limits is None or not _outside(low, high, limits))


def _without_numbers(frame: AnyArray) -> str:
    count = frame.size - int(np.count_nonzero(np.isfinite(frame)))
    if count == frame.size:
        return "holds no number, only NaN or infinity: the model sees nothing"
    return (
        f"holds NaN or infinity at {count:,} places, which the model sees black or, "
        "+infinity, white"
    )


def _outside(low: float, high: float, limits: Limits) -> str:
    """Words for values that all lie on one side of the limits."""
    black, white = limits
    if high > black and low < white:
        return ""
    where, shown = ("darker", "black") if high <= black else ("brighter", "white")
    return (
        f"is {where} everywhere than the contrast limits {black:g} to {white:g}: the "
        f"model sees it {shown}"
    )


@dataclass(slots=True, eq=False)
class Oddities:
    """What was found in the frames of a stack; the first one is logged."""

    is_told: bool = False
    _found: dict[Position, str] = field(default_factory=dict)

    def of(self, position: Position) -> str:
        """As `oddity`, of a frame that was read."""
        return self._found.get(position, "")

    def clear(self) -> None:
        """Forget what was found, as frames are shown in another way."""
        self._found.clear()

    def look(
        self, position: Position, name: str, frame: AnyArray, limits: Limits | None
    ) -> None:
        """Look at a frame that was read; `name` is what the log calls it."""
        found = oddity(frame, limits)
        if found:
            self._found[position] = found
        if found and not self.is_told:
            self.is_told = True
            logger.warning("%s %s.", name, found)


@dataclass(frozen=True, slots=True)
class WatchedSource:
    """A source that somebody looks at whole frames of; a FrameSource."""

    source: FrameSource
    look: Callable[[int, AnyArray], None]
    """Called with the number of a frame and what was read."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self.source.hw

    def read(self, index: int) -> AnyArray:
        """Read frame `index`."""
        frame = self.source.read(index)
        self.look(index, frame)
        return frame

    def read_part(self, index: int, window: tuple[slice, slice]) -> AnyArray:
        """Read a window of frame `index`, which says nothing of the frame."""
        return read_part(self.source, index, window)

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        """Read what is shown of frame `index`."""
        frame = read_seen(self.source, index, window, side)
        if window is None:
            self.look(index, frame)
        return frame
