"""Pictures without empty background: electron microscopy, nerves, photos."""

from dataclasses import dataclass

import numpy as np

from napari_hqsam2.synthetic.arrays import F32Array
from napari_hqsam2.synthetic.canvas import Paint
from napari_hqsam2.synthetic.looks import Setting, Stage, chance, log_uniform
from napari_hqsam2.synthetic.noise import (
    TextureKind,
    fractal_field,
    smooth_field,
    texture_tile,
)
from napari_hqsam2.synthetic.optics import Backdrop, blur, sprinkle


@dataclass(frozen=True)
class Electron:
    """Cells with dark membranes and dark organelles on cytoplasm, grainy or clear.

    Membranes are now sharp and now cut aslant, and thick and dark at synapses.
    """

    paint: Paint
    level: float
    spread: float
    wall: float
    wall_width: float
    slant: Backdrop
    synapses: Backdrop
    grain: F32Array
    organelle: float
    shell: float

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        partition, tone, texture = stage.cells()
        image = np.float32(self.level) + np.float32(self.spread) * (tone - 1)
        image += self.grain[partition.cell % len(self.grain)] * texture
        canvas = stage.canvas
        cover = np.clip(canvas.depth + np.float32(0.5), 0, 1)
        body = np.float32(self.organelle) * canvas.light
        image = image * (1 - cover) + body * cover
        shell = np.exp(-(((canvas.depth - 1) / np.float32(1.2)) ** 2)) * cover
        image -= np.float32(self.shell) * shell
        synapse = self.synapses.at(stage.shift)
        slant = self.slant.at(stage.shift)
        distance = partition.depth / (self.wall_width * slant + 3 * synapse)
        line = np.exp(-distance * distance) * (1 - cover)
        strength = np.float32(self.wall) * (slant**-0.5 + synapse)
        return np.maximum(image - strength * line, np.minimum(image, 0.05))


def draw_electron(rng: np.random.Generator, setting: Setting) -> Electron:
    """Draw an electron microscope and a staining of membranes."""
    bright = chance(rng, 0.15)
    kinds: tuple[TextureKind, ...] = ("grain", "chromatin", "spots")
    size, cell = setting.grown, 0.4 * setting.diameter + 8
    slant = np.exp(np.float32(rng.uniform(0, 0.5)) * smooth_field(rng, size, cell))
    places = smooth_field(rng, size, 0.5 * cell) - np.float32(rng.uniform(1.2, 2.5))
    grain = rng.uniform(0.03, 0.1) * rng.lognormal(0, rng.uniform(0, 0.8), 61)
    return Electron(
        paint=Paint(
            flat=1.0,
            kind="fibres" if chance(rng, 0.4) else "grain",
            cell_kind=kinds[rng.choice(3, p=[0.6, 0.25, 0.15])],
            texture=float(rng.uniform(0.05, 0.35)),
            zoom=float(rng.uniform(0.8, 1.8)),
        ),
        level=float(rng.uniform(0.5, 0.8)),
        spread=float(rng.uniform(0.05, 0.4)),
        wall=float(rng.uniform(0.25, 0.6)),
        wall_width=float(rng.uniform(0.9, 2.2)),
        slant=Backdrop(slant, setting.pad),
        synapses=Backdrop(np.clip(places, 0, 1), setting.pad),
        grain=np.clip(grain, 0.01, 0.18).astype(np.float32),
        organelle=float(rng.uniform(0.7, 0.95) if bright else rng.uniform(0.12, 0.35)),
        shell=float(rng.uniform(0.0, 0.2)),
    )


@dataclass(frozen=True)
class Axons:
    """Fibres cut across: a sheath around each axon, bright or dark."""

    paint: Paint
    core: float
    sheath: float
    ground: Backdrop

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        canvas = stage.canvas
        inside = np.clip(canvas.depth + np.float32(0.5), 0, 1)
        image = self.ground.at(stage.shift).copy()
        ring = np.clip((canvas.near + 1) * np.float32(4), 0, 1)
        image += (np.float32(self.sheath) - image) * ring
        core = np.float32(self.core) * canvas.light
        return image + (core - image) * inside


@dataclass(frozen=True)
class Particles:
    """Dense particles on a film, seen in transmission."""

    paint: Paint
    level: float
    contrast: float
    film: Backdrop

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W)."""
        image = np.float32(self.level) + self.film.at(stage.shift)
        return image - np.float32(self.contrast) * stage.canvas.light


def draw_particles(rng: np.random.Generator, setting: Setting) -> Particles:
    """Draw particles or vesicles in an electron microscope."""
    hollow = chance(rng, 0.35)
    film = fractal_field(rng, setting.grown, rng.uniform(3, 50), octaves=3)
    return Particles(
        paint=Paint(
            flat=0.15 if hollow else float(rng.uniform(0.6, 1.0)),
            dome=0.0 if hollow else float(rng.uniform(0.0, 0.5)),
            rim=1.0 if hollow else 0.0,
            rim_width=float(np.clip(rng.uniform(0.06, 0.14) * setting.diameter, 1, 5)),
            kind="grain",
            texture=float(rng.uniform(0, 0.2)),
            opacity=float(rng.choice([0.3, 1.0])),
        ),
        level=float(rng.uniform(0.55, 0.85)),
        contrast=float(rng.uniform(0.3, 0.6)),
        film=Backdrop(np.float32(rng.uniform(0.01, 0.07)) * film, setting.pad),
    )


@dataclass(frozen=True)
class Photo:
    """Opaque things of any colour, lit from one side, before a busy background."""

    paint: Paint
    palette: F32Array
    backdrop_rgb: tuple[Backdrop, Backdrop, Backdrop]
    shade: float
    shadow: float

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W, 3)."""
        canvas = stage.canvas
        rgb = np.stack([plane.at(stage.shift) for plane in self.backdrop_rgb], axis=2)
        cover = np.clip(canvas.depth + np.float32(0.5), 0, 1)
        dark = blur(np.roll(cover, (4, 3), axis=(0, 1)), 3.0) * np.float32(self.shadow)
        rgb = rgb * (1 - dark)[:, :, None]
        colour = self.palette[canvas.owner % len(self.palette)]
        lit = canvas.light * (
            1 - np.float32(self.shade) * (1 - np.clip(canvas.thick, 0, 1))
        )
        rgb += (colour * lit[:, :, None] - rgb) * cover[:, :, None]
        return rgb


def draw_photo(rng: np.random.Generator, setting: Setting) -> Photo:
    """Draw an everyday picture: a palette, a background, and some light."""
    size = setting.grown
    planes = []
    seed = rng.integers(2**32)
    clutter = int(rng.integers(0, 9))
    shared = fractal_field(rng, size, rng.uniform(10, 90), octaves=4)
    contrast = rng.uniform(0.05, 0.22)
    steps = chance(rng, 0.4)
    for _ in range(3):
        own = fractal_field(rng, size, rng.uniform(20, 120), octaves=2)
        mixed = shared + np.float32(0.4) * own
        if steps:
            mixed = np.round(mixed * 2) / np.float32(2)
        same = np.random.default_rng(seed)
        sprinkle(same, mixed, clutter, (6.0, 0.2 * max(size)), 0.08)
        mixed *= np.float32(rng.choice([-1, 1]))
        plane = np.clip(rng.uniform(0.2, 0.8) + contrast * mixed, 0, 1)
        planes.append(Backdrop(plane.astype(np.float32), setting.pad))
    kinds: tuple[TextureKind, ...] = ("cloud", "fibres", "grain", "spots", "chromatin")
    return Photo(
        paint=Paint(
            flat=1.0,
            kind=kinds[rng.integers(5)],
            texture=float(rng.uniform(0, 0.4)),
            zoom=log_uniform(rng, 0.4, 2.0),
        ),
        palette=rng.uniform(0.05, 1, (61, 3)).astype(np.float32),
        backdrop_rgb=(planes[0], planes[1], planes[2]),
        shade=float(rng.uniform(0, 0.7)),
        shadow=float(rng.uniform(0, 0.5)) if chance(rng, 0.6) else 0.0,
    )


def draw_axons(rng: np.random.Generator, setting: Setting) -> Axons:
    """Draw a section of a nerve: dark axons in bright sheaths or the reverse."""
    size = setting.grown
    dark_core = chance(rng, 0.65)
    tile = texture_tile(rng, "grain")
    rows, cols = (np.arange(n) % 256 for n in size)
    ground = np.float32(rng.uniform(0.15, 0.5)) + np.float32(
        rng.uniform(0.03, 0.1)
    ) * fractal_field(rng, size, rng.uniform(6, 30), octaves=3)
    ground += np.float32(0.05) * tile[np.ix_(rows, cols)]
    core = rng.uniform(0.05, 0.3) if dark_core else rng.uniform(0.5, 0.85)
    sheath = rng.uniform(0.6, 0.95) if dark_core else rng.uniform(0.02, 0.25)
    return Axons(
        paint=Paint(
            flat=1.0,
            kind="grain" if chance(rng, 0.6) else "cloud",
            texture=float(rng.uniform(0.05, 0.4)),
            zoom=float(rng.uniform(0.7, 1.6)),
            border=float(rng.uniform(0.7, 2.2)),
            touching=True,
        ),
        core=float(core),
        sheath=float(sheath),
        ground=Backdrop(ground.astype(np.float32), setting.pad),
    )
