"""From an ideal picture to camera counts: blur, light, tone, and noise."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array, F64Array
from napari_hqsam2.synthetic.noise import fractal_field, smooth_field, upsample

_SHRINK = 4


def blur(image: F32Array, sigma: float) -> F32Array:
    """Gaussian blur of the first two axes; ``sigma`` in pixels, 0 is none."""
    if sigma < 0.15:
        return image
    if image.ndim == 3:
        planes = [blur(np.ascontiguousarray(p), sigma) for p in np.moveaxis(image, 2, 0)]
        return np.stack(planes, axis=2)
    return ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0)


def glow(image: F32Array, sigma: float) -> F32Array:
    """Wide Gaussian blur of (H, W), computed on a grid four times as coarse."""
    if sigma < 3:
        return blur(image, sigma)
    h, w = image.shape
    pad = ((0, -h % _SHRINK), (0, -w % _SHRINK))
    padded = np.pad(image, pad, mode="edge")
    blocks = padded.reshape(padded.shape[0] // _SHRINK, _SHRINK, -1, _SHRINK)
    small = np.pad(blocks.mean(axis=(1, 3)), ((2, 3), (2, 3)), mode="edge")
    small = ndimage.gaussian_filter(small, sigma / _SHRINK, mode="nearest", truncate=3.0)
    return upsample(small.astype(np.float32), (h, w), float(_SHRINK), start=2.5)


@dataclass(frozen=True)
class Backdrop:
    """Still scenery, larger than the view by ``pad`` pixels on every side."""

    field: F32Array
    pad: int

    @classmethod
    def empty(cls, size: HW, pad: int) -> "Backdrop":
        """Scenery of zeros for a view of this size."""
        return cls(np.zeros((size[0] + 2 * pad, size[1] + 2 * pad), np.float32), pad)

    def at(self, shift: tuple[float, float]) -> F32Array:
        """View of the scenery after it moved by ``shift`` (y, x) pixels, (H, W)."""
        if not self.pad:
            return self.field
        y, x = (min(max(self.pad - s, 0.0), 2 * self.pad - 1.001) for s in shift)
        iy, ix = int(y), int(x)
        fy, fx = np.float32(y - iy), np.float32(x - ix)
        h, w = (n - 2 * self.pad for n in self.field.shape)
        block = self.field[iy : iy + h + 1, ix : ix + w + 1]
        if not fy and not fx:
            return block[:h, :w]
        rows = (1 - fy) * block[:h] + fy * block[1:]
        return (1 - fx) * rows[:, :w] + fx * rows[:, 1:]


@dataclass(frozen=True)
class Camera:
    """How light becomes numbers; the same for all frames of a clip.

    Attributes
    ----------
    sigma : float
        Point spread in pixels.
    light : (H, W) float32 or None
        Uneven illumination around 1.
    black, white : float
        Levels (of 255) of the values 0 and 1.
    gamma : float
        Exponent on the values before the levels.
    shot, read : float
        Deviation in levels of the noise at full signal and at none.
    grain : float
        Point spread of the noise itself in pixels.
    inverted : bool
        Swap dark and bright.
    gain : (T,) float
        Brightness of every frame: flicker and bleaching.
    """

    sigma: float
    light: F32Array | None
    black: float
    white: float
    gamma: float
    shot: float
    read: float
    grain: float
    inverted: bool
    gain: F64Array

    def expose(
        self, rng: np.random.Generator, image: F32Array, frame: int
    ) -> F32Array:
        """Turn an ideal (H, W[, C]) picture in [0, 1] into levels in [0, 255]."""
        seen = blur(image, self.sigma) * np.float32(self.gain[frame])
        if self.light is not None:
            seen = seen * (self.light if seen.ndim == 2 else self.light[:, :, None])
        seen = np.clip(seen, 0, 1)
        if self.gamma != 1:
            seen = seen ** np.float32(self.gamma)
        noise = rng.standard_normal(seen.shape, dtype=np.float32)
        if self.grain:
            noise = blur(noise, self.grain) * np.float32(1 + 2.5 * self.grain)
        variance = np.float32(self.shot**2) * seen + np.float32(self.read**2)
        if self.inverted:
            seen = 1 - seen
        levels = np.float32(self.black) + np.float32(self.white - self.black) * seen
        levels += noise * np.sqrt(variance)
        return np.clip(levels, 0, 255)


def draw_camera(
    rng: np.random.Generator, size: HW, frames: int, sharpness: float, dim: float
) -> Camera:
    """Draw a camera.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    size : (H, W)
        Of the view in pixels.
    frames : int
        T.
    sharpness : float
        1 is in focus; smaller values blur more.
    dim : float
        Chance of a dark, low-contrast exposure, as fluorescence often has.
    """
    white = 255.0
    if rng.random() < dim:
        white = float(np.exp(rng.uniform(np.log(35), np.log(200))))
    black = float(rng.uniform(0, 0.12) * white) * float(rng.random() < 0.6)
    noise = float(np.exp(rng.normal(np.log(0.02), 0.8)))
    light = None
    if rng.random() < 0.5:
        field = smooth_field(rng, size, 0.9 * max(size))
        light = np.clip(1 + np.float32(rng.uniform(0.02, 0.15)) * field, 0.5, 1.3)
    fade = rng.uniform(0, 0.05) if rng.random() < 0.4 else 0.0
    flicker = rng.uniform(0, 0.03)
    steps = np.arange(frames)
    return Camera(
        sigma=float(rng.uniform(0.4, 1.2)) / sharpness,
        light=light,
        black=black,
        white=white,
        gamma=float(rng.choice([1.0, 1.0, rng.uniform(0.7, 1.5)])),
        shot=float(min(noise, 0.12) * (white - black)),
        read=float(min(noise, 0.12) * (white - black) * rng.uniform(0.1, 0.7)),
        grain=float(rng.choice([0.0, 0.0, rng.uniform(0.4, 0.8)])),
        inverted=bool(rng.random() < 0.04),
        gain=np.exp(-fade * steps) * (1 + flicker * rng.normal(size=frames)),
    )


def draw_haze(
    rng: np.random.Generator, size: HW, pad: int, cell: float, floor: float = 0.6
) -> Backdrop:
    """Soft clouds of out-of-focus light, 0 in most places and up to about 2."""
    grown = (size[0] + 2 * pad, size[1] + 2 * pad)
    field = fractal_field(rng, grown, cell, octaves=2)
    return Backdrop(np.maximum(field - np.float32(floor), 0), pad)
