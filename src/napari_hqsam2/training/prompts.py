"""Simulated clicks and boxes, as an annotator would give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import BoolArray

EROSIONS = 8
"""Depth up to which the inside of an error region is told apart, in cells."""


def random_point(mask: BoolArray, rng: np.random.Generator) -> tuple[int, int]:
    """(row, column) of a random pixel of a mask."""
    pixels = np.flatnonzero(mask)
    row, column = np.unravel_index(pixels[rng.integers(len(pixels))], mask.shape)
    return int(row), int(column)


def jitter_box(
    box: npt.NDArray[np.float64], rng: np.random.Generator, size: int, *, noise: float
) -> npt.NDArray[np.float64]:
    """Move the edges of an (x0, y0, x1, y1) box by a share of its sides, at most 20 px.

    The box stays inside an image of `size` pixels and keeps its corners in order.
    """
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    shift = rng.normal(0, noise, 4) * np.array([width, height, width, height])
    moved = (box + shift.clip(-20, 20)).clip(0, size - 1)
    return np.concatenate(
        [np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])]
    )


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random values from 0 to 1, drawn where they are needed."""
    if generator is not None and generator.device.type != like.device.type:
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.rand(like.shape, generator=generator, device=like.device)


def _depth(region: Tensor) -> Tensor:
    """Chessboard distance to the outside of (N, 1, h, w) regions of zeros and ones."""
    total = region
    for _ in range(EROSIONS):
        padded = F.pad(region, (1, 1, 1, 1))
        region = -F.max_pool2d(-padded, kernel_size=3, stride=1)
        total = total + region
    return total


def correction_clicks(
    logits: Tensor, target: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Correction clicks for a batch, at the resolution of the logits.

    Parameters
    ----------
    logits : Tensor
        (N, 1, h, w) mask logits.
    target : Tensor
        (N, 1, h, w) share of each cell that belongs to the object.
    generator : torch.Generator, optional
        Breaks ties, and draws half of the clicks from anywhere in the error.

    Returns
    -------
    coords_norm : Tensor
        (N, 1, 2) clicks (x, y) from 0 to 1.
    labels : Tensor
        (N, 1) int32, 1 where the click adds to the object, else 0.
    """
    truth = (target > 0.5).float()
    guess = (logits > 0).float()
    missing, excess = truth * (1 - guess), guess * (1 - truth)
    both = torch.cat((missing, excess), dim=1)
    perfect = both.flatten(1).sum(1) == 0
    missing = torch.where(perfect[:, None, None, None], target, missing)
    depth = torch.cat((_depth(missing), _depth(excess)), dim=1)
    noise = _noise(depth, generator)
    anywhere = _noise(depth[:, :1, :1, :1], generator) < 0.5
    score = torch.where(anywhere, depth.clamp(max=1) * (1 + noise), depth + 0.5 * noise)
    height, width = depth.shape[-2:]
    index = score.flatten(1).argmax(dim=1)
    positive = index < height * width
    index = index % (height * width)
    row = torch.div(index, width, rounding_mode="floor")
    coords = torch.stack(((index % width + 0.5) / width, (row + 0.5) / height), dim=-1)
    return coords[:, None].float(), positive[:, None].int()
