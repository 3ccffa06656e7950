"""Random outlines of the kinds of objects that recipes name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from napari_hqsam2.synthetic.shapes import Arm, Lobed, Shape, Star, Tube, Wave

OutlineKind: TypeAlias = Literal["nucleus", "rod", "lobed", "spindle", "filament"]


@dataclass(frozen=True)
class OutlineStyle:
    """What the objects of one scene have in common.

    Attributes
    ----------
    kind : str
        Family of outlines.
    elongation : float
        Length over width.
    roughness : float
        Strength of dents and bulges; 0 is a plain ellipse, 0.3 very irregular.
    """

    kind: OutlineKind
    elongation: float
    roughness: float


def draw_outline(
    rng: np.random.Generator, style: OutlineStyle, diameter: float
) -> Shape:
    """Draw one outline whose area is about that of a disc of this diameter."""
    return _MAKERS[style.kind](rng, style, diameter)


def _nucleus(rng: np.random.Generator, style: OutlineStyle, diameter: float) -> Shape:
    ratio = max(style.elongation * rng.lognormal(0, 0.12), 1.0) ** 0.5
    orders = np.arange(2, 8)
    amplitudes = style.roughness * rng.normal(size=6) / (orders - 0.8) ** 1.6
    phases = rng.uniform(-np.pi, np.pi, 6)
    return Star(
        diameter / 2 * ratio,
        diameter / 2 / ratio,
        tuple(np.clip(amplitudes, -0.3, 0.3).tolist()),
        tuple(phases.tolist()),
    )


def _rod(rng: np.random.Generator, style: OutlineStyle, diameter: float) -> Shape:
    ratio = max(style.elongation * rng.lognormal(0, 0.2), 1.2)
    width = diameter * (np.pi / 4 / ratio) ** 0.5
    bend = style.roughness * rng.normal(size=2) * (1.2, 0.4)
    radius = width / 2
    ends = radius * rng.uniform(0.85, 1.0, 2)
    return Tube(
        max(width * ratio / 2 - radius, 0.5),
        (float(ends[0]), radius, float(ends[1])),
        tuple(bend.tolist()),
    )


def _filament(rng: np.random.Generator, style: OutlineStyle, diameter: float) -> Shape:
    width = max(diameter * 0.11, 2.4) * rng.uniform(0.7, 1.4)
    bend = style.roughness * rng.normal(size=4) / np.arange(1, 5) ** 1.4
    half = diameter * style.elongation * rng.uniform(0.4, 1.0)
    return Tube(
        half,
        (width / 2, width / 2, width / 2),
        tuple(bend.tolist()),
        sway=0.3,
        segments=14,
    )


def _waves(
    rng: np.random.Generator, count: int, diameter: float, strength: float
) -> tuple[Wave, ...]:
    angle = rng.uniform(-np.pi, np.pi, count)
    length = diameter * rng.uniform(0.25, 0.8, count)
    amplitude = strength * length / 5 * rng.uniform(0.4, 1.0, count)
    start = rng.uniform(-np.pi, np.pi, count)
    k = 2 * np.pi / length
    return tuple(
        Wave(float(k[i] * np.sin(angle[i])), float(k[i] * np.cos(angle[i])), *rest)
        for i, rest in enumerate(zip(amplitude.tolist(), start.tolist(), strict=True))
    )


def _lobed(rng: np.random.Generator, style: OutlineStyle, diameter: float) -> Shape:
    ratio = max(style.elongation * rng.lognormal(0, 0.2), 1.0) ** 0.5
    body = 0.86 * diameter / 2
    count = int(rng.choice([0, 2, 3, 4, 5], p=[0.2, 0.2, 0.3, 0.2, 0.1]))
    turn = rng.uniform(-np.pi, np.pi)
    arms = tuple(
        Arm(
            turn + 2 * np.pi * (i + rng.uniform(-0.3, 0.3)) / max(count, 1),
            diameter * rng.uniform(0.45, 1.0),
            body / ratio * rng.uniform(0.35, 0.9),
            max(diameter * rng.uniform(0.01, 0.06), 0.8),
            float(rng.normal(0, 0.08)),
        )
        for i in range(count)
    )
    waves = _waves(rng, 5, diameter, style.roughness)
    return Lobed(body * ratio, body / ratio, arms, waves, web=0.25 * diameter)


def _spindle(rng: np.random.Generator, style: OutlineStyle, diameter: float) -> Shape:
    ratio = max(style.elongation * rng.lognormal(0, 0.2), 1.0) ** 0.5
    body = 0.8 * diameter / 2
    ends = (rng.normal(0, 0.2), np.pi + rng.normal(0, 0.2))
    arms = tuple(
        Arm(
            float(angle),
            body * ratio * rng.uniform(1.2, 2.0),
            body / ratio * rng.uniform(0.6, 0.95),
            max(diameter * rng.uniform(0.01, 0.04), 0.8),
            float(rng.normal(0, 0.08)),
        )
        for angle in ends
    )
    waves = _waves(rng, 4, diameter, style.roughness)
    return Lobed(body * ratio, body / ratio, arms, waves, web=0.2 * diameter)


_MAKERS: dict[
    OutlineKind, Callable[[np.random.Generator, OutlineStyle, float], Shape]
] = {
    "nucleus": _nucleus,
    "rod": _rod,
    "lobed": _lobed,
    "spindle": _spindle,
    "filament": _filament,
}
