"""Crops of one's own images, drawn once and used for many steps.

While the image encoder is frozen, most of a step would go into encoding. So a deck of
crops is drawn and encoded, each is used some times with new prompts, and then a new
deck is drawn. What a draw gives depends on the seed and on its number alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.training.crops import MIN_AREA, CropSettings, Cut, cut_clip
from napari_hqsam2.training.data import BatchShape, ImageBatch, image_batch
from napari_hqsam2.training.developing import Packed
from napari_hqsam2.training.prompting import (
    Target,
    choose,
    prompt_objects,
    targets_of,
)
from napari_hqsam2.training.sources import Clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import ImageFeatures
    from napari_hqsam2.training.sources import Source

VIEWS, USES = 64, 8
"""Size of a deck, and how often each of its crops is used."""
FEATURE_BYTES = 2**30
"""Most memory for the features of a deck."""
ATTEMPTS = 100
"""Crops without an object before giving up."""

T = TypeVar("T")


@dataclass(frozen=True)
class DeckPlan:
    """How many crops a deck has and how often each is used."""

    views: int = 1
    uses: int = 1

    @classmethod
    def for_features(cls, model: HqSam2, size: int) -> DeckPlan:
        """The largest deck whose features may be kept, or fresh crops all the time.

        Parameters
        ----------
        model : HqSam2
            Its channels decide how much a crop takes.
        size : int
            Side of the crops in pixels.
        """
        cells = (size // 16) ** 2
        # the embedding, twice that at stride 4 and as much at stride 8, in float32
        each = 4 * model.no_mem_embed.shape[-1] * cells * 4
        views = min(VIEWS, FEATURE_BYTES // each)
        return cls(views, USES) if views > 1 else cls()

    @property
    def keeps(self) -> bool:
        """Whether crops are used more than once."""
        return self.uses > 1

    def number(self, draw: int, seed: int) -> int:
        """Number of the crop that a draw gives."""
        epoch, place = divmod(draw, self.views)
        order = np.random.default_rng((seed, 2, epoch)).permutation(self.views)
        return epoch // self.uses * self.views + int(order[place])


@dataclass
class Kept(Generic[T]):
    """What belongs to the crops of one deck; another deck takes its place."""

    plan: DeckPlan
    items: dict[int, T] = field(default_factory=dict)

    def get(self, number: int, make: Callable[[], T]) -> T:
        """What belongs to crop `number`, made if it is not there."""
        if not self.plan.keeps:
            return make()
        if number not in self.items:
            deck = number // self.plan.views
            self.items = {
                other: item
                for other, item in self.items.items()
                if other // self.plan.views == deck
            }
            self.items[number] = make()
        return self.items[number]


@dataclass(frozen=True, eq=False)
class View:
    """A crop and its objects."""

    cut: Cut
    targets: list[Target]
    """Objects that can be prompted."""
    image: Tensor
    """(3, S, S) from 0 to 1."""
    labels: Tensor
    """(S, S) integers, as the targets number them."""


def draw_view(
    source: Source, size: int, settings: CropSettings, rng: np.random.Generator
) -> View:
    """Draw a crop that holds an object.

    Raises
    ------
    TrainingError
        No crop holds one that is large enough to learn from.
    """
    for _ in range(ATTEMPTS):
        frame = source.still(rng)
        clip = Clip(frame.image[None], frame.labels[None])
        cut = cut_clip(clip, size, settings, rng, split=True)
        targets = [] if cut is None else targets_of(cut)
        if cut is not None and targets:
            # made by itself, so that it is the same in any batch
            packed = Packed.of([cut], int(rng.integers(2**62)))
            images, labels = packed.developed(torch.device("cpu"))
            return View(cut, targets, images[0], labels[0])
    msg = (
        f"In {ATTEMPTS} crops no object covers {MIN_AREA} pixels of the "
        f"{settings.model_size} x {settings.model_size} that the model sees of a whole "
        "image (nor less than 70 % of a crop). Cut large images into parts, as they "
        "have to be for prediction."
    )
    raise TrainingError(msg)


@dataclass(frozen=True)
class ViewBatch:
    """Crops with prompts."""

    batch: ImageBatch
    numbers: tuple[int, ...]
    """Number of each crop."""

    def to(self, device: torch.device) -> ViewBatch:
        """Move all tensors to a device."""
        batch = self.batch
        moved = {
            each.name: getattr(batch, each.name).to(device)
            for each in fields(batch)
            if isinstance(getattr(batch, each.name), torch.Tensor)
        }
        return ViewBatch(replace(batch, **moved), self.numbers)


class ViewBatches(Dataset[ViewBatch]):
    """Batch `index` is always the same for the same arguments.

    Parameters
    ----------
    source : Source
        Where crops come from.
    shape : BatchShape
        Size of a batch.
    plan : DeckPlan
        How often a crop is used.
    seed : int
        With the index, decides everything random.
    settings : CropSettings
        How crops are drawn.
    """

    def __init__(
        self,
        source: Source,
        shape: BatchShape,
        plan: DeckPlan,
        seed: int,
        settings: CropSettings,
    ) -> None:
        self.source = source
        self.shape = shape
        self.plan = plan
        self.seed = seed
        self.settings = settings
        self.views: Kept[View] = Kept(plan)

    def view(self, number: int) -> View:
        """Crop of a number."""
        rng = np.random.default_rng((self.seed, 3, number))
        draw = partial(draw_view, self.source, self.shape.size, self.settings, rng)
        return self.views.get(number, draw)

    def __getitem__(self, index: int) -> ViewBatch:
        """Draw batch number `index`."""
        rng = np.random.default_rng((self.seed, index))
        crops, objects = self.shape.crops, self.shape.objects
        numbers = tuple(
            self.plan.number(index * crops + place, self.seed) for place in range(crops)
        )
        views = [self.view(number) for number in numbers]
        chosen = [choose(view.targets, objects, rng) for view in views]
        prompts = prompt_objects([view.cut for view in views], chosen, rng)
        images = torch.stack([view.image for view in views])
        labels = torch.stack([view.labels for view in views])
        names = (self.source.name,) * crops
        return ViewBatch(image_batch(images, labels, prompts, names), numbers)


class FeatureStore:
    """Image features of the crops of a deck.

    Parameters
    ----------
    model : HqSam2
        With a frozen image encoder.
    plan : DeckPlan
        As of the batches.
    """

    def __init__(self, model: HqSam2, plan: DeckPlan) -> None:
        self.model = model
        self.kept: Kept[ImageFeatures] = Kept(plan)

    def of(self, batch: ViewBatch) -> list[ImageFeatures]:
        """Features of each crop; every crop is encoded alone, so none can differ."""
        return [
            self.kept.get(number, partial(self._encode, image))
            for number, image in zip(batch.numbers, batch.batch.images, strict=True)
        ]

    @torch.no_grad()
    def _encode(self, image: Tensor) -> ImageFeatures:
        batch = image[None].contiguous(memory_format=torch.channels_last)
        return self.model.encode_image(batch)
