"""Random changes of intensity: drawn for one crop, made for many on their device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import AnyArray

F32 = np.float32
LUMA = np.array([0.299, 0.587, 0.114], dtype=F32)
WIDEST = 1.5
"""Largest deviation of a blur, in pixels of the source."""
REACH = math.ceil(4 * WIDEST)
"""Half the width of a blur's window in pixels."""
SIGMA = 6
"""Place of the blur in a row of numbers."""
STRIDE = 4
"""Every so manyth row and column is looked at for the contrast of a crop."""


def to_rgb(image: AnyArray) -> npt.NDArray[np.float32]:
    """Bring (..., H, W[, 3]) to (..., H, W, 3) float32 from 0 to 1.

    Whole numbers are uint8, floating ones are from 0 to 1 already.
    """
    if image.shape[-1] != 3:
        image = np.repeat(image[..., None], 3, axis=-1)
    scaled: npt.NDArray[np.float32] = image.astype(F32)
    return scaled if image.dtype.kind == "f" else scaled / F32(255)


@dataclass(frozen=True, eq=False)
class Change:
    """What happens to the intensities of one crop, in this order.

    Values are from 0 to 1 before, and are brought back to that range after the
    stretch and at the end.
    """

    low: float = 0.0
    """What becomes 0."""
    span: float = 1.0
    """What becomes 1, above `low`."""
    inverted: bool = False
    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    colours: AnyArray | None = None
    """(3, 4): red, green and blue from those before and from 1; None keeps them."""
    sigma: float = 0.0
    """Deviation of a blur in pixels of the source."""
    noise: float = 0.0
    """Deviation of grey noise on every pixel of the source."""

    def shrunk(self, factor: float) -> Change:
        """The same for a crop that was made so many times as small."""
        return replace(self, sigma=self.sigma / factor, noise=self.noise / factor)

    def row(self) -> list[float]:
        """All of it as numbers."""
        colours = np.eye(3, 4) if self.colours is None else self.colours
        mapped = (self.low, self.span, self.inverted, self.gamma, self.gain)
        return [*mapped, self.offset, self.sigma, self.noise, *colours.ravel()]


def draw_change(
    images: AnyArray, rng: np.random.Generator, *, keeps_look: bool = False
) -> Change:
    """Draw what happens to a crop.

    Parameters
    ----------
    images : ndarray
        (T, H, W) or (T, H, W, 3) uint8, or floating from 0 to 1.
    rng : numpy.random.Generator
        Decides.
    keeps_look : bool
        Contrast, polarity and colours stay, for images that are all of one kind.
    """
    change = Change()
    if not keeps_look:
        low, span = _contrast(images, rng) if rng.random() < 0.5 else (0.0, 1.0)
        inverted = bool(rng.random() < 0.25)
        colours = _colours(rng) if rng.random() < 0.2 else None
        change = Change(low, span, inverted, colours=colours)
    if rng.random() < 0.6:
        change = replace(change, gamma=math.exp(rng.uniform(-0.7, 0.7)))
    if rng.random() < 0.5:
        gain, offset = math.exp(rng.uniform(-0.5, 0.3)), rng.uniform(-0.1, 0.15)
        change = replace(change, gain=gain, offset=offset)
    if rng.random() < 0.25:
        change = replace(change, sigma=rng.uniform(0.4, WIDEST))
    if rng.random() < 0.4:
        change = replace(change, noise=rng.uniform(0.005, 0.08))
    return change


def _contrast(images: AnyArray, rng: np.random.Generator) -> tuple[float, float]:
    seen = images[:, ::STRIDE, ::STRIDE]
    low, high = np.percentile(seen, (rng.uniform(0, 2), 99.7))
    if images.dtype.kind != "f":
        low, high = low / 255, high / 255
    return float(low), max(float(high - low), 0.02)


def _colours(rng: np.random.Generator) -> AnyArray:
    if rng.random() < 0.5:
        return np.pad(np.tile(LUMA, (3, 1)), ((0, 0), (0, 1)))
    near, far = rng.uniform(0, 1, (2, 3))
    far = far * rng.uniform(0, 0.5)
    mapped: AnyArray = np.column_stack([np.outer(near - far, LUMA), far])
    return mapped


@dataclass(frozen=True, eq=False)
class Changes:
    """What happens to F frames."""

    rows: npt.NDArray[np.float32]
    """(F, 20) as of `Change.row`."""

    @classmethod
    def of(cls, changes: Sequence[Change]) -> Changes:
        """One change for each frame."""
        return cls(np.array([each.row() for each in changes], F32))

    def made(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Change (F, 3, H, W) frames from 0 to 1; the generator makes the noise."""
        rows = to_device(self.rows, frames.device)[:, :, None, None, None]
        low, span, inverted, gamma, gain, offset, sigma, noise = rows[:, :8].unbind(1)
        frames = ((frames - low) / span).clamp(0, 1)
        frames = inverted + (1 - 2 * inverted) * frames
        frames = frames**gamma * gain + offset
        colours = rows[:, 8:, 0, 0, 0].unflatten(1, (3, 4))
        mixed = torch.matmul(colours[:, :, :3], frames.flatten(2))
        frames = (mixed + colours[:, :, 3:]).unflatten(2, frames.shape[2:])
        if self.rows[:, SIGMA].any():
            index = to_device(np.flatnonzero(self.rows[:, SIGMA]), frames.device)
            soft = blurred(frames[index], sigma[index].flatten())
            frames = frames.index_copy(0, index, soft)
        shape = (len(frames), 1, *frames.shape[2:])
        grain = torch.randn(shape, generator=generator, device=frames.device)
        return (frames + noise * grain).clamp(0, 1)


def blurred(frames: Tensor, sigma: Tensor) -> Tensor:
    """Blur (F, C, H, W) frames by Gaussians of (F,) deviations, at most `WIDEST`."""
    count, channels = frames.shape[:2]
    far = torch.arange(-REACH, REACH + 1, device=frames.device)
    weights = torch.exp(-0.5 * (far / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = F.pad(frames.flatten(0, 1)[None], (REACH,) * 4, mode="replicate")
    rows = F.conv2d(planes, weights[:, None, :, None], groups=len(weights))
    both = F.conv2d(rows, weights[:, None, None, :], groups=len(weights))
    return both[0].unflatten(0, (count, channels))
