"""Stained sections and smears in transmitted light: dyes absorb, Beer-Lambert."""

from dataclasses import dataclass

import numpy as np

from napari_hqsam2.synthetic.arrays import F32Array
from napari_hqsam2.synthetic.canvas import Paint
from napari_hqsam2.synthetic.looks import Setting, Stage, chance, log_uniform
from napari_hqsam2.synthetic.noise import fractal_field, smooth_field
from napari_hqsam2.synthetic.optics import Backdrop, sprinkle

_BODIES = ((0.2, 0.75, 0.3), (0.75, 0.55, 0.15), (0.35, 0.3, 0.1), (0.2, 0.4, 0.75))
"""Dyes of cytoplasm: pink, blue, pale violet, orange."""


@dataclass(frozen=True)
class Stain:
    """Stained section in transmitted colour: dyes absorb, Beer-Lambert."""

    paint: Paint
    nuclear_rgb: F32Array
    tissue_rgb: F32Array
    strength: float
    cytoplasm: float
    tissue: Backdrop
    grey: bool

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W, 3), or (H, W) from a grey camera."""
        dye = np.float32(self.strength) * np.maximum(stage.canvas.light, 0)
        ground = np.maximum(self.tissue.at(stage.shift), 0)
        if self.cytoplasm:
            around = np.clip(stage.canvas.near + 1, 0, 1)
            ground = np.maximum(ground + np.float32(self.cytoplasm) * around, 0)
        ground = ground * (1 - np.float32(0.5) * np.clip(stage.canvas.thick, 0, 1))
        density = dye[:, :, None] * self.nuclear_rgb
        density = density + ground[:, :, None] * self.tissue_rgb
        rgb = np.exp(-density) * np.float32(0.93)
        return rgb.mean(axis=2) if self.grey else rgb


def draw_stain(rng: np.random.Generator, setting: Setting) -> Stain:
    """Draw a histological stain and the tissue around the nuclei."""
    size = setting.grown
    ground = np.float32(rng.uniform(0.1, 0.6)) + np.float32(
        rng.uniform(0.1, 0.5)
    ) * fractal_field(rng, size, rng.uniform(15, 60), octaves=4)
    ground += np.float32(rng.uniform(0, 0.25)) * _fibres(rng, size)
    if chance(rng, 0.4):
        gaps = fractal_field(rng, size, rng.uniform(25, 70), octaves=2)
        ground *= 1 / (1 + np.exp(16 * (gaps - np.float32(rng.uniform(0.15, 0.8)))))
    return Stain(
        paint=Paint(
            flat=float(rng.uniform(0.5, 0.9)),
            dome=float(rng.uniform(0, 0.3)),
            rim=float(rng.uniform(0, 0.5)) if chance(rng, 0.5) else 0.0,
            rim_width=float(np.clip(0.1 * setting.diameter, 1, 4)),
            kind="chromatin" if chance(rng, 0.7) else "cloud",
            texture=float(rng.uniform(0.05, 0.35)),
            zoom=log_uniform(rng, 0.8, 2.0) * 26 / max(setting.diameter, 14),
            opacity=float(rng.uniform(0.5, 1.0)),
            border=float(rng.uniform(0.8, 2.5)),
        ),
        cytoplasm=float(rng.uniform(-0.2, 0.5)) if chance(rng, 0.6) else 0.0,
        nuclear_rgb=_dye(rng, (0.85, 0.95, 0.35)),
        tissue_rgb=_dye(rng, (0.18, 0.85, 0.30))
        if chance(rng, 0.7)
        else _dye(rng, (0.45, 0.6, 0.15)),
        strength=float(rng.uniform(0.6, 1.6)),
        tissue=Backdrop(ground.astype(np.float32), setting.pad),
        grey=chance(rng, 0.12),
    )


def _dye(rng: np.random.Generator, rgb: tuple[float, float, float]) -> F32Array:
    return np.clip(np.array(rgb) + rng.normal(0, 0.1, 3), 0.02, 1.2).astype(np.float32)


def _fibres(rng: np.random.Generator, size: tuple[int, int]) -> F32Array:
    """Wavy strands: level lines of smooth noise stretched along one direction."""
    cell = rng.uniform(8, 16)
    stretched = smooth_field(rng, (size[0], max(size[1] // 5, 8)), cell)
    columns = np.linspace(0, stretched.shape[1] - 1.001, size[1])
    base = columns.astype(np.intp)
    part = (columns - base).astype(np.float32)
    field = stretched[:, base] * (1 - part) + stretched[:, base + 1] * part
    bend = 24 * smooth_field(rng, size, 60.0)
    rows = np.clip(np.arange(size[0])[:, None] + bend, 0, size[0] - 1).astype(np.intp)
    field = np.take_along_axis(field, rows, axis=0)
    if chance(rng, 0.5) and size[0] == size[1]:
        field = np.ascontiguousarray(field.T)
    return np.exp(-((field * 6) ** 2))


@dataclass(frozen=True)
class Smear:
    """Stained cells on glass: a nucleus in a thin body, blood cells between them."""

    paint: Paint
    nuclear_rgb: F32Array
    body_rgb: F32Array
    blood_rgb: F32Array
    strength: float
    blood: Backdrop
    glass: Backdrop
    tint: F32Array
    grey: bool

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W, 3), or (H, W) from a grey camera."""
        dye = np.float32(self.strength) * np.maximum(stage.canvas.light, 0)
        body = np.minimum(dye, np.float32(self.strength))
        blood = self.blood.at(stage.shift) * (1 - np.clip(stage.canvas.thick, 0, 1))
        density = body[:, :, None] * self.body_rgb
        density = density + (dye - body)[:, :, None] * self.nuclear_rgb
        density = density + blood[:, :, None] * self.blood_rgb
        light = np.float32(0.93) + self.glass.at(stage.shift)
        rgb = np.exp(-density) * self.tint * light[:, :, None]
        return rgb.mean(axis=2) if self.grey else rgb


def draw_smear(rng: np.random.Generator, setting: Setting) -> Smear:
    """Draw a stain of single cells, and what else lies on the glass."""
    size = setting.grown
    blood = np.zeros(size, np.float32)
    if chance(rng, 0.4):
        radius = setting.diameter * rng.uniform(0.2, 0.45)
        count = int(rng.uniform(0.1, 0.7) * size[0] * size[1] / (3 * radius**2))
        seed, count = rng.integers(2**32), min(count, 200)
        # a disc less a smaller one: pale in the middle
        for share, weight in ((1.0, 1.0), (0.5, -rng.uniform(0, 0.6))):
            field, width = np.zeros(size, np.float32), share * radius
            same = np.random.default_rng(seed)
            sprinkle(same, field, count, (width, width), 0.12 / share)
            blood += np.float32(weight) * field
    glass = np.float32(rng.uniform(0, 0.02)) * fractal_field(rng, size, 60.0)
    return Smear(
        paint=Paint(
            flat=float(rng.uniform(0.6, 1.0)),
            rim=float(rng.uniform(0, 0.4)) if chance(rng, 0.4) else 0.0,
            kind="chromatin" if chance(rng, 0.5) else "cloud",
            texture=float(rng.uniform(0.05, 0.35)),
            zoom=log_uniform(rng, 0.8, 2.0) * 26 / max(setting.diameter, 14),
            opacity=float(rng.uniform(0.3, 1.0)),
        ),
        nuclear_rgb=_dye(rng, (0.85, 0.95, 0.3)),
        body_rgb=_dye(rng, _BODIES[rng.integers(len(_BODIES))]),
        blood_rgb=_dye(rng, (0.1, 0.5, 0.4)),
        strength=log_uniform(rng, 0.12, 0.6),
        blood=Backdrop(np.maximum(blood, 0), setting.pad),
        glass=Backdrop(glass, setting.pad),
        tint=rng.uniform(0.88, 1, 3).astype(np.float32),
        grey=chance(rng, 0.12),
    )
