"""Overlap of masks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, BoolArray

RIM_WIDTH = 2
"""Width in pixels of the rim in the figures of the built-in model."""
BOUNDARY_SHARE = 0.02
"""Width of the rim as a share of the image's diagonal (Cheng et al., 2021)."""


def iou(guess: BoolArray, truth: BoolArray) -> float:
    """IoU of two masks of one shape; 1 for two empty ones."""
    union = np.count_nonzero(guess | truth)
    return np.count_nonzero(guess & truth) / union if union else 1.0


def boundary_width(hw: HW, share: float = BOUNDARY_SHARE) -> int:
    """Width in pixels of the rim for an (H, W) image; at least 1."""
    return max(round(share * math.hypot(*hw)), 1)


def rim(mask: BoolArray, width: int) -> BoolArray:
    """Pixels of an (H, W) mask at most `width` pixels from what is outside of it.

    Distances are those of a chessboard, as in the reference implementation of boundary
    IoU, which erodes with a 3 x 3 square; beyond the border of the image is outside.
    """
    size = 2 * width + 1
    core = ndimage.minimum_filter(mask, size=size, mode="constant", cval=False)
    result: BoolArray = mask & ~core
    return result


def boundary_iou(guess: BoolArray, truth: BoolArray, width: int = RIM_WIDTH) -> float:
    """IoU of the inner rims of two (H, W) masks; 1 for two empty masks.

    Parameters
    ----------
    guess, truth : ndarray
        (H, W) bool.
    width : int
        Of the rims in pixels, see `rim` and `boundary_width`.

    Notes
    -----
    Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation
    Evaluation", CVPR 2021.
    """
    both = guess | truth
    rows, columns = np.flatnonzero(both.any(1)), np.flatnonzero(both.any(0))
    if not len(rows):
        return 1.0
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return iou(rim(guess[window], width), rim(truth[window], width))


@dataclass
class Scores:
    """IoU and boundary IoU of every object by kind of prompt."""

    iou: dict[str, list[float]] = field(default_factory=dict)
    boundary: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, guess: BoolArray, truth: BoolArray) -> None:
        """Add one object."""
        self.iou.setdefault(name, []).append(iou(guess, truth))
        self.boundary.setdefault(name, []).append(boundary_iou(guess, truth))

    def means(self) -> dict[str, float]:
        """Mean IoU, and mean boundary IoU, of every kind of prompt."""
        result = {name: float(np.mean(values)) for name, values in self.iou.items()}
        return result | {
            f"{name}_boundary": float(np.mean(v)) for name, v in self.boundary.items()
        }
