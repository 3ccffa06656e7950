"""The objects of a label image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import HW, BoolArray, LabelArray


@dataclass(frozen=True, slots=True, eq=False)
class LabelledObject:
    """One object, cut out of its label image."""

    value: int
    """Its label; pieces of one label share it."""
    window: tuple[slice, slice]
    """Rows and columns of a box around it."""
    part: BoolArray
    """(h, w) pixels of the object within the window."""

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.part))

    def full(self, hw: HW) -> BoolArray:
        """(H, W) mask on the whole image."""
        mask = np.zeros(hw, dtype=bool)
        mask[self.window] = self.part
        return mask


def find_objects(
    labels: LabelArray,
    *,
    split: bool = False,
    min_area: float = 1,
    max_area: float = np.inf,
) -> list[LabelledObject]:
    """Objects of an (H, W) label image in ascending order of their labels.

    Parameters
    ----------
    labels : ndarray
        (H, W) integers; 0 and below are background.
    split : bool
        Pieces of a label that do not touch (4 neighbours) are objects of their own.
    min_area, max_area : float
        In pixels, both included; objects beyond are left out.
    """
    values, ranks = _ranked(np.maximum(labels, 0))
    found = []
    for rank, window in enumerate(ndimage.find_objects(ranks), 1):
        if window is None:
            continue
        inside = ranks[window] == rank
        pieces, count = ndimage.label(inside) if split else (inside, 1)
        for piece in range(1, count + 1):
            part = pieces == piece
            if min_area <= np.count_nonzero(part) <= max_area:
                found.append(LabelledObject(int(values[rank]), window, part))
    return found


def _ranked(labels: LabelArray) -> tuple[Sequence[int] | LabelArray, LabelArray]:
    """Values by rank, 0 first, and ranks that are not much more than there are."""
    if labels.max(initial=0) <= labels.size:
        return range(int(labels.max(initial=0)) + 1), labels.astype(np.int32)
    values, ranks = np.unique(labels, return_inverse=True)
    if values[0]:
        values, ranks = np.insert(values, 0, 0), ranks + 1
    return values, ranks.reshape(labels.shape)


def spread_objects(
    objects: list[LabelledObject], most: int | None
) -> list[LabelledObject]:
    """At most `most` objects, evenly spread over the list."""
    if most is None or len(objects) <= most:
        return objects
    return [objects[i] for i in np.linspace(0, len(objects) - 1, most).astype(int)]
