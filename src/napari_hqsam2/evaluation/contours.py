"""J and F of video object segmentation, as DAVIS defines them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_hqsam2.segmentation.masks import tight_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import HW, BoolArray

TOLERANCE_SHARE = 0.008
"""Distance at which contours still match, as a share of the image's diagonal."""
GOOD = 0.5
"""Score above which a frame counts for the recall."""
QUARTERS = 4
"""Parts of a sequence whose first and last are compared for the decay."""


def contour(mask: BoolArray) -> BoolArray:
    """Pixels of an (H, W) mask that differ from the right, lower or diagonal one."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (
        (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])
    )


def tolerance(hw: HW) -> int:
    """Distance in pixels at which contours of an (H, W) image still match."""
    return math.ceil(TOLERANCE_SHARE * math.hypot(*hw))


def contour_f(guess: BoolArray, truth: BoolArray, radius: int | None = None) -> float:
    """F: how well the contours of two masks agree.

    Parameters
    ----------
    guess, truth : ndarray
        (H, W) bool.
    radius : int, optional
        Distance in pixels up to which a contour pixel is found; `tolerance` if None.

    Returns
    -------
    float
        Harmonic mean of precision and recall; 1 for two masks without contour, 0 if
        one of them has none.

    Notes
    -----
    Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation", CVPR 2016; pixels are matched by dilation as in its code, not by an
    assignment.
    """
    height, width = truth.shape
    radius = tolerance((height, width)) if radius is None else radius
    found, real = contour(guess), contour(truth)
    if not (found.any() and real.any()):
        return float(not (found.any() or real.any()))
    window = tight_window(found | real)
    found, real = found[window], real[window]
    precision = np.count_nonzero(found & _near(real, radius)) / np.count_nonzero(found)
    recall = np.count_nonzero(real & _near(found, radius)) / np.count_nonzero(real)
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def _near(pixels: BoolArray, radius: int) -> BoolArray:
    near: BoolArray = ndimage.distance_transform_edt(~pixels) <= radius
    return near


@dataclass(frozen=True, slots=True)
class Statistics:
    """A score over the frames of a sequence; NaN without frames."""

    mean: float
    recall: float
    """Share of frames with a score above one half."""
    decay: float
    """Mean of the first quarter of the frames less that of the last."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistics:
        """Statistics of the scores of consecutive frames."""
        if not len(values):
            return cls(math.nan, math.nan, math.nan)
        scores = np.asarray(values, dtype=np.float64)
        # quarters share their ends, and halves are rounded up, as in DAVIS's code
        ends = np.linspace(1, len(scores), QUARTERS + 1)
        ends = np.floor(ends + 0.5 + 1e-10).astype(int) - 1
        first, last = scores[: ends[1] + 1], scores[ends[-2] :]
        return cls(
            float(scores.mean()),
            float((scores > GOOD).mean()),
            float(first.mean() - last.mean()),
        )
