"""Light microscopy: fluorescence, membranes, phase contrast, DIC, bright field."""

from dataclasses import dataclass

import numpy as np

from napari_hqsam2.synthetic.arrays import F32Array
from napari_hqsam2.synthetic.canvas import Paint
from napari_hqsam2.synthetic.looks import Setting, Stage, chance, log_uniform
from napari_hqsam2.synthetic.noise import TextureKind, fractal_field
from napari_hqsam2.synthetic.optics import Backdrop, blur, draw_haze, glow, sprinkle


@dataclass(frozen=True)
class Fluorescence:
    """Labelled objects shine on a dark background."""

    paint: Paint
    background: float
    glare: float
    glare_sigma: float
    haze: Backdrop
    haze_gain: float
    exposure: float
    tints: F32Array | None

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W), or (H, W, 3) in false colour."""
        image = stage.canvas.light + np.float32(self.background)
        if self.glare:
            image += np.float32(self.glare) * glow(stage.canvas.light, self.glare_sigma)
        haze = np.float32(self.haze_gain) * self.haze.at(stage.shift)
        if self.tints is None:
            return (image + haze) * np.float32(self.exposure)
        rgb = image[:, :, None] * self.tints[0] + haze[:, :, None] * self.tints[1]
        return rgb * np.float32(self.exposure)


def draw_fluorescence(rng: np.random.Generator, setting: Setting) -> Fluorescence:
    """Draw a fluorescence microscope and a stain."""
    dome = rng.uniform(0, 0.9)
    kinds: tuple[TextureKind, ...] = ("chromatin", "cloud", "spots", "grain")
    opacity = float(rng.choice([0.0, 0.4, 1.0]))
    paint = Paint(
        flat=1 - dome,
        dome=dome,
        rim=float(rng.uniform(0, 0.6)) if chance(rng, 0.25) else 0.0,
        rim_width=float(rng.uniform(0.08, 0.2)) * setting.diameter,
        kind=kinds[rng.choice(4, p=[0.5, 0.25, 0.15, 0.1])],
        texture=float(rng.uniform(0.02, 0.4)),
        zoom=log_uniform(rng, 0.6, 2.0) * 26 / max(setting.diameter, 14),
        opacity=opacity,
        touching=chance(rng, 0.6) and opacity == 1,
    )
    return Fluorescence(
        paint=paint,
        background=float(rng.uniform(0.01, 0.15)),
        glare=float(rng.uniform(0.05, 0.5)) if chance(rng, 0.6) else 0.0,
        glare_sigma=float(rng.uniform(0.2, 0.8)) * setting.diameter,
        haze=draw_haze(rng, setting.size, setting.pad, setting.diameter),
        haze_gain=log_uniform(rng, 0.02, 0.3) if chance(rng, 0.6) else 0.0,
        exposure=float(rng.uniform(0.35, 0.75)),
        tints=_tints(rng) if chance(rng, 0.06) else None,
    )


def _tints(rng: np.random.Generator) -> F32Array:
    """Colours of the objects and of what lies around them, (2, 3)."""
    tints = rng.uniform(0, 1, (2, 3)) ** 2
    tints[:, rng.integers(3)] = 1
    return tints.astype(np.float32)


@dataclass(frozen=True)
class Membrane:
    """Cell borders shine (or are dark), as in epithelia and embryos."""

    paint: Paint
    width: float
    body: float
    unevenness: Backdrop
    texture: float
    dark_walls: bool

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        partition, tone, texture = stage.cells()
        distance = partition.depth / np.float32(self.width)
        wall = np.exp(-distance * distance)
        wall *= np.clip(1 + np.float32(0.6) * self.unevenness.at(stage.shift), 0.1, 2)
        body = np.float32(self.body) * tone * (1 + np.float32(self.texture) * texture)
        body = np.where(partition.owner > 0, body, np.float32(0.4 * self.body))
        image = np.maximum(body, 0) * (1 - np.minimum(wall, 1))
        if self.dark_walls:
            return np.float32(0.25) + np.float32(1.2) * image - np.float32(0.2) * wall
        return np.float32(0.05) + image + np.float32(0.7) * wall


def draw_membrane(rng: np.random.Generator, setting: Setting) -> Membrane:
    """Draw a membrane stain."""
    grown = setting.grown
    dark = chance(rng, 0.15)
    return Membrane(
        paint=Paint(cell_kind="cloud" if chance(rng, 0.5) else "spots"),
        width=float(np.clip(rng.uniform(0.03, 0.07) * setting.diameter, 0.9, 4)),
        body=float(rng.uniform(0.4, 0.7) if dark else rng.uniform(0.02, 0.35)),
        unevenness=Backdrop(fractal_field(rng, grown, 30.0), setting.pad),
        texture=float(rng.uniform(0.0, 0.5)),
        dark_walls=dark,
    )


@dataclass(frozen=True)
class PhaseContrast:
    """Bodies are dark (or grey and grainy) with a bright halo around them."""

    paint: Paint
    level: float
    body: float
    halo: float
    halo_sigma: float
    edge: float
    scenery: Backdrop

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        canvas = stage.canvas
        cover = np.clip(canvas.depth + np.float32(0.5), 0, 1)
        ring = blur(cover, self.halo_sigma)
        halo = np.float32(self.halo) * ring * (1 - cover)
        wide = np.float32(0.4 * self.halo) * glow(cover, 4 * self.halo_sigma)
        image = np.float32(self.level) + self.scenery.at(stage.shift) + halo
        image += wide * (1 - cover) + np.float32(self.body) * canvas.light
        if self.edge:
            image += np.float32(self.edge) * cover * (1 - ring)
        return image


def draw_phase_bacteria(rng: np.random.Generator, setting: Setting) -> PhaseContrast:
    """Draw phase contrast of dark, even bodies."""
    return _draw_phase(
        rng,
        setting,
        Paint(
            flat=float(rng.uniform(0.5, 1.0)),
            dome=float(rng.uniform(0.0, 0.5)),
            kind="cloud",
            texture=float(rng.uniform(0, 0.15)),
            zoom=1.5,
            touching=True,
        ),
        body=-float(rng.uniform(0.2, 0.42)),
        edge=0.0,
    )


def draw_phase_cells(rng: np.random.Generator, setting: Setting) -> PhaseContrast:
    """Draw phase contrast of spread cells with grainy bodies."""
    kinds: tuple[TextureKind, ...] = ("chromatin", "grain", "spots", "cloud")
    return _draw_phase(
        rng,
        setting,
        Paint(
            flat=1.0,
            kind=kinds[rng.integers(4)],
            texture=float(rng.uniform(0.3, 1.8)),
            zoom=log_uniform(rng, 0.8, 2.0) * 40 / max(setting.diameter, 20),
            opacity=1.0 if chance(rng, 0.7) else 0.5,
        ),
        body=float(rng.normal(0, 0.06)) - 0.06,
        edge=float(rng.uniform(-0.25, 0.25)),
    )


def _draw_phase(
    rng: np.random.Generator,
    setting: Setting,
    paint: Paint,
    body: float,
    edge: float,
) -> PhaseContrast:
    grown = setting.grown
    slow = fractal_field(rng, grown, rng.uniform(40, 120), octaves=4)
    scenery = np.float32(rng.uniform(0.01, 0.05)) * slow
    if chance(rng, 0.5):
        dust = np.zeros(grown, np.float32)
        sprinkle(rng, dust, int(rng.integers(2, 20)), (1.0, 4.0), 0.5)
        scenery += np.float32(rng.uniform(-0.25, 0.25)) * dust
    return PhaseContrast(
        paint=paint,
        level=float(rng.uniform(0.35, 0.6)),
        body=body,
        halo=float(rng.uniform(0.15, 0.6)),
        halo_sigma=float(np.clip(rng.uniform(0.04, 0.09) * setting.diameter, 1.0, 5)),
        edge=edge,
        scenery=Backdrop(scenery, setting.pad),
    )


@dataclass(frozen=True)
class Dic:
    """Differential interference contrast: slopes look lit from one side."""

    paint: Paint
    slope: float
    direction: float
    relief: float
    scenery: Backdrop

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        light = stage.canvas.light
        path = blur(stage.canvas.thick + np.float32(self.relief) * light, 0.8)
        path = path + self.scenery.at(stage.shift)
        dy, dx = np.gradient(path)
        c, s = np.cos(self.direction), np.sin(self.direction)
        lit = np.float32(s) * dy + np.float32(c) * dx
        return np.float32(0.5) + np.tanh(np.float32(self.slope) * lit) * np.float32(0.5)


def draw_dic(rng: np.random.Generator, setting: Setting) -> Dic:
    """Draw a DIC microscope."""
    grown = setting.grown
    scenery = fractal_field(rng, grown, rng.uniform(6, 40), octaves=3)
    return Dic(
        paint=Paint(
            flat=0.3,
            dome=0.7,
            kind="chromatin" if chance(rng, 0.5) else "cloud",
            texture=float(rng.uniform(0.1, 0.8)),
            zoom=log_uniform(rng, 0.7, 1.6) * 40 / max(setting.diameter, 20),
            opacity=0.8,
        ),
        slope=float(rng.uniform(0.12, 0.5)) * setting.diameter**0.7,
        direction=float(rng.uniform(-np.pi, np.pi)),
        relief=float(rng.uniform(0.05, 0.4)),
        scenery=Backdrop(np.float32(rng.uniform(0.006, 0.045)) * scenery, setting.pad),
    )


@dataclass(frozen=True)
class Brightfield:
    """Refracting bodies out of perfect focus: rings, with or without absorption."""

    paint: Paint
    level: float
    absorption: float
    ring: float
    ring_width: float
    halo: float
    scenery: Backdrop

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        canvas = stage.canvas
        cover = np.clip(canvas.depth + np.float32(0.5), 0, 1)
        width = np.float32(self.ring_width)
        inner = (np.maximum(canvas.depth, 0) - width) / width
        ring = np.exp(-inner * inner) * cover
        halo = blur(cover, 1.5 * self.ring_width) * (1 - cover)
        image = np.float32(self.level) + self.scenery.at(stage.shift)
        image -= np.float32(self.absorption) * canvas.light
        image -= np.float32(self.ring) * ring
        return image + np.float32(self.halo) * halo


def draw_brightfield(rng: np.random.Generator, setting: Setting) -> Brightfield:
    """Draw a bright-field microscope near focus."""
    grown = setting.grown
    scenery = fractal_field(rng, grown, rng.uniform(20, 100), octaves=3)
    sprinkle(rng, scenery, int(rng.integers(0, 12)), (1.0, 5.0), 0.5)
    sign = 1.0 if chance(rng, 0.75) else -1.0
    ring = sign * rng.uniform(0.15, 0.5)
    return Brightfield(
        paint=Paint(
            flat=0.5,
            dome=0.5,
            kind="chromatin" if chance(rng, 0.6) else "spots",
            texture=float(rng.uniform(0.1, 0.8)),
            zoom=log_uniform(rng, 0.7, 1.6) * 30 / max(setting.diameter, 16),
            touching=True,
        ),
        level=float(rng.uniform(0.45, 0.75)),
        absorption=float(rng.uniform(-0.12, 0.2)),
        ring=float(ring),
        ring_width=float(np.clip(rng.uniform(0.04, 0.1) * setting.diameter, 0.9, 4)),
        halo=float(sign * rng.uniform(0.0, 0.5)),
        scenery=Backdrop(np.float32(rng.uniform(0.006, 0.045)) * scenery, setting.pad),
    )
