"""Batches of crops with prompts; batch number i depends on the seed and on i alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from napari_hqsam2.evaluation.clicks import interior_point
from napari_hqsam2.training.crops import CropSettings, crop_clip, objects_of
from napari_hqsam2.training.dense import dense_target
from napari_hqsam2.training.prompts import jitter_box, random_point
from napari_hqsam2.training.sources import Clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_hqsam2._types import BoolArray, LabelArray
    from napari_hqsam2.training.sources import Source

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
BOX_NOISE = 0.06
"""Standard deviation of box edges, as a share of the box sides."""
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

    def changed(self, change: Callable[[Tensor], Tensor]) -> ImageBatch:
        """The same with every tensor changed."""
        return ImageBatch(
            images=change(self.images),
            crop=change(self.crop),
            masks=change(self.masks),
            clicks_norm=change(self.clicks_norm),
            boxes_norm=change(self.boxes_norm),
            dense=change(self.dense),
            sources=self.sources,
        )

    def to(self, device: torch.device) -> ImageBatch:
        """Move all tensors to a device."""
        return self.changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ImageBatch:
        """Copy all tensors to memory that a GPU can read."""
        return self.changed(torch.Tensor.pin_memory)


def area_target(masks: Tensor) -> Tensor:
    """(N, S / 4, S / 4) area shares of (N, S, S) masks of zeros and ones."""
    return F.avg_pool2d(masks[:, None].float(), STRIDE)[:, 0]


def normalise(images: Tensor) -> Tensor:
    """Normalise (..., 3, H, W) images from 0 to 1 as the network wants them."""
    mean, std = (images.new_tensor(v)[:, None, None] for v in (PIXEL_MEAN, PIXEL_STD))
    return (images - mean) / std


@dataclass(frozen=True, eq=False)
class Mixture:
    """Sources and how often each is drawn from."""

    sources: Sequence[Source]
    shares: Mapping[str, float] = field(default_factory=dict)
    """Relative share of a source by name; 1 where it is not named."""

    def draw(self, rng: np.random.Generator) -> Source:
        """Draw a source."""
        weights = np.array([self.shares.get(s.name, 1.0) for s in self.sources])
        return self.sources[rng.choice(len(self.sources), p=weights / weights.sum())]


@dataclass(frozen=True)
class PromptedObject:
    """One object of a crop with its simulated prompts, in pixels of the crop."""

    mask: BoolArray
    click: tuple[int, int]
    """(row, column)."""
    box: tuple[float, float, float, float]
    """(x0, y0, x1, y1), centres of the extreme pixels."""


def prompt_object(mask: BoolArray, rng: np.random.Generator) -> PromptedObject:
    """Simulate the first click, central or anywhere inside, and a box, exact or not."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    part = mask[window]
    row, column = (
        interior_point(part) if rng.random() < 0.5 else random_point(part, rng)
    )
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float64)
    if rng.random() < 0.6:
        box = jitter_box(box, rng, mask.shape[0], noise=BOX_NOISE)
    x0, y0, x1, y1 = box.tolist()
    return PromptedObject(
        mask, (row + int(rows[0]), column + int(columns[0])), (x0, y0, x1, y1)
    )


def collate(
    images: Sequence[Tensor],
    labels: Sequence[LabelArray],
    prompted: Sequence[Sequence[PromptedObject]],
    sources: Sequence[str],
) -> ImageBatch:
    """Stack crops and the objects on them; without labels there is no dense target."""
    flat = [item for items in prompted for item in items]
    counts = torch.tensor([len(items) for items in prompted])
    size = images[0].shape[-1]
    clicks = torch.tensor([[item.click[::-1]] for item in flat], dtype=torch.float32)
    boxes = torch.tensor([item.box for item in flat]).float().unflatten(1, (2, 2))
    return ImageBatch(
        images=normalise(torch.stack(list(images))),
        crop=torch.arange(len(images)).repeat_interleave(counts),
        masks=torch.from_numpy(np.stack([item.mask for item in flat]).view(np.uint8)),
        clicks_norm=(clicks + 0.5) / size,
        boxes_norm=(boxes + 0.5) / size,
        dense=torch.stack([dense_target(each) for each in labels])
        if labels
        else torch.zeros(0),
        sources=tuple(sources),
    )


class ImageBatches(Dataset[ImageBatch]):
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
    """

    def __init__(
        self,
        mixture: Mixture,
        shapes: Sequence[BatchShape],
        seed: int,
        settings: CropSettings | None = None,
    ) -> None:
        self.mixture = mixture
        self.shapes = tuple(shapes)
        self.seed = seed
        self.settings = settings or CropSettings()

    def __getitem__(self, index: int) -> ImageBatch:
        """Draw batch number `index`."""
        rng = np.random.default_rng((self.seed, index))
        shape = self.shapes[index % len(self.shapes)]
        images: list[Tensor] = []
        labels: list[LabelArray] = []
        prompted: list[list[PromptedObject]] = []
        names: list[str] = []
        while len(images) < shape.crops:
            source = self.mixture.draw(rng)
            drawn = self._crop(source, shape, rng)
            if drawn is not None:
                images.append(drawn[0])
                labels.append(drawn[1])
                prompted.append(drawn[2])
                names.append(source.name)
        return collate(images, labels, prompted, names)

    def _crop(
        self, source: Source, shape: BatchShape, rng: np.random.Generator
    ) -> tuple[Tensor, LabelArray, list[PromptedObject]] | None:
        frame = source.still(rng)
        clip = Clip(frame.image[None], frame.labels[None])
        cropped = crop_clip(clip, shape.size, self.settings, rng)
        if cropped is None:
            return None
        images, labels = cropped
        masks = objects_of(labels[0], split=True)
        if not masks:
            return None
        count = shape.objects
        chosen = rng.permutation(np.resize(rng.permutation(len(masks)), count))
        return images[0], labels[0], [prompt_object(masks[i], rng) for i in chosen]


class Steps:
    """Iterate over batches number `start`, `start + 1`, ... without end.

    Parameters
    ----------
    batches : Dataset
        Indexed by the step.
    start : int
        First step.
    workers : int
        Processes that prepare batches ahead; 0 prepares them in this one.
    pinned : bool
        Put them where a GPU can fetch them.
    """

    def __init__(
        self, batches: Dataset[ImageBatch], start: int, workers: int, *, pinned: bool
    ) -> None:
        self.loader = DataLoader(
            batches,
            batch_size=None,
            sampler=_From(start),
            num_workers=workers,
            prefetch_factor=3 if workers else None,
            pin_memory=pinned,
        )

    def __iter__(self) -> Iterator[ImageBatch]:
        """Yield batches for ever."""
        yield from self.loader


class _From(torch.utils.data.Sampler[int]):
    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        index = self.start
        while True:
            yield index
            index += 1
