"""Random changes of intensity that leave the labels as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2._types import AnyArray

F32 = np.float32
LUMA = np.array([0.299, 0.587, 0.114], dtype=F32)


def to_rgb(image: AnyArray) -> npt.NDArray[np.float32]:
    """Bring (..., H, W[, 3]) to (..., H, W, 3) float32 from 0 to 1.

    Whole numbers are uint8, floating ones are from 0 to 1 already.
    """
    if image.shape[-1] != 3:
        image = np.repeat(image[..., None], 3, axis=-1)
    scaled: npt.NDArray[np.float32] = image.astype(F32)
    return scaled if image.dtype.kind == "f" else scaled / F32(255)


def _stretch(image: AnyArray, rng: np.random.Generator) -> AnyArray:
    low, high = np.percentile(image[..., ::4, ::4, :], (rng.uniform(0, 2), 99.7))
    return (image - low) / max(high - low, 0.02)


def _colour(image: AnyArray, rng: np.random.Generator) -> AnyArray:
    grey = image @ LUMA
    if rng.random() < 0.5:
        return np.repeat(grey[..., None], 3, axis=-1)
    near, far = rng.uniform(0, 1, (2, 3)).astype(F32)
    return grey[..., None] * near + (1 - grey[..., None]) * far * rng.uniform(0, 0.5)


def _degrade(image: AnyArray, rng: np.random.Generator) -> AnyArray:
    if rng.random() < 0.25:
        sigma = (0,) * (image.ndim - 3) + (rng.uniform(0.4, 1.5),) * 2 + (0,)
        image = ndimage.gaussian_filter(image, sigma)
    if rng.random() < 0.4:
        noise = rng.standard_normal((*image.shape[:-1], 1), dtype=F32)
        image = image + noise * rng.uniform(0.005, 0.08)
    return image


def augment(
    image: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Change contrast, gamma, polarity, colour, sharpness and noise.

    Parameters
    ----------
    image : ndarray
        (..., H, W, 3) float32 from 0 to 1; all frames of a clip change alike.
    rng : numpy.random.Generator
        Decides what happens.
    """
    if rng.random() < 0.5:
        image = _stretch(image, rng)
    image = image.clip(0, 1)
    if rng.random() < 0.25:
        image = 1 - image
    image = _gamma_and_gain(image, rng)
    if rng.random() < 0.2:
        image = _colour(image, rng)
    return _degrade(image, rng).clip(0, 1).astype(F32)


def augment_mildly(
    image: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Change gamma, gain, sharpness and noise; arguments as of `augment`.

    Polarity and colours stay, for images that are all of one kind.
    """
    image = _gamma_and_gain(image, rng)
    return _degrade(image, rng).clip(0, 1).astype(F32)


def _gamma_and_gain(image: AnyArray, rng: np.random.Generator) -> AnyArray:
    if rng.random() < 0.6:
        image = image ** F32(np.exp(rng.uniform(-0.7, 0.7)))
    if rng.random() < 0.5:
        gain, offset = np.exp(rng.uniform(-0.5, 0.3)), rng.uniform(-0.1, 0.15)
        image = image * F32(gain) + F32(offset)
    return image
