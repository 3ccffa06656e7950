"""Overlap of masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from napari_hqsam2._types import BoolArray

RIM_WIDTH = 2


def iou(guess: BoolArray, truth: BoolArray) -> float:
    """IoU of two masks; 1 for two empty ones."""
    union = np.count_nonzero(guess | truth)
    return np.count_nonzero(guess & truth) / union if union else 1.0


def _rim(mask: BoolArray, width: int) -> BoolArray:
    padded = np.pad(mask, 1)
    inner = ndimage.binary_erosion(padded, iterations=width)
    rim: BoolArray = (padded & ~inner)[1:-1, 1:-1]
    return rim


def boundary_iou(guess: BoolArray, truth: BoolArray, width: int = RIM_WIDTH) -> float:
    """IoU of the inner rims, `width` pixels wide; 1 for two empty masks."""
    rows, columns = np.nonzero(guess | truth)
    if not len(rows):
        return 1.0
    window = (
        slice(rows.min(), rows.max() + 1),
        slice(columns.min(), columns.max() + 1),
    )
    return iou(_rim(guess[window], width), _rim(truth[window], width))


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
