"""Where a layer lies in the world, as plain matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

Matrix = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class LayerAffine:
    """Affine map from the data of a layer with n axes to world coordinates.

    World axes are aligned at the end: the n axes of the layer are the last n of the
    world.
    """

    matrix: Matrix
    """(n, n)"""
    offset: Matrix
    """(n,)"""

    @classmethod
    def probe(
        cls,
        to_world: Callable[[Sequence[float]], Sequence[float]],
        ndim: int,
        unit_factors: npt.ArrayLike = 1.0,
    ) -> LayerAffine:
        """Read the map off a function by moving one step along every axis.

        Parameters
        ----------
        to_world
            Takes n data coordinates, gives n coordinates in the layer's own units.
        ndim
            n, number of axes of the layer.
        unit_factors
            (n,) world units per unit of the layer.
        """
        factors = np.broadcast_to(np.asarray(unit_factors, dtype=np.float64), (ndim,))
        offset = np.asarray(to_world([0.0] * ndim), dtype=np.float64)
        steps = [to_world(list(row)) for row in np.eye(ndim)]
        columns = np.asarray(steps, dtype=np.float64).reshape(ndim, ndim) - offset
        return cls(columns.T * factors[:, np.newaxis], offset * factors)

    @property
    def ndim(self) -> int:
        """Number of axes of the layer."""
        return len(self.offset)

    def to_world(self, points: npt.ArrayLike) -> Matrix:
        """(N, n) data coordinates to (N, n) world coordinates."""
        return np.asarray(points, dtype=np.float64) @ self.matrix.T + self.offset

    def to_data(self, world: npt.ArrayLike) -> Matrix:
        """(N, n) world coordinates to (N, n) data coordinates."""
        shifted = np.asarray(world, dtype=np.float64) - self.offset
        return np.linalg.solve(self.matrix, shifted.T).T.astype(np.float64, copy=False)

    def is_close(self, other: LayerAffine, shape: Sequence[int]) -> bool:
        """Whether both maps put every pixel of an array of `shape` in one place.

        The tolerance is a hundredth of a pixel.
        """
        corners = np.vstack([np.zeros(self.ndim), np.diag(np.asarray(shape, float))])
        moved = other.to_data(self.to_world(corners)) - corners
        return bool(np.abs(moved).max() < 0.01)


def between_layers(
    points: npt.ArrayLike,
    source: LayerAffine,
    target: LayerAffine,
    elsewhere: npt.ArrayLike,
) -> Matrix:
    """Move coordinates from the data of one layer to the data of another.

    Parameters
    ----------
    points
        (N, n) coordinates in the data of the source layer.
    source, target
        Maps of both layers to the same world.
    elsewhere
        World coordinates of the frame on show, one per world axis (at least as many as
        the larger layer has). A source with fewer axes than the target has no
        coordinate on the first world axes and is taken to lie on the frame on show.

    Returns
    -------
    ndarray
        (N, m) coordinates in the data of the target layer. Axes that only the source
        has are dropped.
    """
    world_point = np.asarray(elsewhere, dtype=np.float64)
    source_world = source.to_world(
        np.asarray(points, np.float64).reshape(-1, source.ndim)
    )
    world = np.tile(world_point, (len(source_world), 1))
    world[:, len(world_point) - source.ndim :] = source_world
    return target.to_data(world[:, len(world_point) - target.ndim :])
