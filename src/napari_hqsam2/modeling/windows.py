"""Square windows on the feature grid, one for each object that is tracked locally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GridWindows:
    """Square windows of N objects on the feature grid; all of one side.

    Raises
    ------
    ValueError
        If a window cannot fit into the grid. That the windows lie inside is the
        caller's matter: to look would stop an accelerator.
    """

    top: Tensor
    """(N,) int64 rows, 0 to h - side."""
    left: Tensor
    """(N,) int64 columns, 0 to w - side."""
    side: int
    """Cells along both axes."""
    grid: tuple[int, int]
    """(h, w) of the whole grid."""

    def __post_init__(self) -> None:
        """Check what needs no look at the tensors' values."""
        if not 0 < self.side <= min(self.grid):
            msg = (
                f"A window of {self.side} x {self.side} cells does not fit into a grid "
                f"of {self.grid[0]} x {self.grid[1]}; sides go from 1 to the grid's "
                "shorter side."
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return the number of windows, N."""
        return len(self.top)

    def __getitem__(self, rows: slice | list[int] | Tensor) -> GridWindows:
        """Windows of some objects."""
        return GridWindows(self.top[rows], self.left[rows], self.side, self.grid)

    def index(self) -> Tensor:
        """Flat cells of the grid, (N, side * side) int64, row by row."""
        return self._pixels(1)

    def crop(self, maps: Tensor) -> Tensor:
        """Cut the windows out of maps of the whole grid.

        Parameters
        ----------
        maps : Tensor
            (N, C, k * h, k * w) or (1, C, k * h, k * w); k pixels for each cell.

        Returns
        -------
        Tensor
            (N, C, k * side, k * side).
        """
        scale = self._scale(maps, self.grid[0])
        pixels = self._pixels(scale)[:, None].expand(-1, maps.shape[1], -1)
        rows = maps.flatten(2).expand(len(self), -1, -1)
        length = scale * self.side
        return rows.gather(2, pixels).unflatten(2, (length, length))

    def paste(self, maps: Tensor, fill: float) -> Tensor:
        """Put maps of the windows back into the whole grid.

        Parameters
        ----------
        maps : Tensor
            (N, M, k * side, k * side).
        fill : float
            Value outside the windows.

        Returns
        -------
        Tensor
            (N, M, k * h, k * w).
        """
        scale = self._scale(maps, self.side)
        height, width = (scale * length for length in self.grid)
        out = maps.new_full((*maps.shape[:2], height * width), fill)
        pixels = self._pixels(scale)[:, None].expand(-1, maps.shape[1], -1)
        out = out.scatter(2, pixels, maps.flatten(2))
        return out.unflatten(2, (height, width))

    def _pixels(self, scale: int) -> Tensor:
        """(N, (scale * side)^2) flat pixels of a map with `scale` pixels for a cell."""
        steps = torch.arange(scale * self.side, device=self.top.device)
        rows = scale * self.top[:, None] + steps
        columns = scale * self.left[:, None] + steps
        flat = rows[:, :, None] * (scale * self.grid[1]) + columns[:, None]
        return flat.flatten(1)

    @staticmethod
    def _scale(maps: Tensor, cells: int) -> int:
        height = maps.shape[-2]
        if height % cells:
            msg = (
                f"Maps {height} pixels high do not lie on {cells} cells; the height "
                f"must be a multiple of {cells}."
            )
            raise ValueError(msg)
        return height // cells


def at_cells(tokens: Tensor, cells: Tensor) -> Tensor:
    """Tokens of some cells of each object.

    Parameters
    ----------
    tokens : Tensor
        (N, L, C), or (1, L, C) for all objects.
    cells : Tensor
        (N, K) indices into L.

    Returns
    -------
    Tensor
        (N, K, C).
    """
    if len(tokens) == 1:
        return tokens[0][cells]
    return tokens.gather(1, cells[..., None].expand(-1, -1, tokens.shape[-1]))
