"""The only place where coordinates change their order or their space.

Data space ``(y, x)`` is napari's: pixel (row, column) has its centre at that very
coordinate, so an image of H rows reaches from -0.5 to H - 0.5. SAM space ``(x, y)`` is
what the predictors take: they scale a coordinate p to ``p * S / W`` on the network
input of S pixels and look half an input pixel further. A data coordinate x, which lies
at x + 0.5 from the left edge of the image, is therefore ``x + 0.5 - 0.5 * W / S`` in
SAM space.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import PromptError
from napari_hqsam2.prompts import BoxPrompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import HW, BoolArray
    from napari_hqsam2.prompts import FramePrompts, PointPrompt

Coordinates = np.ndarray[Any, np.dtype[np.float64]]

SNAP = 1e-3
"""Pixels by which an edge may miss a pixel centre and still lie on it: what rounding
leaves of edges that went through the transforms of layers."""

_UNITS_HINT = (
    "Coordinates are pixel indices of the image, not world units; move or delete it."
)


def data_yx_to_sam_xy(yx: npt.ArrayLike, hw: HW, input_size: int) -> Coordinates:
    """Turn data coordinates into the predictors' coordinates.

    Parameters
    ----------
    yx
        (N, 2) rows and columns in data space.
    hw
        Height and width of the image in pixels.
    input_size
        Side S of the square network input, `HqSam2.image_size`.

    Returns
    -------
    ndarray
        (N, 2) float64 (x, y) in pixels as `SAM2ImagePredictor.predict` takes them.
    """
    return _as_pairs(yx)[:, ::-1] + _sam_offset_xy(hw, input_size)


def sam_xy_to_data_yx(xy: npt.ArrayLike, hw: HW, input_size: int) -> Coordinates:
    """Undo `data_yx_to_sam_xy`: (N, 2) SAM (x, y) to (N, 2) data (y, x)."""
    return (_as_pairs(xy) - _sam_offset_xy(hw, input_size))[:, ::-1]


def box_to_sam_xyxy(box: BoxPrompt, hw: HW, input_size: int) -> Coordinates:
    """Turn a half-open box into SAM's (x0, y0, x1, y1).

    SAM's corners lie on the centres of the outermost pixels of the box, as in its
    training, where boxes are the smallest and largest pixel index of a mask.

    Returns
    -------
    ndarray
        (4,) float64.

    Raises
    ------
    PromptError
        The box lies between pixel centres and so holds no pixel.
    """
    top, left, bottom, right = box_pixels(box)
    corners_yx = [(top, left), (bottom - 1, right - 1)]
    return data_yx_to_sam_xy(corners_yx, hw, input_size).reshape(4)


def sam_xyxy_to_box(xyxy: npt.ArrayLike, hw: HW, input_size: int) -> BoxPrompt:
    """Undo `box_to_sam_xyxy`: (4,) corners on pixel centres to a half-open box."""
    corners_xy = np.asarray(xyxy, dtype=np.float64).reshape(2, 2)
    (y0, x0), (y1, x1) = sam_xy_to_data_yx(corners_xy, hw, input_size)
    return BoxPrompt(float(y0), float(x0), float(y1) + 1, float(x1) + 1)


def rectangle_to_box(vertices_yx: npt.ArrayLike) -> BoxPrompt:
    """Axis-aligned box around the corners of a drawn rectangle.

    A pixel belongs to the box if its centre does: a rectangle drawn along pixel edges,
    from 2.5 to 7.5, and one given by half-open pixel indices, from 3 to 8, hold the
    same pixels.

    Parameters
    ----------
    vertices_yx
        (V, 2) corners in data space, in any order; V >= 2.

    Raises
    ------
    PromptError
        Fewer than two corners, corners that are not finite, or no area.
    """
    vertices = _as_pairs(vertices_yx)
    if len(vertices) < 2:
        msg = f"A rectangle needs at least two opposite corners, got {len(vertices)}."
        raise PromptError(msg)
    (y0, x0), (y1, x1) = vertices.min(axis=0), vertices.max(axis=0)
    return BoxPrompt(float(y0), float(x0), float(y1), float(x1))


def box_to_rectangle(box: BoxPrompt) -> Coordinates:
    """(4, 2) corners (y, x) of a box in the vertex order of a napari rectangle."""
    y0, x0, y1, x1 = box.y0, box.x0, box.y1, box.x1
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)], dtype=np.float64)


def box_pixels(box: BoxPrompt) -> tuple[int, int, int, int]:
    """Half-open integer box (top, left, bottom, right) of the pixels inside `box`.

    Raises
    ------
    PromptError
        No pixel centre lies inside the box.
    """
    top, left, bottom, right = (
        math.ceil(edge - SNAP) for edge in (box.y0, box.x0, box.y1, box.x1)
    )
    if bottom <= top or right <= left:
        msg = (
            f"The box {_box_text(box)} lies between pixel centres and holds no pixel; "
            "draw it at least one pixel large."
        )
        raise PromptError(msg)
    return top, left, bottom, right


def mask_to_box(mask: BoolArray) -> BoxPrompt | None:
    """Smallest box around the True pixels of an (H, W) mask; None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return BoxPrompt(
        float(rows[0]), float(columns[0]), float(rows[-1]) + 1, float(columns[-1]) + 1
    )


def to_window(prompt: FramePrompts, window: tuple[slice, slice]) -> FramePrompts:
    """Prompts on an image as those on a part of it, rows and columns with a start."""
    rows, columns = window
    top, left = rows.start, columns.start
    box, mask = prompt.box, prompt.mask
    points = tuple(
        replace(point, y=point.y - top, x=point.x - left) for point in prompt.points
    )
    if box is not None:
        box = BoxPrompt(box.y0 - top, box.x0 - left, box.y1 - top, box.x1 - left)
    if mask is not None:
        mask = mask[rows, columns]
    return replace(prompt, points=points, box=box, mask=mask)


def check_point(point: PointPrompt, hw: HW) -> None:
    """Refuse a point that lies outside the pixels of the image.

    Raises
    ------
    PromptError
        The point is more than half a pixel beyond the outermost pixel centres.
    """
    height, width = hw
    if -0.5 <= point.y <= height - 0.5 and -0.5 <= point.x <= width - 0.5:
        return
    msg = (
        f"The point (y, x) = ({point.y:g}, {point.x:g}) lies outside the image of "
        f"{_size_text(hw)}. {_UNITS_HINT}"
    )
    raise PromptError(msg)


def clip_box(box: BoxPrompt, hw: HW) -> BoxPrompt:
    """Cut a box to the image.

    Raises
    ------
    PromptError
        The box holds no pixel of the image.
    """
    height, width = hw
    top, left, bottom, right = box_pixels(box)
    if bottom <= 0 or right <= 0 or top >= height or left >= width:
        msg = (
            f"The box {_box_text(box)} lies outside the image of {_size_text(hw)}. "
            f"{_UNITS_HINT}"
        )
        raise PromptError(msg)
    return BoxPrompt(
        max(box.y0, 0.0),
        max(box.x0, 0.0),
        min(box.y1, float(height)),
        min(box.x1, float(width)),
    )


def _sam_offset_xy(hw: HW, input_size: int) -> Coordinates:
    height, width = hw
    return 0.5 - 0.5 * np.array([width, height], dtype=np.float64) / input_size


def _as_pairs(coordinates: npt.ArrayLike | Sequence[Any]) -> Coordinates:
    pairs = np.asarray(coordinates, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        msg = f"Coordinates must have shape (N, 2), got {pairs.shape}."
        raise PromptError(msg)
    return pairs


def _size_text(hw: HW) -> str:
    height, width = hw
    return (
        f"{height} x {width} pixels (rows 0 to {height - 1}, columns 0 to {width - 1})"
    )


def _box_text(box: BoxPrompt) -> str:
    return f"(y0, x0, y1, x1) = ({box.y0:g}, {box.x0:g}, {box.y1:g}, {box.x1:g})"
