"""Where objects lie: scattered, in clumps, or packed into a colony."""

from dataclasses import dataclass

import numpy as np

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F64Array
from napari_hqsam2.synthetic.shapes import Shape, Tube

_TRIES = 10


@dataclass(frozen=True)
class Placement:
    """One object at rest: middle (z, y, x) in pixels, radians, outline, diameter."""

    zyx: tuple[float, float, float]
    angle: float
    shape: Shape
    diameter: float


@dataclass(frozen=True)
class Region:
    """Box (z, y, x) in pixels that objects may lie in; the view plus its margins."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @classmethod
    def around(cls, size: HW, margin: float, depth: tuple[float, float]) -> "Region":
        """Box ``margin`` pixels larger than the view, from depth[0] to depth[1]."""
        return cls(
            (depth[0], -margin, -margin), (depth[1], size[0] + margin, size[1] + margin)
        )

    def draw(self, rng: np.random.Generator, *count: int) -> F64Array:
        """Evenly distributed points, (*count, 3)."""
        return rng.random((*count, 3)) * np.subtract(self.high, self.low) + self.low


def scatter(
    rng: np.random.Generator,
    region: Region,
    radii: F64Array,
    closeness: float,
    anchor: F64Array,
    clumps: F64Array | None = None,
) -> tuple[F64Array, F64Array]:
    """Place discs or balls one after the other where there is room.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    region : Region
        Where the middles may lie.
    radii : (N,) float
        In pixels; the first are placed first.
    closeness : float
        Two middles stay at least this many sums of their radii apart.
    anchor : (3,) float
        Middle of the first object.
    clumps : (K, 4) float or None
        Middles (z, y, x) and radius of clumps that most objects keep to.

    Returns
    -------
    positions : (M, 3) float
        M <= N; objects that found no room are left out.
    radii : (M,) float
        Their radii.
    """
    candidates = _candidates(rng, region, len(radii), clumps)
    candidates[:1] = anchor
    flat = not candidates[..., 0].any()
    positions = np.empty((3, len(radii)))
    kept = np.empty(len(radii))
    count = 0
    for radius, points in zip(radii, candidates, strict=True):
        distance = np.zeros((_TRIES, count))
        for axis in range(1 if flat else 0, 3):
            offset = points[:, axis, None] - positions[axis, :count]
            distance += np.square(offset, out=offset)
        room = closeness * (radius + kept[:count])
        free = (distance >= room * room).all(axis=1)
        if free.any():
            positions[:, count] = points[int(free.argmax())]
            kept[count] = radius
            count += 1
    return positions[:, :count].T.copy(), kept[:count]


def _candidates(
    rng: np.random.Generator, region: Region, count: int, clumps: F64Array | None
) -> F64Array:
    """Where each of `count` objects may lie, (count, _TRIES, 3)."""
    points = region.draw(rng, count, _TRIES)
    if clumps is None:
        return points
    clump = clumps[rng.integers(len(clumps), size=(count, _TRIES))]
    near = clump[..., :3] + rng.normal(size=points.shape) * clump[..., 3:]
    near = np.clip(near, region.low, region.high)
    return np.where(rng.random((count, 1, 1)) < 0.1, points, near)


def draw_clumps(rng: np.random.Generator, region: Region, diameter: float) -> F64Array:
    """Between one and six places where objects gather, (K, 4) as z, y, x, radius."""
    count = int(rng.integers(1, 7))
    radius = diameter * rng.uniform(1.0, 3.5, (count, 1))
    return np.concatenate([region.draw(rng, count), radius], axis=1)


def brick_colony(
    rng: np.random.Generator, size: HW, width: float, ratio: float, limit: int
) -> list[Placement]:
    """Rods side by side in bent rows, as bacteria grow; at most ``limit`` of them."""
    reach = rng.uniform(0.25, 0.8) * min(size)
    middle = rng.uniform(0.15, 0.85, 2) * size
    turn = rng.uniform(-np.pi, np.pi)
    wave = _BentPlane(rng, reach)
    rods: list[Placement] = []
    pitch = width * rng.uniform(0.98, 1.12)
    rows = np.arange(-int(reach / pitch), int(reach / pitch) + 1)
    for row in rng.permutation(rows):
        half_row = reach * max(1 - (row * pitch / reach) ** 2, 0.0) ** 0.5
        start = -half_row - rng.uniform(0, 1) * width * ratio
        while start < half_row and len(rods) < limit:
            length = width * ratio * rng.uniform(0.6, 1.45)
            if rng.random() > 0.06:
                span = (start, start + length)
                rods.append(wave.rod(rng, row * pitch, span, width, (middle, turn)))
            start += length + width * rng.uniform(-0.02, 0.25)
    return rods


class _BentPlane:
    """Smooth bending of the plane that turns straight rows into swirls."""

    def __init__(self, rng: np.random.Generator, reach: float) -> None:
        self._k = rng.normal(size=(3, 2)) * 1.6 / reach
        self._start = rng.uniform(-np.pi, np.pi, 3)
        self._push = rng.normal(size=(3, 2)) * 0.08 * reach

    def __call__(self, points: F64Array) -> F64Array:
        angle = points @ self._k.T + self._start
        return points + np.sin(angle) @ self._push

    def rod(
        self,
        rng: np.random.Generator,
        row: float,
        span: tuple[float, float],
        width: float,
        pose: tuple[F64Array, float],
    ) -> Placement:
        inset = width / 2
        first, last = span[0] + inset, max(span[1] - inset, span[0] + inset + 1)
        ends = np.array([(row, first), (row, (first + last) / 2), (row, last)])
        middle, turn = pose
        c, s = np.cos(turn), np.sin(turn)
        bent = self(ends) @ np.array([(c, s), (-s, c)])
        chord = bent[2] - bent[0]
        half = float(np.hypot(*chord)) / 2 + 0.5
        angle = float(np.arctan2(chord[0], chord[1])) + rng.normal(0, 0.05)
        sag = bent[1] - (bent[0] + bent[2]) / 2
        across = (np.cos(angle) * sag[0] - np.sin(angle) * sag[1]) / half
        radius = width / 2 * rng.uniform(0.95, 1.05)
        shape = Tube(
            half,
            (0.93 * radius, radius, 0.93 * radius),
            (float(np.clip(across, -0.8, 0.8)), float(rng.normal(0, 0.02))),
        )
        y, x = (bent[0] + bent[2]) / 2 + middle + 0.3 * sag
        y, x = rng.normal((y, x), 0.05 * width)
        area = 2 * half * width + np.pi * radius**2
        return Placement((0.0, y, x), angle, shape, float(2 * (area / np.pi) ** 0.5))
