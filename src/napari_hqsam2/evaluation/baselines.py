"""What can be had without a network, to print beside a model's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, BoolArray, FloatArray, LabelArray

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
SEED_DISTANCE = 5
"""Least distance in pixels between two seeds of the watershed."""


def otsu_watershed(rgb: FloatArray) -> LabelArray:
    """Segment a whole image: Otsu's threshold, then watershed of the distances.

    Parameters
    ----------
    rgb : ndarray
        (H, W, 3) from 0 to 1. The rarer side of the threshold is the foreground.

    Returns
    -------
    ndarray
        (H, W) labels, 0 is background.
    """
    grey = gaussian(rgb @ LUMA, 1)
    if grey.min() == grey.max():
        return np.zeros(grey.shape, dtype=np.int32)
    inside = grey > threshold_otsu(grey)
    if inside.mean() > 0.5:
        inside = ~inside
    distance = ndimage.distance_transform_edt(inside)
    peaks = peak_local_max(
        distance, min_distance=SEED_DISTANCE, labels=inside.astype(int)
    )
    seeds = np.zeros(grey.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels: LabelArray = watershed(-distance, seeds, mask=inside)
    return labels


def look_up(labels: LabelArray, row: int, column: int) -> BoolArray:
    """(H, W) mask of the label under a click; empty on background."""
    value = labels[row, column]
    if value == 0:
        return np.zeros(labels.shape, dtype=bool)
    mask: BoolArray = labels == value
    return mask


def box_mask(hw: HW, box: tuple[int, int, int, int]) -> BoolArray:
    """(H, W) mask of a whole box (x0, y0, x1, y1), extreme pixels included."""
    x0, y0, x1, y1 = box
    mask = np.zeros(hw, dtype=bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def ellipse_mask(hw: HW, box: tuple[int, int, int, int]) -> BoolArray:
    """(H, W) mask of the ellipse that fills a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    y, x = np.ogrid[: hw[0], : hw[1]]
    v = (y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)
    u = (x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2)
    mask: BoolArray = v**2 + u**2 <= 1
    return mask
