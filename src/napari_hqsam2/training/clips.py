"""Batches of short clips; batch number i depends on the seed and on i alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from napari_hqsam2.training.crops import CropSettings, Cut, cut_clip
from napari_hqsam2.training.data import (
    BatchShape,
    ImageBatch,
    ImageBatches,
    ImageDraft,
    area_target,
    image_batch,
)
from napari_hqsam2.training.developing import Packed, normalise
from napari_hqsam2.training.prompting import (
    Prompts,
    Target,
    choose,
    prompt_objects,
    targets_of,
)
from napari_hqsam2.training.scene_pool import Hand, ScenePool, round_length
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2.training.sources import Mixture, Source

MAX_SHIFT, MAX_TURN, MAX_GROWTH = 0.06, 0.12, 0.05
"""Largest motion of a still from frame to frame: share of the side, radians, share."""
FRAMES = 2
"""A clip takes as much preparation as so many stills, about."""


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


@dataclass(frozen=True)
class ClipDraft:
    """What a `ClipBatch` is made of on its device."""

    packed: Packed
    """Pictures of the first clip, then of the second, ..."""
    length: int
    """Frames of a clip."""
    prompts: Prompts
    """On the first frames."""
    sources: tuple[str, ...]

    def pin_memory(self) -> ClipDraft:
        """Copy what is large to memory that a GPU can read."""
        return replace(self, packed=self.packed.pin_memory())

    def to(self, device: torch.device) -> ClipBatch:
        """Make the batch on a device."""
        pictures, values = self.packed.developed(device)
        images = pictures.unflatten(0, (-1, self.length))
        labels = values.unflatten(0, (-1, self.length))
        top = self.packed.top
        first = image_batch(
            images[:, 0], labels[:, 0], self.prompts, self.sources, top=top
        )
        sought = to_device(self.prompts.values, device)[:, None, None, None]
        masks = (labels[first.crop] == sought).view(torch.uint8)
        return ClipBatch(first, normalise(images), masks)


def motion(rng: np.random.Generator, length: int) -> npt.NDArray[np.float64]:
    """Draw how a still moves, turns and grows: (T, 2, 3) affine maps.

    They map (x, y) of a picture to those of the still, from -1 to 1; the first one
    is the identity, the others follow a smooth walk.
    """
    velocity = rng.uniform(-1, 1, 4) * (MAX_SHIFT, MAX_SHIFT, MAX_TURN, MAX_GROWTH)
    state, rows = np.zeros(4), []
    for _ in range(length):
        x, y, angle, growth = state
        cos, sin = np.cos(angle) * np.exp(growth), np.sin(angle) * np.exp(growth)
        rows.append([[cos, -sin, 2 * x], [sin, cos, 2 * y]])
        noise = rng.normal(0, 0.3, 4) * (MAX_SHIFT, MAX_SHIFT, MAX_TURN, MAX_GROWTH)
        state = state + velocity + noise
    return np.array(rows)


class MixedBatches(Dataset[ClipDraft | ImageDraft]):
    """One batch in `every` of stills, the others of clips.

    Parameters
    ----------
    clips : ClipBatches
        Indexed by the step.
    stills : ImageBatches
        The same, with as many batches that share scenes.
    every : int
        At least 2.
    """

    def __init__(self, clips: ClipBatches, stills: ImageBatches, every: int) -> None:
        self.clips = clips
        self.stills = stills
        self.every = every
        self.together = every * clips.together

    def __getitem__(self, index: int) -> ClipDraft | ImageDraft:
        """Draw batch number `index`."""
        number, turn = divmod(index, self.every)
        is_still = turn == self.every - 1
        return self.stills[number] if is_still else self.clips[index - number]


class ClipBatches(Dataset[ClipDraft]):
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
        crops = float(np.mean([shape.crops for shape in shapes]))
        self.together = round_length(FRAMES * crops)
        self.pool = ScenePool(
            mixture, (seed, 3), crops * self.together, longest=max(lengths)
        )

    def __getitem__(self, index: int) -> ClipDraft:
        """Draw batch number `index`."""
        rng = np.random.default_rng((self.seed, 1, index))
        scenes = self.pool.hand(index // self.together, rng)
        shape = self.shapes[index % len(self.shapes)]
        length = self.lengths[index % len(self.lengths)]
        cuts: list[Cut] = []
        motions: list[npt.NDArray[np.float64] | None] = []
        chosen: list[list[Target]] = []
        names: list[str] = []
        while len(cuts) < shape.crops:
            source = self.mixture.draw(rng)
            cut = self._cut(scenes, source, shape.size, length)
            targets = [] if cut is None else targets_of(cut)
            if cut is None or not targets:
                continue
            cuts.append(cut)
            motions.append(None if len(cut.images) == length else motion(rng, length))
            chosen.append(choose(targets, shape.objects, rng))
            names.append(source.name)
        return ClipDraft(
            Packed.of(cuts, int(rng.integers(2**62)), motions),
            length,
            prompt_objects(cuts, chosen, rng),
            tuple(names),
        )

    def _cut(self, scenes: Hand, source: Source, size: int, length: int) -> Cut | None:
        clip = scenes.clip(source, length) or scenes.still(source)
        return cut_clip(clip, size, self.settings, scenes.rng, split=False)
