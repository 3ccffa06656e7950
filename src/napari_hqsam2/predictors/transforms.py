"""From images and prompts in pixels to what the network wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import HW, FloatArray

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet statistics that SAM 2 was trained with."""

Interpolation = Literal["bilinear", "bicubic"]
"""Upstream resizes images bilinearly and the frames of videos bicubically."""


def to_model_image(
    rgb: FloatArray, size: int, device: torch.device, interpolation: Interpolation
) -> Tensor:
    """Resize and normalise one image.

    Parameters
    ----------
    rgb : ndarray
        (H, W, 3) float32 from 0 to 1.
    size : int
        S, side of the square input in pixels.
    device : torch.device
        Where the result lives.
    interpolation : {"bilinear", "bicubic"}
        Both with antialiasing.

    Returns
    -------
    Tensor
        (1, 3, S, S) float32.
    """
    image = torch.from_numpy(rgb).to(device).permute(2, 0, 1)[None]
    if image.shape[-2:] != (size, size):
        image = F.interpolate(
            image, size=(size, size), mode=interpolation, antialias=True
        ).clamp_(0, 1)
    mean = torch.tensor(MEAN, device=device)[:, None, None]
    std = torch.tensor(STD, device=device)[:, None, None]
    # not in place at first: an image that is not resized may be the caller's
    return (image - mean).div_(std)


def from_model_image(image: Tensor) -> Tensor:
    """Take the normalisation of `to_model_image` back.

    Parameters
    ----------
    image : Tensor
        (1, 3, S, S).

    Returns
    -------
    Tensor
        (S, S, 3) from 0 to 1.
    """
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return (image[0].permute(1, 2, 0).cpu() * std + mean).clamp_(0, 1)


def to_coords_norm(
    coords_xy: Tensor | npt.ArrayLike, hw: HW, size: int, *, normalize: bool = True
) -> Tensor:
    """Points in pixels as the network's 0 to 1.

    Parameters
    ----------
    coords_xy : array_like
        (..., 2) points (x, y), in pixels of an (H, W) image; with ``normalize=False``
        already divided by its width and height.
    hw : tuple of int
        Height and width of that image.
    size : int
        S, side of the network's input; half a pixel of it is added, as SAM does.
    normalize : bool
        Divide by width and height.

    Returns
    -------
    Tensor
        (..., 2) float32.
    """
    coords = torch.as_tensor(coords_xy, dtype=torch.float32)
    if normalize:
        coords = coords / torch.tensor([hw[1], hw[0]], device=coords.device)
    return (coords * size + 0.5) / size


def box_points(box: Tensor | npt.ArrayLike) -> tuple[Tensor, Tensor]:
    """(N, 4) boxes (x0, y0, x1, y1) as (N, 2, 2) corner points, labels 2 and 3."""
    corners = torch.as_tensor(np.asarray(box), dtype=torch.float32).reshape(-1, 2, 2)
    labels = torch.tensor([2, 3], dtype=torch.int32).expand(len(corners), -1)
    return corners, labels
