"""Random crops of labelled frames at the size the network sees, with chosen objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.evaluation.objects import find_objects
from napari_hqsam2.training.augment import augment, augment_mildly, to_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2._types import HW, AnyArray, BoolArray, LabelArray
    from napari_hqsam2.training.sources import Clip

MODEL_SIZE = 512
"""Input side at which the built-in model is used."""
MIN_AREA = 48
"""Smallest object to prompt, in pixels of the crop."""
MAX_SHARE = 0.7
"""Largest object to prompt, as a share of the crop."""


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn."""

    zoom: tuple[float, float] = (0.65, 1.8)
    """Range of magnification relative to use, drawn log-uniformly."""
    squash: float = 0.5
    """Share of crops that are squashed to a square as whole images are in use."""
    model_size: int = MODEL_SIZE
    """Input side at which the network is used; it sets the size of objects."""
    keeps_look: bool = False
    """Leave polarity and colours as they are."""


def draw_window(
    hw: HW, size: int, settings: CropSettings, rng: np.random.Generator
) -> tuple[int, int]:
    """Height and width, in image pixels, of a crop that is resized to `size` pixels."""
    zoom = np.exp(rng.uniform(*np.log(settings.zoom)))
    scale = np.array([settings.model_size / hw[0], settings.model_size / hw[1]])
    if rng.random() >= settings.squash:
        scale[:] = np.sqrt(scale.prod())
    window = np.minimum(np.round(size / (scale * zoom)), hw)
    return int(max(window[0], 16)), int(max(window[1], 16))


def _place(
    hw: HW, window: HW, labels: LabelArray, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Place a window so that it holds a random labelled pixel."""
    pixels = np.flatnonzero(labels)
    at = np.unravel_index(pixels[rng.integers(len(pixels))], hw)
    spans = []
    for length, side, centre in zip(hw, window, at, strict=True):
        start = int(centre) - int(rng.integers(side))
        start = min(max(start, 0), length - side)
        spans.append(slice(start, start + side))
    return spans[0], spans[1]


def resize_images(images: npt.NDArray[np.float32], size: int) -> torch.Tensor:
    """Resize (T, H, W, 3) images to (T, 3, size, size), antialiased."""
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return F.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)


def resize_labels(labels: LabelArray, size: int) -> LabelArray:
    """Resize (T, H, W) labels to (T, size, size) by the nearest pixel."""
    rows = (np.arange(size) + 0.5) * labels.shape[1] / size
    columns = (np.arange(size) + 0.5) * labels.shape[2] / size
    return labels[:, rows.astype(np.int64)[:, None], columns.astype(np.int64)]


def _turn(array: AnyArray, quarter: int, *, flip: bool) -> AnyArray:
    turned = np.rot90(array, quarter, axes=(1, 2))
    return turned[:, :, ::-1] if flip else turned


def crop_clip(
    clip: Clip, size: int, settings: CropSettings, rng: np.random.Generator
) -> tuple[torch.Tensor, LabelArray] | None:
    """Cut the same random window from every frame, turn it and change its intensities.

    Returns
    -------
    tuple or None
        (T, 3, size, size) images from 0 to 1 and (T, size, size) labels; None if the
        first frame has no label at all.
    """
    first = clip.labels[0]
    if not first.any():
        return None
    hw = (first.shape[0], first.shape[1])
    rows, columns = _place(hw, draw_window(hw, size, settings, rng), first, rng)
    images = to_rgb(clip.images[:, rows, columns])
    labels = resize_labels(clip.labels[:, rows, columns], size)
    quarter, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
    change = augment_mildly if settings.keeps_look else augment
    images = change(_turn(images, quarter, flip=flip), rng)
    return resize_images(images, size), _turn(labels, quarter, flip=flip)


def objects_of(
    labels: LabelArray, *, split: bool, min_area: int = MIN_AREA
) -> list[BoolArray]:
    """Masks of the objects of one frame that are neither too small nor too large.

    Parameters
    ----------
    labels : ndarray
        (H, W) integers.
    split : bool
        Pieces of a label that do not touch are objects of their own.
    min_area : int
        In pixels.
    """
    found = find_objects(
        labels, split=split, min_area=min_area, max_area=MAX_SHARE * labels.size
    )
    height, width = labels.shape
    return [each.full((height, width)) for each in found]
