"""Batches of short clips; batch number i depends on the seed and on i alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from napari_hqsam2.training.crops import CropSettings, crop_clip, objects_of
from napari_hqsam2.training.data import (
    BatchShape,
    ImageBatch,
    ImageBatches,
    Mixture,
    PromptedObject,
    area_target,
    collate,
    normalise,
    prompt_object,
)
from napari_hqsam2.training.sources import Clip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from napari_hqsam2._types import AnyArray, LabelArray
    from napari_hqsam2.training.sources import Source

MAX_SHIFT, MAX_TURN, MAX_GROWTH = 0.06, 0.12, 0.05
"""Largest motion of a still from frame to frame: share of the side, radians, share."""
STILL_EVERY = 2
"""One batch in so many is of stills where both are mixed."""


@dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames and N objects that are prompted on the first."""

    first: ImageBatch
    """The first frames, with prompts."""
    images: Tensor
    """(B, T, 3, S, S) normalised."""
    masks: Tensor
    """(N, T, S, S) uint8 truth; empty where an object is out of view."""

    def target(self, frame: int) -> Tensor:
        """(N, S / 4, S / 4) share of every cell that belongs to the object."""
        return area_target(self.masks[:, frame])

    def changed(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        """The same with every tensor changed."""
        first = self.first.changed(change)
        return ClipBatch(first, change(self.images), change(self.masks))

    def to(self, device: torch.device) -> ClipBatch:
        """Move all tensors to a device."""
        return self.changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ClipBatch:
        """Copy all tensors to memory that a GPU can read."""
        return self.changed(torch.Tensor.pin_memory)


def _affine(rng: np.random.Generator, length: int) -> Tensor:
    """(T, 2, 3) sampling transforms of a smooth walk; the first is the identity."""
    velocity = rng.uniform(-1, 1, 4) * (MAX_SHIFT, MAX_SHIFT, MAX_TURN, MAX_GROWTH)
    state, rows = np.zeros(4), []
    for _ in range(length):
        x, y, angle, growth = state
        cos, sin = np.cos(angle) * np.exp(growth), np.sin(angle) * np.exp(growth)
        rows.append([[cos, -sin, 2 * x], [sin, cos, 2 * y]])
        noise = rng.normal(0, 0.3, 4) * (MAX_SHIFT, MAX_SHIFT, MAX_TURN, MAX_GROWTH)
        state = state + velocity + noise
    return torch.tensor(rows, dtype=torch.float32)


def move_still(
    image: Tensor, labels: LabelArray, length: int, rng: np.random.Generator
) -> tuple[Tensor, LabelArray]:
    """Make a clip of a still by moving, turning and scaling it.

    Parameters
    ----------
    image : Tensor
        (3, S, S).
    labels : ndarray
        (S, S) integers below 65536.
    length : int
        T.
    rng : numpy.random.Generator
        Decides the motion.

    Returns
    -------
    tuple
        (T, 3, S, S) images and (T, S, S) labels; what comes in at the border mirrors
        the image, unlabelled.
    """
    grid = F.affine_grid(
        _affine(rng, length), [length, 3, *image.shape[-2:]], align_corners=False
    )
    images = F.grid_sample(
        image.expand(length, -1, -1, -1),
        grid,
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    values = torch.from_numpy(labels.astype(np.float32)).expand(length, 1, -1, -1)
    moved = F.grid_sample(
        values, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return images, moved[:, 0].numpy().astype(np.int32)


class MixedBatches(Dataset[ClipBatch | ImageBatch]):
    """One batch in `STILL_EVERY` of stills, the others of clips.

    Parameters
    ----------
    clips, stills : Dataset
        Both indexed by the step.
    """

    def __init__(self, clips: ClipBatches, stills: ImageBatches) -> None:
        self.clips = clips
        self.stills = stills

    def __getitem__(self, index: int) -> ClipBatch | ImageBatch:
        """Draw batch number `index`."""
        number = index // STILL_EVERY
        is_still = index % STILL_EVERY == STILL_EVERY - 1
        return self.stills[number] if is_still else self.clips[index - number]


class ClipBatches(Dataset[ClipBatch]):
    """Batch `index` is always the same for the same arguments; as `ImageBatches`.

    Parameters
    ----------
    mixture : Mixture
        Where clips come from; stills are set in motion.
    shapes : sequence of BatchShape
        Sizes, taken in turn; `crops` counts clips.
    seed : int
        With the index, decides everything random.
    lengths : sequence of int
        Frames of a clip, taken in turn.
    settings : CropSettings
        How crops are drawn.
    """

    def __init__(
        self,
        mixture: Mixture,
        shapes: Sequence[BatchShape],
        seed: int,
        lengths: Sequence[int],
        settings: CropSettings | None = None,
    ) -> None:
        self.mixture = mixture
        self.shapes = tuple(shapes)
        self.seed = seed
        self.lengths = tuple(lengths)
        self.settings = settings or CropSettings()

    def __getitem__(self, index: int) -> ClipBatch:
        """Draw batch number `index`."""
        rng = np.random.default_rng((self.seed, 1, index))
        shape = self.shapes[index % len(self.shapes)]
        length = self.lengths[index % len(self.lengths)]
        clips: list[Tensor] = []
        first_labels: list[LabelArray] = []
        prompted: list[list[PromptedObject]] = []
        truths: list[AnyArray] = []
        names: list[str] = []
        while len(clips) < shape.crops:
            source = self.mixture.draw(rng)
            drawn = self._crop(source, shape.size, length, rng)
            if drawn is None:
                continue
            images, labels = drawn
            masks = objects_of(labels[0], split=False)
            if not masks:
                continue
            chosen = rng.permutation(
                np.resize(rng.permutation(len(masks)), shape.objects)
            )
            for i in chosen:
                value = labels[0][masks[i]][0]
                truths.append(labels == value)
            clips.append(images)
            first_labels.append(labels[0])
            prompted.append([prompt_object(masks[i], rng) for i in chosen])
            names.append(source.name)
        return ClipBatch(
            first=collate(
                [images[0] for images in clips], first_labels, prompted, names
            ),
            images=normalise(torch.stack(clips)),
            masks=torch.from_numpy(np.stack(truths).view(np.uint8)),
        )

    def _crop(
        self, source: Source, size: int, length: int, rng: np.random.Generator
    ) -> tuple[Tensor, LabelArray] | None:
        clip = source.clip(rng, length)
        if clip is not None:
            return crop_clip(clip, size, self.settings, rng)
        frame = source.still(rng)
        still = Clip(frame.image[None], frame.labels[None])
        cropped = crop_clip(still, size, self.settings, rng)
        if cropped is None:
            return None
        return move_still(cropped[0][0], cropped[1][0], length, rng)
