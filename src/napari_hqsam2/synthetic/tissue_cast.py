"""Draws cells that fill the plane, and the organelles inside of them."""

from dataclasses import dataclass

import numpy as np

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F64Array, I32Array
from napari_hqsam2.synthetic.canvas import Actor, Path
from napari_hqsam2.synthetic.layout import Region, scatter
from napari_hqsam2.synthetic.noise import fractal_field
from napari_hqsam2.synthetic.optics import Backdrop
from napari_hqsam2.synthetic.outlines import OutlineStyle, draw_outline
from napari_hqsam2.synthetic.style import MotionStyle
from napari_hqsam2.synthetic.tissue import Tissue
from napari_hqsam2.synthetic.tracks import walk

_MAX_CELLS = 170
_SMALLEST = 7.0


@dataclass(frozen=True)
class TissueForm:
    """What the cells of one tissue have in common.

    Attributes
    ----------
    spacing : float
        Typical diameter in pixels.
    variety : float
        Deviation of the logarithm of the diameters.
    waviness : float
        How far walls are bent, in diameters.
    branching : float
        Share of the seeds that continue a neighbour instead of being a cell.
    """

    spacing: float
    variety: float
    waviness: float
    branching: float = 0.0


def cast_tissue(
    rng: np.random.Generator,
    size: HW,
    form: TissueForm,
    style: MotionStyle,
) -> tuple[Tissue, dict[int, int]]:
    """Draw cells that fill the plane; also daughters' and their mothers' indices."""
    spacing = form.spacing
    flatness = rng.uniform(0.12, 0.8) if style.is_sweep else 1.0
    region = Region.around(
        size,
        1.2 * spacing + style.stage_reach,
        (-0.8 * spacing, style.depth * flatness + 0.8 * spacing),
    )
    if not style.is_sweep:
        region = Region((0.0, *region.low[1:]), (0.0, *region.high[1:]))
    extent = np.subtract(region.high, region.low)
    volume = extent.prod() / spacing**3 if style.is_sweep else 0
    wanted = max(1.3 * volume, 1.15 * extent[1:].prod() / spacing**2)
    limit = _MAX_CELLS * max(size[0] * size[1] / 256**2, 0.3)
    count = int(min(wanted, limit)) + 2
    radii = (
        spacing / 2 * np.clip(np.exp(form.variety * rng.normal(size=count)), 0.25, 3)
    )
    anchor = np.array([(region.low[0] + region.high[0]) / 2, size[0] / 2, size[1] / 2])
    closeness = float(rng.uniform(0.75, 0.98))
    zyx, radii = scatter(rng, region, np.sort(radii)[::-1], closeness, anchor)
    yx = walk(rng, style, zyx[:, 1:], 2 * radii)
    height = zyx[None, :, 0] - style.focus[:, None] * flatness
    tissue = _assemble(rng, size, form, radii, (yx, height), style)
    return _divide_cells(rng, tissue, style)


def _assemble(
    rng: np.random.Generator,
    size: HW,
    form: TissueForm,
    radii: F64Array,
    motion: tuple[F64Array, F64Array],
    style: MotionStyle,
) -> Tissue:
    count = len(radii)
    yx, height = motion
    empty = rng.uniform(0.02, 0.3) if rng.random() < 0.2 else 0.0
    filled = rng.random(count) >= empty
    filled[0] = True
    pad = int(style.stage_reach) + 2 if style.stage is not None else 0
    grown = (size[0] + 2 * pad, size[1] + 2 * pad)
    strength = form.waviness * form.spacing
    cell = rng.uniform(0.5, 1.3) * form.spacing
    warp = [
        Backdrop(
            np.float32(strength)
            * fractal_field(rng, grown, cell, 3 if form.branching else 2),
            pad,
        )
        for _ in range(2)
    ]
    stretch = 1 + rng.uniform(0, 2.5 if form.branching else 1.0) * rng.random(count)
    common = rng.uniform(-np.pi, np.pi) + rng.choice([0.3, 3.0]) * rng.normal(
        size=count
    )
    return Tissue(
        yx=yx,
        height=height,
        weight=radii * rng.uniform(0.6, 1.0),
        present=np.ones((style.frames, count), bool),
        elongation=stretch,
        angle=common,
        brightness=np.clip(rng.lognormal(0, rng.uniform(0.02, 0.4), count), 0.3, 2),
        texel_yx=rng.uniform(0, 256, (count, 2)),
        cell=_branches(rng, yx, height, radii, form.branching),
        filled=filled,
        spacing=form.spacing,
        warp_y=warp[0],
        warp_x=warp[1],
        grain=style.grain,
        gap=float(rng.choice([0.0, 0.0, rng.uniform(0.3, 1.2)])),
    )


def _branches(
    rng: np.random.Generator,
    yx: F64Array,
    height: F64Array,
    radii: F64Array,
    share: float,
) -> I32Array:
    """Cell of every seed: this share of the seeds are branches of their neighbours."""
    count = len(radii)
    cell = np.arange(count, dtype=np.int32)
    points = np.concatenate([height[0][:, None], yx[0]], axis=1)
    for i in np.flatnonzero(rng.random(count) < share):
        if i == 0:
            continue
        gaps = np.sqrt(((points[:i] - points[i]) ** 2).sum(axis=1)) - radii[:i]
        cell[i] = cell[int(gaps.argmin())]
    return cell


def _divide_cells(
    rng: np.random.Generator, tissue: Tissue, style: MotionStyle
) -> tuple[Tissue, dict[int, int]]:
    count = tissue.yx.shape[1]
    if style.frames < 4 or not style.division or style.is_sweep:
        return tissue, {}
    mothers = np.flatnonzero(rng.random(count) < style.division)
    born = rng.integers(2, style.frames - 1, len(mothers))
    both = np.concatenate([mothers, mothers])
    sign = np.repeat([1.0, -1.0], len(mothers))
    steps = np.arange(style.frames)[:, None]
    age = np.clip(steps - np.concatenate([born, born]), 0, None)
    apart = tissue.weight[both] * (0.45 + 0.25 * (1 - np.exp(-age / 2))) * sign
    angle = tissue.angle[both]
    heading = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    yx = tissue.yx[:, both] + apart[:, :, None] * heading
    present = tissue.present.copy()
    present[:, mothers] &= steps < born
    alive = steps >= np.concatenate([born, born])

    def grown(values: F64Array, more: F64Array | None = None) -> F64Array:
        extra = values[..., both] if more is None else more
        return np.concatenate([values, extra], axis=-1)

    parents = {count + i: int(m) for i, m in enumerate(both)}
    divided = Tissue(
        yx=np.concatenate([tissue.yx, yx], axis=1),
        height=grown(tissue.height),
        weight=grown(tissue.weight, 0.72 * tissue.weight[both]),
        present=np.concatenate([present, alive], axis=1),
        elongation=grown(tissue.elongation, np.ones(len(both))),
        angle=grown(tissue.angle),
        brightness=grown(tissue.brightness),
        texel_yx=np.concatenate([tissue.texel_yx, rng.uniform(0, 256, (len(both), 2))]),
        cell=np.arange(count + len(both), dtype=np.int32),
        filled=np.concatenate([tissue.filled, tissue.filled[both]]),
        spacing=tissue.spacing,
        warp_y=tissue.warp_y,
        warp_x=tissue.warp_x,
        grain=tissue.grain,
        gap=tissue.gap,
    )
    return divided, parents


def cast_organelles(
    rng: np.random.Generator,
    tissue: Tissue,
    outline: OutlineStyle,
    diameter: float,
    style: MotionStyle,
) -> tuple[tuple[Actor, ...], tuple[int, ...]]:
    """Draw organelles of about this diameter inside cells, and their hosts' indices."""
    share = rng.uniform(0.15, 0.9)
    chosen = np.asarray(rng.random(tissue.yx.shape[1]) < share)
    chosen[0] = True
    actors: list[Actor] = []
    owners: list[int] = []
    spread = rng.uniform(0.02, 0.3)
    for host in np.flatnonzero(chosen):
        room = float(tissue.weight[host])
        for offset, width in _pack(rng, room, diameter, middle=bool(host == 0)):
            path = _carried(rng, tissue, int(host), offset, width, style)
            texel = rng.uniform(0, 256, 2)
            actors.append(
                Actor(
                    draw_outline(rng, outline, width),
                    path,
                    brightness=float(rng.lognormal(0, spread)),
                    texel_yx=(float(texel[0]), float(texel[1])),
                )
            )
            owners.append(int(tissue.cell[host]))
    return tuple(actors), tuple(owners)


def _pack(
    rng: np.random.Generator, room: float, diameter: float, middle: bool
) -> list[tuple[F64Array, float]]:
    """Offsets and diameters of a few discs inside a cell of radius ``room``."""
    discs: list[tuple[F64Array, float]] = []
    for _ in range(int(rng.integers(1, 2 + min(int(room / diameter * 3), 6)))):
        width = min(diameter * rng.lognormal(0, 0.35), 1.4 * room)
        if width < _SMALLEST and not middle:
            continue
        width = max(width, _SMALLEST)
        offset = rng.normal(0, 0.35, 2) * max(room - 0.3 * width, 0)
        if middle and not discs:
            offset *= 0.2
        if all(np.hypot(*(offset - o)) > 0.6 * (width + w) for o, w in discs):
            discs.append((offset, float(width)))
    return discs


def _carried(
    rng: np.random.Generator,
    tissue: Tissue,
    host: int,
    offset: F64Array,
    width: float,
    style: MotionStyle,
) -> Path:
    """Path of something that its cell carries along."""
    frames = style.frames
    yx = tissue.yx[:, host] + offset
    section = np.ones(frames)
    if style.is_sweep:
        half = width / 2 * rng.uniform(0.8, 3.0)
        middle = rng.normal(0, 0.4) * float(tissue.weight[host]) * (host > 0)
        rise = (tissue.height[:, host] - middle) / half
        section = np.sqrt(np.clip(1 - rise**2, 0, 1))
    angle = rng.uniform(-np.pi, np.pi)
    phase = np.asarray(rng.uniform(-3, 3) + style.wobble * style.steps, np.float64)
    return Path(
        yx=yx,
        angle=np.full(frames, angle),
        stretch=np.repeat(section[:, None], 2, axis=1),
        phase=phase,
        grain=style.grains,
        present=tissue.present[:, host] & (section > 0.12),
    )
