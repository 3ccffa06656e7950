"""The curve and the marks of a timeline as arrays; no Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hqsam2.plugin.rows import TimelineFrame

RAMP = ((0.5, (213, 124, 57)), (0.75, (150, 148, 140)), (1.0, (74, 146, 198)))
"""Confidence with its red, green and blue: orange over grey to blue, which all readers
can tell apart, on dark and on light."""
UNKNOWN = 0.75
"""Drawn in grey: what the model said nothing of."""
BODY_OPACITY = 0.6
"""Of the area under the curve; the curve itself is opaque."""

LINE_WIDTH = 3
"""Columns that each frame needs for straight lines between frames."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameArrays:
    """One value for each frame, or each group of frames, shape (T,)."""

    area: NDArray[np.float64]
    """Pixels."""
    confidence: NDArray[np.float64]
    """0 to 1; `UNKNOWN` if the model said nothing."""
    is_segmented: NDArray[np.bool_]
    is_prompted: NDArray[np.bool_]
    """Given by the user: prompts or a mask."""
    is_locked: NDArray[np.bool_]
    is_doubtful: NDArray[np.bool_]

    @classmethod
    def of(cls, frames: Sequence[TimelineFrame]) -> FrameArrays:
        """Read frames."""
        return cls(
            np.array([frame.area for frame in frames], dtype=np.float64),
            np.array([_drawn(frame.confidence) for frame in frames], np.float64),
            np.array([frame.kind != "" for frame in frames], dtype=np.bool_),
            np.array([frame.kind in {"prompt", "mask"} for frame in frames], np.bool_),
            np.array([frame.is_locked for frame in frames], dtype=np.bool_),
            np.array([frame.doubt != "" for frame in frames], dtype=np.bool_),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The curve in columns of pixels, shape (columns,)."""

    height: NDArray[np.float64]
    """Part of the largest area, 0 to 1."""
    confidence: NDArray[np.float64]
    is_segmented: NDArray[np.bool_]


def _drawn(confidence: float | None) -> float:
    return UNKNOWN if confidence is None else confidence


def make_curve(frames: FrameArrays, columns: int) -> Curve:
    """Spread frames over columns: straight lines between frames, gaps where none is.

    No peak and no doubt is lost: frames that have but a few columns are steps, and
    where several share a column, it tells the largest area and the smallest confidence.
    """
    area, confidence, is_segmented = _bin(frames, columns)
    count = len(area)
    position = (np.arange(columns) + 0.5) * count / columns - 0.5
    left = np.clip(np.floor(position).astype(int), 0, count - 1)
    right = np.minimum(left + 1, count - 1)
    nearest = np.clip(np.rint(position).astype(int), 0, count - 1)
    is_roomy = columns >= LINE_WIDTH * count
    is_joined = is_segmented[left] & is_segmented[right] & is_roomy
    share = np.where(is_joined, np.clip(position - left, 0, 1), 0)
    start, end = np.where(is_joined, left, nearest), np.where(is_joined, right, nearest)
    height = area[start] * (1 - share) + area[end] * share
    sure = confidence[start] * (1 - share) + confidence[end] * share
    return Curve(height / max(area.max(initial=0), 1), sure, is_segmented[nearest])


def _bin(
    frames: FrameArrays, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Area, confidence and "is segmented" of at most so many groups of frames."""
    count = len(frames.area)
    area = np.where(frames.is_segmented, frames.area, 0)
    confidence = np.where(frames.is_segmented, frames.confidence, 1)
    if count <= columns:
        return area, confidence, frames.is_segmented
    starts = np.arange(columns) * count // columns
    return (
        np.maximum.reduceat(area, starts),
        np.minimum.reduceat(confidence, starts),
        np.logical_or.reduceat(frames.is_segmented, starts),
    )


def colour_confidence(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Red, green and blue (0 to 255) of confidences (n,), shape (n, 3)."""
    stops = [stop for stop, _ in RAMP]
    colours = np.array([colour for _, colour in RAMP], dtype=np.float64)
    channels = [np.interp(confidence, stops, colours[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1)


def paint_curve(curve: Curve, rows: int, thickness: int) -> NDArray[np.uint8]:
    """Picture of a curve, filled down to its base.

    Parameters
    ----------
    curve
        What to paint, a value for each column.
    rows
        Height of the picture in pixels.
    thickness
        Of the line along the curve, in pixels; also what is left of the curve where
        the object was looked for and is not there.

    Returns
    -------
    NDArray[np.uint8]
        (rows, columns, 4): red, green, blue, all multiplied with the fourth, opacity.
    """
    top = thickness + curve.height * (rows - thickness)
    top = np.where(curve.is_segmented, top, 0)
    above_base = np.arange(rows, 0, -1)[:, None] - 1
    coverage = np.clip(top - above_base, 0, 1)
    inner = np.clip(_lowest_nearby(top) - thickness - above_base, 0, 1)
    opacity = coverage - (1 - BODY_OPACITY) * np.minimum(inner, coverage)
    colours = colour_confidence(curve.confidence)
    picture = np.empty((rows, len(top), 4), dtype=np.uint8)
    picture[..., :3] = np.rint(colours * opacity[..., None])
    picture[..., 3] = np.rint(255 * opacity)
    return picture


def _lowest_nearby(top: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lowest of a column and its two neighbours: keeps a steep line in one piece."""
    padded = np.pad(top, 1, mode="edge")
    lowest: NDArray[np.float64] = np.minimum(top, np.minimum(padded[:-2], padded[2:]))
    return lowest


def find_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ranges in which flags (n,) are set."""
    steps = np.diff(flags.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))
