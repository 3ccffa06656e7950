"""Clicks and boxes as an annotator who knows the truth would give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_hqsam2.segmentation.masks import tight_window

if TYPE_CHECKING:
    from napari_hqsam2._types import BoolArray


def _deepest(mask: BoolArray) -> tuple[float, int, int]:
    """Depth, row and column of the innermost pixel of a mask; depth 0 if empty."""
    rows, columns = tight_window(mask)
    if rows.start == rows.stop:
        return 0.0, 0, 0
    distance = ndimage.distance_transform_edt(np.pad(mask[rows, columns], 1))
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    return (
        float(distance[row, column]),
        rows.start + int(row) - 1,
        columns.start + int(column) - 1,
    )


def interior_point(mask: BoolArray) -> tuple[int, int]:
    """(row, column) of the pixel of a mask that is farthest from its outline.

    Parameters
    ----------
    mask : ndarray
        (H, W) bool with at least one pixel; beyond its border counts as outside.
    """
    _, row, column = _deepest(mask)
    return row, column


def largest_error(prediction: BoolArray, truth: BoolArray) -> tuple[int, int, bool]:
    """Next click of an annotator who corrects the largest error.

    Parameters
    ----------
    prediction, truth : ndarray
        (H, W) bool.

    Returns
    -------
    row, column : int
        Innermost pixel of what is missing or too much, whichever is deeper.
    positive : bool
        Whether the pixel is missing. Where nothing is wrong, the innermost pixel of
        the object, positive.
    """
    missing = _deepest(truth & ~prediction)
    excess = _deepest(prediction & ~truth)
    if not (missing[0] or excess[0]):
        return *interior_point(truth), True
    positive = missing[0] >= excess[0]
    _, row, column = missing if positive else excess
    return row, column, positive


def box_of(mask: BoolArray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the extreme pixels of a mask with at least one pixel."""
    rows, columns = tight_window(mask)
    return columns.start, rows.start, columns.stop - 1, rows.stop - 1
