"""From images and prompts in pixels to what the network wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from napari_hqsam2.predictors.intensity import shows_bytes, to_unit_rgb

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import HW, AnyArray, FloatArray
    from napari_hqsam2.predictors.intensity import IntensityLimits

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


def to_video_image(
    frame: AnyArray, limits: IntensityLimits, size: int, device: torch.device
) -> Tensor:
    """Resize and normalise one frame of a video as upstream does.

    Bytes that are shown as they are stay bytes while they are resized, as in upstream's
    loader of JPEG frames; everything else is scaled first and resized in float32.

    Parameters
    ----------
    frame : ndarray
        (H, W) or (H, W, C), as `FrameSource.read` gives it.
    limits : tuple
        Intensities shown as black and white, or one pair a channel.
    size : int
        S, side of the square input in pixels.
    device : torch.device
        Where the result lives.

    Returns
    -------
    Tensor
        (1, 3, S, S) float32.
    """
    if shows_bytes(frame, limits) and frame.shape[:2] != (size, size):
        frame = _resized_bytes(frame, size)
    return to_model_image(to_unit_rgb(frame, limits), size, device, "bicubic")


def _resized_bytes(frame: AnyArray, size: int) -> AnyArray:
    """uint8 frame at S x S, without opacity, by which colours would be weighed."""
    if frame.ndim == 3 and frame.shape[2] < 3:
        planes = [_resized_bytes(plane, size) for plane in np.moveaxis(frame, -1, 0)]
        return np.stack(planes, axis=-1)
    picture = Image.fromarray(frame if frame.ndim == 2 else frame[..., :3])
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


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
