"""Random windows of labelled frames, cut out as they are.

What a window becomes, turned, resized and changed in its intensities, is made for a
whole batch at once (`developing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label as connected_components

from napari_hqsam2.evaluation.objects import find_objects
from napari_hqsam2.training.augment import Change, draw_change

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
SAMPLES = 64
"""Pixels that are tried before all are searched for a labelled one."""


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


@dataclass(frozen=True, eq=False)
class Cut:
    """A window of every frame of a clip, and what shall become of it."""

    images: AnyArray
    """(T, h, w) or (T, h, w, 3) uint8, or floating from 0 to 1; h and w are at most
    `size`."""
    labels: LabelArray
    """(T, h, w) int32: 0 for background, then 1, 2, ..."""
    change: Change
    """Of the intensities."""
    turn: npt.NDArray[np.float32]
    """(2, 2) quarter turns and flips: maps (x, y) of the crop to those of the window,
    both from its middle."""
    size: int
    """Side of the crop in pixels."""


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


def _labelled_pixel(
    labels: LabelArray, rng: np.random.Generator
) -> tuple[int, int] | None:
    """A random pixel of (H, W) labels that has one; None if there is none."""
    rows = rng.integers(labels.shape[0], size=SAMPLES)
    columns = rng.integers(labels.shape[1], size=SAMPLES)
    hits = np.flatnonzero(labels[rows, columns])
    if len(hits):
        return int(rows[hits[0]]), int(columns[hits[0]])
    pixels = np.flatnonzero(labels)
    if not len(pixels):
        return None
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), labels.shape[1])
    return row, column


def _place(
    at: tuple[int, int], hw: HW, window: HW, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Place a window so that it holds the pixel `at`."""
    spans = []
    for length, wanted, centre in zip(hw, window, at, strict=True):
        side = min(wanted, length)
        start = min(max(centre - int(rng.integers(side)), 0), length - side)
        spans.append(slice(start, start + side))
    return spans[0], spans[1]


def resize_images(images: npt.NDArray[np.float32], size: int) -> torch.Tensor:
    """Resize (T, H, W, 3) images to (T, 3, size, size), antialiased."""
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return F.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)


def resize_labels(labels: LabelArray, hw: HW) -> LabelArray:
    """Resize (T, H, W) labels to (T, *hw) by the nearest pixel."""
    rows = (np.arange(hw[0]) + 0.5) * labels.shape[1] / hw[0]
    columns = (np.arange(hw[1]) + 0.5) * labels.shape[2] / hw[1]
    return labels[:, rows.astype(np.int64)[:, None], columns.astype(np.int64)]


def _shrunk(images: AnyArray, hw: HW) -> AnyArray:
    """Make (T, H, W[, 3]) images smaller, antialiased, in their own type."""
    planes = images[..., None] if images.ndim == 3 else images
    if planes.dtype.kind == "f":
        planes = planes.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(planes)).permute(0, 3, 1, 2)
    small = F.interpolate(tensor, size=hw, mode="bilinear", antialias=True)
    smaller: AnyArray = small.permute(0, 2, 3, 1).numpy()
    return smaller.reshape(images.shape[0], *hw, *images.shape[3:])


def counted(labels: LabelArray) -> npt.NDArray[np.int32]:
    """Number the labels of an array anew as 1, 2, ... in ascending order."""
    top = int(labels.max(initial=0))
    if top > labels.size:
        values, ranks = np.unique(labels, return_inverse=True)
        first = 0 if values[0] == 0 else 1
        return (ranks.reshape(labels.shape) + first).astype(np.int32)
    seen = np.bincount(labels.ravel(), minlength=top + 1) > 0
    seen[0] = False
    number = (np.cumsum(seen) * seen).astype(np.int32)
    return number[labels]


def _turn(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), int(rng.integers(4)))
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1, 1])
    return turn.astype(np.float32)


def cut_clip(
    clip: Clip,
    size: int,
    settings: CropSettings,
    rng: np.random.Generator,
    *,
    split: bool,
) -> Cut | None:
    """Cut the same random window from every frame.

    Parameters
    ----------
    clip : Clip
        Labels are 0 or more.
    size : int
        Side of the crop in pixels.
    settings : CropSettings
        How it is drawn.
    rng : numpy.random.Generator
        Decides everything.
    split : bool
        Pieces of a label that do not touch (4 neighbours) become objects of their
        own; for clips of one frame.

    Returns
    -------
    Cut or None
        None if the first frame has no label at all.
    """
    first = clip.labels[0]
    hw = (first.shape[0], first.shape[1])
    at = _labelled_pixel(first, rng)
    if at is None:
        return None
    rows, columns = _place(at, hw, draw_window(hw, size, settings, rng), rng)
    images, labels = clip.images[:, rows, columns], clip.labels[:, rows, columns]
    change = draw_change(images, rng, keeps_look=settings.keeps_look)
    window = labels.shape[1:]
    limit = (min(window[0], size), min(window[1], size))
    if limit != window:
        change = change.shrunk((window[0] * window[1] / (limit[0] * limit[1])) ** 0.5)
        images, labels = _shrunk(images, limit), resize_labels(labels, limit)
    if split:
        labels = connected_components(labels[0], background=0, connectivity=1)[None]
    else:
        labels = counted(labels)
    return Cut(images, labels.astype(np.int32, copy=False), change, _turn(rng), size)


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
