"""Batches of crops with prompts; batch number i depends on the seed and on i alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from napari_hqsam2.training.crops import CropSettings, Cut, cut_clip
from napari_hqsam2.training.dense import dense_target
from napari_hqsam2.training.developing import Packed, normalise
from napari_hqsam2.training.prompting import (
    Prompts,
    Target,
    choose,
    prompt_objects,
    targets_of,
)
from napari_hqsam2.training.scene_pool import ScenePool, round_length
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2.training.sources import Mixture

STRIDE = 4


@dataclass(frozen=True)
class BatchShape:
    """Size of an image batch."""

    size: int
    """Side of the crops in pixels, a multiple of 64."""
    crops: int
    objects: int
    """Prompts for each crop."""


@dataclass(frozen=True)
class ImageBatch:
    """B crops and N prompted objects on them."""

    images: Tensor
    """(B, 3, S, S) normalised."""
    crop: Tensor
    """(N,) index of the crop each object lies on."""
    masks: Tensor
    """(N, S, S) uint8 truth."""
    clicks_norm: Tensor
    """(N, 1, 2) first click as (x, y), 0 to 1."""
    boxes_norm: Tensor
    """(N, 2, 2) box corners as (x, y), 0 to 1."""
    dense: Tensor
    """(B, 4, S / 4, S / 4) dense target of each crop; empty where none is wanted."""
    sources: tuple[str, ...]
    """Name of the source of each crop."""

    @property
    def target(self) -> Tensor:
        """(N, S / 4, S / 4) share of every cell that belongs to the object."""
        return area_target(self.masks)


def area_target(masks: Tensor) -> Tensor:
    """(N, S / 4, S / 4) area shares of (N, S, S) masks of zeros and ones."""
    return F.avg_pool2d(masks[:, None].float(), STRIDE)[:, 0]


def image_batch(
    images: Tensor,
    labels: Tensor,
    prompts: Prompts,
    sources: tuple[str, ...],
    *,
    top: int | None = None,
) -> ImageBatch:
    """Put prompts on pictures.

    Parameters
    ----------
    images : Tensor
        (B, 3, S, S) from 0 to 1.
    labels : Tensor
        (B, S, S) as the prompts number them.
    prompts : Prompts
        N prompts.
    sources : tuple of str
        Name of the source of each crop.
    top : int, optional
        Largest label; without it there is no dense target.
    """
    device = images.device
    crop, values = to_device(prompts.crop, device), to_device(prompts.values, device)
    return ImageBatch(
        images=normalise(images),
        crop=crop,
        masks=(labels[crop] == values[:, None, None]).view(torch.uint8),
        clicks_norm=to_device(prompts.clicks, device),
        boxes_norm=to_device(prompts.boxes, device),
        dense=images.new_zeros(0) if top is None else dense_target(labels, top),
        sources=sources,
    )


@dataclass(frozen=True)
class ImageDraft:
    """What an `ImageBatch` is made of on its device."""

    packed: Packed
    prompts: Prompts
    sources: tuple[str, ...]

    def pin_memory(self) -> ImageDraft:
        """Copy what is large to memory that a GPU can read."""
        return replace(self, packed=self.packed.pin_memory())

    def to(self, device: torch.device) -> ImageBatch:
        """Make the batch on a device."""
        images, labels = self.packed.developed(device)
        top = self.packed.top
        return image_batch(images, labels, self.prompts, self.sources, top=top)


class ImageBatches(Dataset[ImageDraft]):
    """Batch `index` is always the same for the same arguments.

    Parameters
    ----------
    mixture : Mixture
        Where crops come from.
    shapes : sequence of BatchShape
        Sizes, taken in turn.
    seed : int
        With the index, decides everything random.
    settings : CropSettings
        How crops are drawn.
    together : int, optional
        Batches that share generated scenes.
    """

    def __init__(
        self,
        mixture: Mixture,
        shapes: Sequence[BatchShape],
        seed: int,
        settings: CropSettings | None = None,
        together: int | None = None,
    ) -> None:
        self.mixture = mixture
        self.shapes = tuple(shapes)
        self.seed = seed
        self.settings = settings or CropSettings()
        crops = float(np.mean([shape.crops for shape in shapes]))
        self.together = together or round_length(crops)
        self.pool = ScenePool(mixture, (seed, 2), crops * self.together)

    def __getitem__(self, index: int) -> ImageDraft:
        """Draw batch number `index`."""
        rng = np.random.default_rng((self.seed, index))
        scenes = self.pool.hand(index // self.together, rng)
        shape = self.shapes[index % len(self.shapes)]
        cuts: list[Cut] = []
        chosen: list[list[Target]] = []
        names: list[str] = []
        while len(cuts) < shape.crops:
            source = self.mixture.draw(rng)
            clip = scenes.still(source)
            cut = cut_clip(clip, shape.size, self.settings, rng, split=True)
            targets = [] if cut is None else targets_of(cut)
            if cut is None or not targets:
                continue
            cuts.append(cut)
            chosen.append(choose(targets, shape.objects, rng))
            names.append(source.name)
        return ImageDraft(
            Packed.of(cuts, int(rng.integers(2**62))),
            prompt_objects(cuts, chosen, rng),
            tuple(names),
        )
