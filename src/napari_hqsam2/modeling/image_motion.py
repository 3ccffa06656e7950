"""How the image moves from one frame to the next, and masks along with it.

Between neighbouring frames and slices, an image tells where its parts go more exactly
than a small network tells where an object is: on tissue, a mask that is moved so keeps
an IoU of 0.9 to the next slice, and one that is found by memory 0.8.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PICTURE_SIDE = 256
"""Pixels along a side of the pictures that are compared."""
CONTRAST_REACH = 16.0
"""Standard deviation, in pixels, of the surroundings that brightness is relative to."""
FLATNESS = 0.05
"""Least local contrast, as part of the picture's."""
LEVELS = 4
"""Times that the picture is halved, but one: what moves far is seen on the coarsest."""
STEPS = 5
"""Steps towards the best match on each level, of at most one pixel."""
MATCHED = 2.5
"""Standard deviation, in pixels, of the surroundings that are matched as one."""
STIFFNESS = 1e-3
"""What keeps flat surroundings in place, as part of the mean squared gradient."""
LARGEST_LOGIT = 10.0
"""Masks that are moved or mixed have no larger logits."""


def to_picture(image: Tensor) -> Tensor:
    """Grey pictures whose brightness is relative to its surroundings.

    Parameters
    ----------
    image : Tensor
        (B, 3, S, S) inputs of a model.

    Returns
    -------
    Tensor
        (B, 1, `PICTURE_SIDE`, `PICTURE_SIDE`) float32.
    """
    grey = image.float().mean(1, keepdim=True)
    side = (PICTURE_SIDE, PICTURE_SIDE)
    grey = F.interpolate(grey, side, mode="bilinear", antialias=True)
    relative = grey - _blurred(grey, CONTRAST_REACH)
    contrast = _blurred(relative.square(), CONTRAST_REACH).sqrt()
    spread = grey.std((1, 2, 3), keepdim=True)
    return relative / (contrast + FLATNESS * spread + 1e-6)


def image_motion(now: Tensor, before: Tensor) -> Tensor:
    """Where each pixel of a picture was on the one before.

    The method of Lucas and Kanade (1981), from coarse to fine.

    Parameters
    ----------
    now, before : Tensor
        (B, 1, H, W) pictures.

    Returns
    -------
    Tensor
        (B, 2, H, W) what is to be added to (x, y), in pixels.
    """
    pairs = [torch.cat((now, before))]
    for _ in range(LEVELS - 1):
        pairs.append(F.avg_pool2d(_blurred(pairs[-1], 0.7), 2))
    motion = now.new_zeros(len(now), 2, *pairs[-1].shape[-2:])
    for pair in reversed(pairs):
        here, there = pair.chunk(2)
        motion = _matched(here, there, resized_motion(motion, pair))
    return motion


def resized_motion(motion: Tensor, like: Tensor) -> Tensor:
    """(B, 2, H, W) motion on the grid of another tensor, in pixels of that."""
    size, (height, width) = like.shape[-2:], motion.shape[-2:]
    if size == (height, width):
        return motion
    scale = motion.new_tensor([size[1] / width, size[0] / height])[:, None, None]
    return F.interpolate(motion, size, mode="bilinear", antialias=True) * scale


def moved(values: Tensor, motion: Tensor, *, smooth: bool = False) -> Tensor:
    """What was seen on the frame before, where it is now.

    Parameters
    ----------
    values : Tensor
        (N, C, H, W) of the frame before; borders are continued.
    motion : Tensor
        (N, 2, H, W) from `image_motion`, or (1, 2, H, W) for all.
    smooth : bool
        Bicubic, which keeps masks sharp that are moved again and again.
    """
    height, width = values.shape[-2:]
    x = torch.arange(width, device=motion.device) + motion[:, 0]
    y = torch.arange(height, device=motion.device)[:, None] + motion[:, 1]
    places = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    return F.grid_sample(
        values,
        places.to(values.dtype).expand(len(values), -1, -1, -1),
        mode="bicubic" if smooth else "bilinear",
        padding_mode="border",
        align_corners=False,
    )


def _matched(now: Tensor, before: Tensor, motion: Tensor) -> Tensor:
    """The motion on one level, beginning with that of the coarser one."""
    dx, dy = _slopes(now)
    products = torch.cat((dx * dx, dy * dy, dx * dy), dim=1)
    xx, yy, xy = _blurred(products, MATCHED).split(1, dim=1)
    least = STIFFNESS * (xx + yy).mean((1, 2, 3), keepdim=True) + 1e-8
    xx, yy = xx + least, yy + least
    determinant = xx * yy - xy * xy
    for _ in range(STEPS):
        error = now - moved(before, motion)
        pulls = _blurred(torch.cat((dx * error, dy * error), dim=1), MATCHED)
        x, y = pulls.split(1, dim=1)
        step = torch.cat((yy * x - xy * y, xx * y - xy * x), dim=1) / determinant
        motion = motion + step.clamp(-1, 1)
    return _blurred(motion, 1.0)


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Differences along x and y of (B, 1, H, W)."""
    wide = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    dx = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    dy = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return dx, dy


def _blurred(values: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) means with Gaussian weights; borders are continued."""
    reach = round(3 * sigma)
    at = torch.arange(-reach, reach + 1, device=values.device)
    weights = torch.exp(-at.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    flat = values.flatten(0, 1)[:, None]
    flat = F.conv2d(
        F.pad(flat, (reach, reach, 0, 0), mode="replicate"), weights[None, None, None]
    )
    flat = F.conv2d(
        F.pad(flat, (0, 0, reach, reach), mode="replicate"),
        weights[None, None, :, None],
    )
    return flat.reshape(values.shape)
