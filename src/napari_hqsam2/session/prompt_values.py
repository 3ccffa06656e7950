"""What users give as prompts, checked and in one form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.draw import polygon2mask

from napari_hqsam2.errors import PromptError
from napari_hqsam2.prompts import BoxPrompt, boolean_mask
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import HW, BoolArray
    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.geometry import Coordinates

SCRIBBLE_POINTS = 8
"""Most points that are taken along a scribble."""


def point_rows(points: npt.ArrayLike, axes: StackAxes) -> Coordinates:
    """(P, D + 2) points of a stack with D leading axes.

    Raises
    ------
    PromptError
        The shape is another one, or a number is not finite.
    """
    rows = np.atleast_2d(np.asarray(points, dtype=np.float64))
    columns = len(axes.leading) + 2
    is_finite = bool(np.isfinite(rows).all())
    if rows.ndim != 2 or rows.shape[1] != columns or not is_finite:
        names, more = [*axes.leading.lower(), "y", "x"], _unless(is_finite)
        msg = (
            f"Points have shape {rows.shape}{more}; give (P, {columns}) finite "
            f"numbers: {', '.join(names)}."
        )
        raise PromptError(msg)
    return rows


def _unless(is_finite: bool) -> str:
    return "" if is_finite else " with NaN or infinity"


def polygon_area(vertices: npt.ArrayLike, hw: HW) -> tuple[Coordinates, BoolArray]:
    """(V, 2) corners of a polygon, and the (H, W) pixels inside.

    Raises
    ------
    PromptError
        There are fewer than three corners, one is not finite, or no pixel is inside.
    """
    corners = np.asarray(vertices, dtype=np.float64)
    is_listed = corners.ndim == 2 and corners.shape[1] == 2 and len(corners) >= 3
    is_finite = bool(np.isfinite(corners).all())
    if not (is_listed and is_finite):
        msg = (
            "A polygon has three finite corners or more, (V, 2); got shape "
            f"{corners.shape}{_unless(is_finite)}."
        )
        raise PromptError(msg)
    area: BoolArray = polygon2mask(hw, corners)
    if not area.any():
        (top, left), (bottom, right) = corners.min(axis=0), corners.max(axis=0)
        msg = (
            f"The polygon, with rows {top:g} to {bottom:g} and columns {left:g} to "
            f"{right:g}, holds no pixel of the frame of {hw[0]} x {hw[1]} pixels. Draw "
            "it larger, or inside."
        )
        raise PromptError(msg)
    return corners, area


def plain_box(box: BoxPrompt | Sequence[float]) -> BoxPrompt:
    """A box of plain numbers, whose text is Python.

    Raises
    ------
    PromptError
        It has not four corners, or no area.
    """
    if isinstance(box, BoxPrompt):
        box = (box.y0, box.x0, box.y1, box.x1)
    if len(box) != 4:
        msg = f"A box is (y0, x0, y1, x1), got {len(box)} numbers."
        raise PromptError(msg)
    return BoxPrompt(*map(float, box))


def packed_mask(mask: npt.ArrayLike | PackedMask | None, hw: HW) -> PackedMask | None:
    """A mask prompt for (H, W) frames; None stays None.

    Raises
    ------
    PromptError
        It has another shape, or no pixel.
    """
    if mask is None:
        return None
    if not isinstance(mask, PackedMask):
        pixels = boolean_mask(mask)
        if pixels.ndim != 2:
            msg = f"A mask prompt is 2-D, got shape {pixels.shape}."
            raise PromptError(msg)
        mask = PackedMask.of(pixels)
    if mask.hw != hw:
        msg = (
            f"The mask has shape {mask.hw}, the frames {hw}; give a mask of the "
            "frames' own height and width."
        )
        raise PromptError(msg)
    if not mask:
        msg = "The mask has no pixel; paint the object, or clear its prompts."
        raise PromptError(msg)
    return mask


def mask_score(score: float) -> float:
    """A predicted IoU as a plain number.

    Raises
    ------
    PromptError
        It is not from 0 to 1.
    """
    number = float(score)
    if not 0 <= number <= 1:
        msg = (
            f"The score of a mask is a predicted IoU from 0 to 1, got {number:g}. "
            "Leave it out for a mask that no model has made."
        )
        raise PromptError(msg)
    return number


def along(path: npt.ArrayLike) -> Coordinates:
    """(P, 2) places, evenly spread along a polyline of (V, 2) vertices.

    Raises
    ------
    PromptError
        There is no vertex.
    """
    vertices = np.asarray(path, dtype=np.float64).reshape(-1, 2)
    if not len(vertices):
        msg = "A scribble needs a vertex at least."
        raise PromptError(msg)
    lengths = np.linalg.norm(np.diff(vertices, axis=0), axis=1)
    travelled = np.append(0.0, lengths.cumsum())
    number = min(SCRIBBLE_POINTS, 2 * len(vertices) - 1)
    steps = np.linspace(0.0, travelled[-1], number)
    columns = [np.interp(steps, travelled, vertices[:, k]) for k in (0, 1)]
    return np.stack(columns, axis=1)
