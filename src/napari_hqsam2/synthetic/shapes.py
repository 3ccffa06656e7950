"""Analytic outlines: each shape answers how deep a point lies inside of it.

All shapes live in a local frame, (v, u) in pixels, u along the long axis, origin at the
middle. ``depth(v, u, phase)`` is positive inside, falls to zero on the outline with a
slope near one, and is negative outside. ``phase`` (radians) deforms the outline
smoothly, which is how objects change shape over time.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from napari_hqsam2.synthetic.arrays import F32Array, F64Array

_ANGLES = 720
_ORDERS = 12
_THETA = np.outer(np.arange(_ORDERS), np.linspace(-np.pi, np.pi, _ANGLES + 1))
_COS, _SIN = np.cos(_THETA), np.sin(_THETA)


class Shape(Protocol):
    """What the canvas needs to know of an outline."""

    @property
    def reach(self) -> float:
        """Radius in pixels of a circle around the origin that holds the shape."""
        ...

    @property
    def thickness(self) -> float:
        """Depth in pixels of its deepest point, about."""
        ...

    def depth(self, v: F32Array, u: F32Array, phase: float) -> F32Array:
        """Depth in pixels of the points (v, u), positive inside."""
        ...

    def halves(self) -> tuple["Shape", "Shape", float]:
        """Outlines of two daughters and their distance from the middle along u."""
        ...


@dataclass(frozen=True)
class Star:
    """Ellipse whose radius is modulated by harmonics 2 to 11: nuclei, round cells."""

    half_length: float
    half_width: float
    amplitudes: tuple[float, ...] = ()
    phases: tuple[float, ...] = ()

    @property
    def reach(self) -> float:
        """Radius in pixels of a circle around the origin that holds the shape."""
        return max(self.half_length, self.half_width) * (
            1 + sum(abs(a) for a in self.amplitudes)
        )

    @property
    def thickness(self) -> float:
        """Depth in pixels of its deepest point, about."""
        return min(self.half_length, self.half_width)

    def depth(self, v: F32Array, u: F32Array, phase: float) -> F32Array:
        """Depth in pixels of the points (v, u), positive inside."""
        table = self._radii(phase)
        rho = np.sqrt(v * v + u * u)
        bins = np.arctan2(v, u) * np.float32(_ANGLES / (2 * np.pi))
        radius = table[np.floor(bins).astype(np.int32) + _ANGLES // 2]
        q = rho / radius
        core = np.float32(self.thickness)
        return (1 - q) * (np.minimum(q, 1) * (radius - core) + core)

    def halves(self) -> tuple["Star", "Star", float]:
        """Outlines of two daughters and their distance from the middle along u."""
        small = replace(
            self, half_length=0.74 * self.half_length, half_width=0.74 * self.half_width
        )
        return small, replace(small, phases=self.phases[::-1]), 0.5 * self.half_length

    def _radii(self, phase: float) -> F32Array:
        """Radius by direction, 720 of them and the first again, from -pi to pi."""
        radius = 1 / np.hypot(_COS[1] / self.half_length, _SIN[1] / self.half_width)
        index = np.arange(len(self.amplitudes))
        turn = self.phases + phase * np.where(index % 2, 1, -1) / (1 + 0.5 * index)
        amplitudes, orders = np.array(self.amplitudes), slice(2, 2 + len(index))
        wave = 1 + (amplitudes * np.cos(turn)) @ _COS[orders]
        wave -= (amplitudes * np.sin(turn)) @ _SIN[orders]
        return (radius * np.maximum(wave, 0.3)).astype(np.float32)


@dataclass(frozen=True)
class Tube:
    """Chain of capsules along a bent spine: bacteria, filaments, worms.

    ``bend`` are the amplitudes, in units of half the length, of the first bending
    modes; ``radii`` the radius at the start, the middle and the end.
    """

    half_length: float
    radii: tuple[float, float, float]
    bend: tuple[float, ...] = (0.0,)
    sway: float = 0.1
    segments: int = 5

    @property
    def reach(self) -> float:
        """Radius in pixels of a circle around the origin that holds the shape."""
        bend = sum(abs(b) for b in self.bend) * (1 + self.sway)
        return self.half_length * (1 + bend**2) ** 0.5 + max(self.radii) + 1

    @property
    def thickness(self) -> float:
        """Depth in pixels of its deepest point, about."""
        return max(self.radii)

    def depth(self, v: F32Array, u: F32Array, phase: float) -> F32Array:
        """Depth in pixels of the points (v, u), positive inside."""
        points, radii = self.spine(phase)
        return capsules(v, u, points, radii)

    def halves(self) -> tuple["Tube", "Tube", float]:
        """Outlines of two daughters and their distance from the middle along u."""
        half = (self.half_length - max(self.radii)) / 2
        bend = tuple(0.5 * b for b in self.bend)
        start = replace(self, half_length=max(half, 1.0), bend=bend)
        return start, start, half + max(self.radii)

    def spine(self, phase: float) -> tuple[F64Array, F64Array]:
        """Points (S + 1, 2) as (v, u) and their radii (S + 1,)."""
        s = np.linspace(-1, 1, self.segments + 1)
        v = np.zeros_like(s)
        for mode, amplitude in enumerate(self.bend):
            swing = 1 + self.sway * np.sin(phase * (1 + 0.6 * mode) + mode)
            v += amplitude * swing * np.sin((mode + 1) * np.pi / 2 * (s + 1))
        v -= v.mean()
        points = np.stack([v, s], axis=1) * self.half_length
        return points, np.interp(s, [-1, 0, 1], self.radii)


def capsules(v: F32Array, u: F32Array, points: F64Array, radii: F64Array) -> F32Array:
    """Depth inside the union of round-ended segments between successive points."""
    best = np.full_like(v, -np.inf)
    for i in range(len(points) - 1):
        p, step = points[i], points[i + 1] - points[i]
        sv, su = (np.float32(x) for x in step / (float(step @ step) + 1e-6))
        dv, du = v - np.float32(p[0]), u - np.float32(p[1])
        t = dv * sv
        t += du * su
        np.clip(t, 0, 1, out=t)
        dv -= t * np.float32(step[0])
        du -= t * np.float32(step[1])
        dv *= dv
        du *= du
        dv += du
        np.sqrt(dv, out=dv)
        t *= np.float32(radii[i + 1] - radii[i])
        t -= dv
        t += np.float32(radii[i])
        np.maximum(best, t, out=best)
    return best


@dataclass(frozen=True)
class Arm:
    """Tapering arm of a cell: angle in radians, lengths and radii in pixels."""

    angle: float
    length: float
    base: float
    tip: float
    bend: float

    def scaled(self, k: float) -> "Arm":
        """Return the same arm, ``k`` times as large."""
        return Arm(self.angle, k * self.length, k * self.base, k * self.tip, self.bend)

    def spine(self, phase: float) -> tuple[F64Array, F64Array]:
        """Points (4, 2) as (v, u) and their radii (4,), waving with ``phase``."""
        s = np.linspace(0, 1, 4)
        along = self.length * s * (1 + 0.12 * np.sin(phase))
        swing = 1 + 0.5 * np.sin(0.7 * phase)
        aside = self.length * self.bend * np.sin(np.pi * s) * swing
        c, d = np.cos(self.angle), np.sin(self.angle)
        points = np.stack([d * along + c * aside, c * along - d * aside], axis=1)
        return points, self.base + (self.tip - self.base) * s**0.85


@dataclass(frozen=True)
class Wave:
    """Plane wave that makes an outline ragged: radians per pixel, pixels, radians."""

    kv: float
    ku: float
    amplitude: float
    start: float

    def scaled(self, k: float) -> "Wave":
        """Return the same wave on an outline ``k`` times as large."""
        return Wave(self.kv / k, self.ku / k, k * self.amplitude, self.start)


@dataclass(frozen=True)
class Lobed:
    """Ellipse with a ragged outline and tapering arms: spread cells, glia, amoebae."""

    half_length: float
    half_width: float
    arms: tuple[Arm, ...] = ()
    waves: tuple[Wave, ...] = ()
    web: float = 4.0

    @property
    def reach(self) -> float:
        """Radius in pixels of a circle around the origin that holds the shape."""
        ragged = 1 + 2 * sum(abs(w.amplitude) for w in self.waves) / self.thickness
        body = max(self.half_length, self.half_width) * ragged
        return (
            max([body, *(1.2 * arm.length + arm.tip for arm in self.arms)]) + self.web
        )

    @property
    def thickness(self) -> float:
        """Depth in pixels of its deepest point, about."""
        return min(self.half_length, self.half_width)

    def depth(self, v: F32Array, u: F32Array, phase: float) -> F32Array:
        """Depth in pixels of the points (v, u), positive inside."""
        a, b = np.float32(self.half_length), np.float32(self.half_width)
        q = np.sqrt((u / a) ** 2 + (v / b) ** 2)
        slope = np.minimum(q, 1) * (np.sqrt(a * b) - b) + b
        depth = (1 - q) * slope
        for wave in self.waves:
            angle = np.float32(wave.kv) * v + np.float32(wave.ku) * u
            angle += np.float32(wave.start + phase)
            depth += np.float32(wave.amplitude) * np.cos(angle)
        for index, arm in enumerate(self.arms):
            points, radii = arm.spine(phase + 2 * index)
            depth = _soft_union(depth, capsules(v, u, points, radii), self.web)
        return depth

    def halves(self) -> tuple["Lobed", "Lobed", float]:
        """Outlines of two daughters and their distance from the middle along u."""
        first = self._shrunk(self.arms[::2])
        second = self._shrunk(self.arms[1::2])
        return first, second, 0.5 * self.half_length

    def _shrunk(self, arms: tuple[Arm, ...]) -> "Lobed":
        k = 0.74
        return Lobed(
            k * self.half_length,
            k * self.half_width,
            tuple(arm.scaled(k) for arm in arms),
            tuple(wave.scaled(k) for wave in self.waves),
            self.web,
        )


def _soft_union(first: F32Array, second: F32Array, width: float) -> F32Array:
    near = np.maximum(np.float32(width) - np.abs(first - second), 0)
    return np.maximum(first, second) + near * near * np.float32(0.25 / width)
