"""How objects move, turn, deform, divide, come and go over the frames of a clip."""

from dataclasses import replace

import numpy as np

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F64Array
from napari_hqsam2.synthetic.canvas import Actor, Path
from napari_hqsam2.synthetic.layout import Placement
from napari_hqsam2.synthetic.style import MotionStyle


def walk(
    rng: np.random.Generator, style: MotionStyle, start: F64Array, diameters: F64Array
) -> F64Array:
    """Positions over time of objects that start at ``start`` (N, 2): (T, N, 2)."""
    count, frames = len(start), style.moments
    pace = style.speed * diameters[:, None]
    typical = style.speed * float(np.median(diameters))
    swirl = rng.normal(0, 0.5, (2, 2)) / 128 * typical
    offset = start - start.mean(axis=0)
    common = typical * rng.normal(size=2) * 0.7 + offset @ swirl
    velocity = pace * rng.normal(size=(count, 2))
    position = start.copy()
    out = np.empty((frames, count, 2))
    for frame in range(frames):
        out[frame] = position + style.stage_at(frame * max(style.planes, 1))
        position += style.cohesion * common + (1 - style.cohesion) * velocity
        kick = pace * rng.normal(size=(count, 2))
        keep = style.persistence
        if style.repulsion:
            position += _push(position, style.repulsion * diameters / 2)
        velocity = keep * velocity + (1 - keep**2) ** 0.5 * kick
    return np.repeat(out, style.frames // style.moments, axis=0)


def _push(position: F64Array, radii: F64Array) -> F64Array:
    """Displacements (N, 2) that move overlapping discs apart, most of the way."""
    apart = position[:, None] - position[None, :]
    distance = np.hypot(apart[..., 0], apart[..., 1]) + 1e-6
    overlap = np.maximum(radii[:, None] + radii[None, :] - distance, 0)
    np.fill_diagonal(overlap, 0)
    return (apart * (0.4 * overlap / distance)[..., None]).sum(axis=1)


def make_paths(
    rng: np.random.Generator, style: MotionStyle, placements: list[Placement]
) -> list[Path]:
    """Give every placed object its path."""
    zyx = np.array([p.zyx for p in placements])
    diameters = np.array([p.diameter for p in placements])
    yx = walk(rng, style, zyx[:, 1:], diameters)
    steps = style.steps[:, None]
    count = len(placements)
    spin = style.spin * rng.normal(size=count)
    angle = np.array([p.angle for p in placements]) + spin * steps
    phase = rng.uniform(-3, 3, count) + style.wobble * steps * rng.choice(
        [-1, 1], count
    )
    pulse = 1 + 0.06 * min(style.wobble * 4, 1) * np.sin(phase * 1.7)
    present = np.ones((style.frames, count), bool)
    if style.is_sweep:
        height = (style.focus[:, None] - zyx[:, 0]) / (diameters / 2)
        section = np.sqrt(np.clip(1 - height**2, 0, 1))
        present = section > 0.12
        pulse = pulse * section
    elif style.frames > 3:
        present &= _visits(rng, style.frames, count)
    stretch = np.repeat(pulse[:, :, None], 2, axis=2)
    return [
        Path(
            yx=yx[:, i],
            angle=angle[:, i],
            stretch=stretch[:, i],
            phase=phase[:, i],
            grain=style.grains,
            present=present[:, i],
        )
        for i in range(count)
    ]


def _visits(rng: np.random.Generator, frames: int, count: int) -> np.ndarray:
    """(T, N): most objects stay, a few come late, leave early, or are away a while."""
    present = np.ones((frames, count), bool)
    for i in np.flatnonzero(rng.random(count) < 0.04):
        cut = int(rng.integers(1, frames))
        kind = rng.integers(3)
        if kind == 0:
            present[:cut, i] = False
        elif kind == 1:
            present[cut:, i] = False
        else:
            present[cut : cut + int(rng.integers(1, 4)), i] = False
    return present


def divide(
    rng: np.random.Generator, actor: Actor, frame: int
) -> tuple[Actor, Actor, Actor]:
    """Let ``actor`` divide: the mother, gone from ``frame`` on, and two daughters."""
    path = actor.path
    steps = np.arange(len(path.angle))
    strain = np.clip(1 - (frame - steps) / 2.5, 0, 1) * (steps < frame)
    stretch = path.stretch * np.stack([1 - 0.12 * strain, 1 + 0.25 * strain], axis=1)
    mother = replace(
        actor,
        path=replace(path, stretch=stretch, present=path.present & (steps < frame)),
    )
    first, second, apart = actor.shape.halves()
    age = np.clip(steps - frame, 0, None)
    away = apart * (1 + 0.5 * (1 - np.exp(-age / 2.0)))
    heading = np.stack([np.sin(path.angle), np.cos(path.angle)], axis=1)
    grow = np.repeat((0.92 + 0.02 * np.minimum(age, 6))[:, None], 2, axis=1)
    daughters = []
    for sign, shape in ((-1, first), (1, second)):
        turn = rng.normal(0, 0.12) * age
        daughters.append(
            replace(
                actor,
                shape=shape,
                texel_yx=(float(rng.uniform(0, 256)), float(rng.uniform(0, 256))),
                inner=(),
                path=replace(
                    path,
                    yx=path.yx + sign * away[:, None] * heading,
                    angle=path.angle + turn,
                    stretch=path.stretch * grow,
                    phase=path.phase + sign,
                    present=path.present & (steps >= frame),
                ),
            )
        )
    return mother, daughters[0], daughters[1]


def margin_of(style: MotionStyle, diameter: float, size: HW) -> float:
    """Pixels around the view in which objects live that may enter it."""
    travel = style.speed * diameter * style.frames
    return min(0.5 * diameter + travel + style.stage_reach, 0.6 * max(size))
