"""Smooth random fields and periodic texture tiles, the raw material of every scene."""

from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array

TextureKind: TypeAlias = Literal["cloud", "chromatin", "grain", "spots", "fibres"]

TILE = 256
BLANK: F32Array = np.zeros((TILE, TILE), np.float32)
"""Tile of a scene in which nothing has a texture."""
_FAR_TEXEL = 97 * TILE + 131
_BSPLINE_STD = 0.479  # of a cubic B-spline surface through unit white noise


@lru_cache(maxsize=256)
def _taps(
    length: int, cell: float, start: float
) -> tuple[npt.NDArray[np.intp], F32Array]:
    """First lattice node and four cubic B-spline weights of every sample."""
    position = (np.arange(length, dtype=np.float64) + start) / cell
    node = np.floor(position).astype(np.intp)
    t = position - node
    weights = np.stack(
        [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        ]
    )
    return node, (weights / 6).astype(np.float32)


def _spread(lattice: F32Array, length: int, cell: float, start: float) -> F32Array:
    """Interpolate ``lattice`` along its first axis to ``length`` samples."""
    node, weights = _taps(length, cell, start)
    out = weights[0][:, None] * lattice[node]
    for tap in range(1, 4):
        out += weights[tap][:, None] * lattice[node + tap]
    return out


def upsample(lattice: F32Array, size: HW, cell: float, start: float = 0.0) -> F32Array:
    """Cubic B-spline through a lattice whose nodes are ``cell`` pixels apart.

    Parameters
    ----------
    lattice : (h, w) float32
        At least ``(size + start) / cell + 4`` nodes along each axis.
    size : (H, W)
        Size of the result in pixels.
    cell : float
        Distance of two nodes in pixels.
    start : float
        How many pixels before the first one node 1 lies.

    Returns
    -------
    (H, W) float32
    """
    rows = np.ascontiguousarray(_spread(lattice, size[0], cell, start).T)
    return np.ascontiguousarray(_spread(rows, size[1], cell, start).T)


def smooth_field(rng: np.random.Generator, size: HW, cell: float) -> F32Array:
    """Smooth noise of zero mean and about unit deviation; features span ``cell`` px."""
    nodes = (int(size[0] / cell) + 5, int(size[1] / cell) + 5)
    lattice = rng.standard_normal(nodes, dtype=np.float32)
    return upsample(lattice, size, cell) / np.float32(_BSPLINE_STD)


def fractal_field(
    rng: np.random.Generator, size: HW, cell: float, octaves: int = 3
) -> F32Array:
    """Sum of smooth fields, each half as wide and half as strong as the one before."""
    out = np.zeros(size, np.float32)
    gain, norm = 1.0, 0.0
    for _ in range(octaves):
        out += np.float32(gain) * smooth_field(rng, size, max(cell, 1.5))
        norm += gain**2
        gain, cell = gain / 2, cell / 2
    return out / np.float32(norm**0.5)


@lru_cache(maxsize=8)
def _spectrum(kind: TextureKind) -> F32Array:
    """Amplitudes that turn white noise into a texture of this kind."""
    fy = np.fft.fftfreq(TILE)[:, None]
    fx = np.fft.rfftfreq(TILE)[None, :]
    radius = np.hypot(fy, fx) + 1e-6
    if kind == "cloud":
        amplitude = radius**-1.6 * (radius > 1.5 / TILE)
    elif kind == "chromatin":
        amplitude = np.exp(-(((radius - 0.05) / 0.04) ** 2)) + 0.3 * (radius < 0.03)
    elif kind == "grain":
        amplitude = np.exp(-((radius / 0.22) ** 2)) * (radius > 0.04)
    elif kind == "spots":
        amplitude = np.exp(-(((radius - 0.09) / 0.05) ** 2))
    else:
        amplitude = np.exp(-(((np.abs(fy) - 0.07) / 0.06) ** 2) - (fx / 0.012) ** 2)
    return amplitude.astype(np.float32)


def texture_tile(rng: np.random.Generator, kind: TextureKind) -> F32Array:
    """One period of a texture that repeats without seams.

    Returns
    -------
    (256, 256) float32
        Zero mean, unit deviation, within -3 and 3 ("spots": within -1 and 3, mostly
        near -0.5 with bright dots).
    """
    noise = rng.standard_normal((TILE, TILE), dtype=np.float32)
    shaped = np.fft.irfft2(np.fft.rfft2(noise) * _spectrum(kind), s=(TILE, TILE))
    tile = shaped.astype(np.float32)
    tile /= tile.std()
    if kind == "spots":
        tile = np.maximum(tile - np.float32(1.0), 0) * np.float32(3.0) - np.float32(0.3)
    return np.clip(tile, -3, 3)


def sample_tile(
    tile: F32Array, v: F32Array, u: F32Array, turn: float = 0.0
) -> F32Array:
    """Texture at the local coordinates (v, u), in texels, wrapped around.

    ``turn`` (radians) blends the texture into another one of its kind, which is how it
    changes over time and depth.
    """
    rows = np.floor(v).astype(np.int32) & (TILE - 1)
    cols = np.floor(u).astype(np.int32) & (TILE - 1)
    index = rows * TILE + cols
    flat = tile.ravel()
    if not turn:
        return flat[index]
    other = flat[(index + _FAR_TEXEL) & (TILE * TILE - 1)]
    return np.float32(np.cos(turn)) * flat[index] + np.float32(np.sin(turn)) * other
