"""From an ideal picture to camera counts: blur, light, tone, and noise."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array, F64Array
from napari_hqsam2.synthetic.noise import smooth_field, upsample
from napari_hqsam2.synthetic.style import MotionStyle

_SHRINK = 4
_GRID_VARIANCE = _SHRINK**2 * (1 / 12 + 1 / 3)  # of block means and the B-spline


def blur(image: F32Array, sigma: float) -> F32Array:
    """Gaussian blur of the first two axes; ``sigma`` in pixels, 0 is none."""
    if sigma < 0.15:
        return image
    if image.ndim == 3:
        planes = [
            blur(np.ascontiguousarray(p), sigma) for p in np.moveaxis(image, 2, 0)
        ]
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
    rest = max(sigma**2 - _GRID_VARIANCE, 0.0) ** 0.5 / _SHRINK
    small = ndimage.gaussian_filter(small, rest, mode="nearest", truncate=3.0)
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

    @property
    def strongest(self) -> float:
        """Largest magnitude in the scenery."""
        return float(np.abs(self.field).max())

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
        rows: F32Array = block[:h] + fy * (block[1:] - block[:h])
        return rows[:, :w] + fx * (rows[:, 1:] - rows[:, :w])


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

    def expose(self, rng: np.random.Generator, image: F32Array, frame: int) -> F32Array:
        """Turn an ideal (H, W[, C]) picture in [0, 1] into levels in [0, 255]."""
        seen = blur(image, self.sigma) * np.float32(self.gain[frame])
        if self.light is not None:
            seen = seen * (self.light if seen.ndim == 2 else self.light[:, :, None])
        seen = np.clip(seen, 0, 1)
        if self.gamma != 1:
            seen = seen ** np.float32(self.gamma)
        noise = rng.standard_normal(seen.shape, dtype=np.float32)
        if seen.ndim == 3:
            noise *= np.float32(0.6)
        if self.grain:
            noise = blur(noise, self.grain) * np.float32(1 + 2.5 * self.grain)
        variance = np.float32(self.shot**2) * seen + np.float32(self.read**2)
        if self.inverted:
            seen = 1 - seen
        levels = np.float32(self.black) + np.float32(self.white - self.black) * seen
        levels += noise * np.sqrt(variance)
        return np.clip(levels, 0, 255)


def draw_camera(
    rng: np.random.Generator,
    size: HW,
    style: MotionStyle,
    sharpness: float,
    dim: float,
) -> Camera:
    """Draw a camera.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    size : (H, W)
        Of the view in pixels.
    style : MotionStyle
        Only films in time bleach and flicker.
    sharpness : float
        1 is in focus; smaller values blur more.
    dim : float
        Chance of a dark, low-contrast exposure, and of bleaching.
    """
    white = 255.0
    if rng.random() < dim:
        white = float(np.exp(rng.uniform(np.log(45), np.log(210))))
    black = float(rng.uniform(0, 0.12) * white) * float(rng.random() < 0.6)
    noise = float(np.exp(rng.normal(np.log(0.015), 0.7)))
    light = None
    if rng.random() < 0.5:
        field = smooth_field(rng, size, 0.9 * max(size))
        light = np.clip(1 + np.float32(rng.uniform(0.03, 0.2)) * field, 0.5, 1.3)
    fade = rng.uniform(0, 0.05) if rng.random() < dim else 0.0
    flicker = rng.uniform(0, 0.03) * float(rng.random() < 0.5)
    if style.is_sweep and not style.planes:
        fade, flicker = 0.2 * fade, 0.2 * flicker
    pulse = 1 + flicker * rng.normal(size=style.frames)
    return Camera(
        sigma=float(rng.uniform(0.4, 1.2)) / sharpness,
        light=light,
        black=black,
        white=white,
        gamma=float(rng.choice([1.0, 1.0, rng.uniform(0.7, 1.5)])),
        shot=float(min(noise, 0.1) * (white - black)),
        read=float(min(noise, 0.1) * (white - black) * rng.uniform(0.1, 0.7)),
        grain=float(rng.choice([0.0, 0.0, rng.uniform(0.4, 0.8)])),
        inverted=bool(rng.random() < 0.04),
        gain=np.exp(-fade * style.steps) * pulse[style.steps],
    )


def draw_haze(
    rng: np.random.Generator, size: HW, pad: int, diameter: float
) -> Backdrop:
    """Out-of-focus light: soft clouds and blurred objects, mostly 0, up to about 2."""
    grown = (size[0] + 2 * pad, size[1] + 2 * pad)
    field = smooth_field(rng, grown, 1.5 * diameter)
    field = np.maximum(field + np.float32(0.2), 0) ** 2 * np.float32(0.6)
    count = int(rng.integers(0, 12))
    sprinkle(rng, field, count, (0.4 * diameter, 0.8 * diameter), 0.45)
    return Backdrop(field, pad)


def sprinkle(
    rng: np.random.Generator,
    field: F32Array,
    count: int,
    radii: tuple[float, float],
    softness: float,
) -> None:
    """Add ``count`` soft ellipses of height one or less to ``field``, in place.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    field : (H, W) float32
        Changed in place.
    count : int
        How many.
    radii : (low, high)
        In pixels.
    softness : float
        Width of the edge as a share of the radius.
    """
    height, width = field.shape
    for _ in range(count):
        radius = rng.uniform(*radii)
        ratio, turn = rng.uniform(0.6, 1), rng.uniform(-np.pi, np.pi)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        reach = radius * (1 + 2.5 * softness) + 1
        y0, y1 = max(int(y - reach), 0), min(int(y + reach) + 1, height)
        x0, x1 = max(int(x - reach), 0), min(int(x + reach) + 1, width)
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(y)
        dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(x)
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        rho = np.hypot(c * dx + s * dy, (c * dy - s * dx) / np.float32(ratio))
        edge = (rho / np.float32(radius) - 1) * np.float32(4 / softness)
        strength = np.float32(rng.uniform(0.3, 1))
        field[y0:y1, x0:x1] += strength / (1 + np.exp(np.clip(edge, -30, 30)))
