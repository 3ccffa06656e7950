"""Cells that fill the plane: additively weighted Voronoi cells of moving seeds.

A pixel belongs to the seed with the smallest ``|p - s| - w`` in the seed's own,
possibly elongated, metric. Walls are smooth arcs. Seeds lie in three dimensions, so
that a focal plane which sweeps through them sees cells grow, shrink and vanish.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.measure import label as connected_components

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array, F64Array, I32Array
from napari_hqsam2.synthetic.noise import sample_tile
from napari_hqsam2.synthetic.optics import Backdrop

_FAR = np.float32(1e6)


@dataclass(frozen=True)
class Tissue:
    """Seeds of N cells over T frames.

    Attributes
    ----------
    yx : (T, N, 2) float
        Seed positions in pixels.
    height : (T, N) float
        Distance of the seeds from the focal plane in pixels.
    weight : (N,) float
        Radius advantage in pixels.
    present : (T, N) bool
        False before a cell is born and after it has divided.
    elongation, angle : (N,) float
        Length over width of the cell's metric and its long axis, from x towards y.
    brightness : (N,) float
        Relative brightness.
    texel_yx : (N, 2) float
        Offset into the texture.
    cell : (N,) int32
        Index of the cell that each seed is a part of: that of its first seed.
    filled : (N,) bool
        False where the cell is a hole: drawn, but empty and not labelled.
    spacing : float
        Typical distance of two seeds in pixels.
    warp_y, warp_x : Backdrop
        Displacement of every pixel before the distances are taken: bent walls.
    grain : float
        Evolution of the texture in radians per frame.
    gap : float
        Half the width in pixels of what lies between two cells.
    """

    yx: F64Array
    height: F64Array
    weight: F64Array
    present: npt.NDArray[np.bool_]
    elongation: F64Array
    angle: F64Array
    brightness: F64Array
    texel_yx: F64Array
    cell: I32Array
    filled: npt.NDArray[np.bool_]
    spacing: float
    warp_y: Backdrop
    warp_x: Backdrop
    grain: float
    gap: float


@dataclass(frozen=True)
class Partition:
    """Which cell owns each pixel, (H, W).

    ``cell`` is the index of the cell, ``depth`` the distance to its next wall in
    pixels, ``owner`` is 1 + cell for labelled cells and 0 elsewhere, in one connected
    piece for each cell.
    """

    cell: I32Array
    depth: F32Array
    owner: I32Array


def partition(
    tissue: Tissue, frame: int, size: HW, shift: tuple[float, float]
) -> Partition:
    """Cut the plane into the cells of ``frame``; ``shift`` is the stage's (y, x)."""
    bend_y, bend_x = tissue.warp_y.at(shift), tissue.warp_x.at(shift)
    yy = np.arange(size[0], dtype=np.float32)[:, None] + bend_y
    xx = np.arange(size[1], dtype=np.float32)[None, :] + bend_x
    first, second, cell = _nearest_two(tissue, frame, size, (yy, xx))
    depth = np.minimum((second - first) / 2, np.float32(tissue.spacing))
    inside = (first < _FAR) & tissue.filled[cell] & (depth > tissue.gap)
    owner = np.where(inside, cell + 1, 0).astype(np.int32)
    return Partition(cell, depth, largest_pieces(owner))


def _nearest_two(
    tissue: Tissue, frame: int, size: HW, grid: tuple[F32Array, F32Array]
) -> tuple[F32Array, F32Array, I32Array]:
    yy, xx = grid
    margin = 2 + tissue.warp_y.strongest + tissue.warp_x.strongest
    first = np.full(size, _FAR)
    second = np.full(size, _FAR)
    cell = np.zeros(size, np.int32)
    branching = np.bincount(tissue.cell, minlength=len(tissue.cell)) > 1
    for i in np.flatnonzero(tissue.present[frame]).tolist():
        weight = float(tissue.weight[i])
        height = float(tissue.height[frame, i])
        reach = 1.25 * tissue.spacing + weight
        if abs(height) > reach:
            continue
        reach = (reach**2 - height**2) ** 0.5 * float(tissue.elongation[i]) ** 0.5
        reach += margin
        window = _box(tissue.yx[frame, i], reach, size)
        if window is None:
            continue
        dy = yy[window] - np.float32(tissue.yx[frame, i, 0])
        dx = xx[window] - np.float32(tissue.yx[frame, i, 1])
        distance = _distance(tissue, i, dy, dx, height)
        best, rival = first[window], np.maximum(distance, first[window])
        if branching[tissue.cell[i]]:
            rival[cell[window] == tissue.cell[i]] = _FAR
        np.minimum(second[window], rival, out=second[window])
        np.copyto(cell[window], tissue.cell[i], where=distance < best)
        np.minimum(best, distance, out=best)
    return first, second, cell


def _distance(
    tissue: Tissue, i: int, dy: F32Array, dx: F32Array, height: float
) -> F32Array:
    k = float(tissue.elongation[i])
    c, s = np.cos(tissue.angle[i]), np.sin(tissue.angle[i])
    square = dy * dy
    square *= np.float32(s * s / k + c * c * k)
    dy = dy * dx
    dy *= np.float32(2 * s * c * (1 / k - k))
    square += dy
    np.multiply(dx, dx, out=dy)
    dy *= np.float32(c * c / k + s * s * k)
    square += dy
    square += np.float32(height**2)
    np.sqrt(np.maximum(square, 0, out=square), out=square)
    square -= np.float32(tissue.weight[i])
    return square


def _box(yx: F64Array, reach: float, size: HW) -> tuple[slice, slice] | None:
    y0, y1 = max(int(yx[0] - reach), 0), min(int(yx[0] + reach) + 1, size[0])
    x0, x1 = max(int(yx[1] - reach), 0), min(int(yx[1] + reach) + 1, size[1])
    if y0 >= y1 or x0 >= x1:
        return None
    return slice(y0, y1), slice(x0, x1)


def moving_texture(
    tissue: Tissue, cells: Partition, frame: int, tile: F32Array, zoom: float
) -> F32Array:
    """Texture (H, W) of the cells' insides, which moves and evolves with them."""
    origin = (tissue.texel_yx - zoom * tissue.yx[frame]).astype(np.float32)
    height, width = cells.cell.shape
    k = np.float32(zoom)
    v = k * np.arange(height, dtype=np.float32)[:, None] + origin[cells.cell, 0]
    u = k * np.arange(width, dtype=np.float32)[None, :] + origin[cells.cell, 1]
    return sample_tile(tile, v, u, tissue.grain * frame)


def largest_pieces(owner: I32Array) -> I32Array:
    """Keep of each owner its largest piece, connected face to face; 2D or 3D."""
    pieces = connected_components(owner, background=0, connectivity=1)
    counts = np.bincount(pieces.ravel())
    counts[0] = 0
    piece_owner = np.zeros(len(counts), np.int32)
    piece_owner[pieces.ravel()] = owner.ravel()
    order = np.lexsort((counts, piece_owner))
    last = np.append(piece_owner[order][1:] != piece_owner[order][:-1], True)
    keep = np.zeros(len(counts), bool)
    keep[order[last]] = True
    keep[0] = False
    return np.where(keep[pieces], owner, 0).astype(np.int32)
