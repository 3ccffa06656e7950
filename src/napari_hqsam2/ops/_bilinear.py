"""Bilinear interpolation in one fixed order of float32 operations.

`F.interpolate(mode="bilinear", align_corners=False)` computes the same up to rounding,
which differs between devices and versions of torch. Here every product and every sum is
rounded on its own, in the order of `interpolate_window`, and the kernels do likewise:
all devices give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Taps:
    """Which two cells of an axis each of S pixels lies between, and how near."""

    near: Tensor
    """(S,) int64 index of the cell at or before the pixel's centre."""
    far: Tensor
    """(S,) int64 index of the next cell, at the end the same one."""
    near_weight: Tensor
    """(S,) float32."""
    far_weight: Tensor
    """(S,) float32."""

    def window(self, start: int, stop: int) -> Taps:
        """Keep the pixels from `start` to `stop`, exclusive."""
        part = slice(start, stop)
        return Taps(
            self.near[part],
            self.far[part],
            self.near_weight[part],
            self.far_weight[part],
        )


@lru_cache(maxsize=32)
def axis_taps(cells: int, pixels: int) -> Taps:
    """Taps of an axis of `cells` that is resized to `pixels`, on the host."""
    with torch.inference_mode(mode=False):
        scale = torch.tensor(float(cells)) / float(pixels)
        position = (scale * (torch.arange(pixels).float() + 0.5) - 0.5).clamp_min(0)
        near = position.long().clamp_max(cells - 1)
        far_weight = position - near
        far = (near + 1).clamp_max(cells - 1)
        return Taps(near, far, 1 - far_weight, far_weight)


def interpolate_window(grid: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Interpolate a window of a (h, w) grid: along the rows first, then down.

    Returns
    -------
    Tensor
        (pixels in `rows`, pixels in `columns`) float32.
    """
    first = int(rows.near[0])
    band = grid[first : int(rows.far[-1]) + 1].float()
    wide = band.index_select(1, columns.near) * columns.near_weight
    wide += band.index_select(1, columns.far) * columns.far_weight
    near_weight, far_weight = rows.near_weight[:, None], rows.far_weight[:, None]
    tall = wide.index_select(0, rows.near - first) * near_weight
    return tall.add_(wide.index_select(0, rows.far - first) * far_weight)
