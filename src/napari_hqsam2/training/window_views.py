"""Batches of objects that a click shows in several windows of a frame, as in use.

What a click means is looked for in windows of several sizes, whose masks compete. So
the scores of these masks have to be learnt from the same windows. Batch number i
depends on the seed and on i alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from napari_hqsam2.evaluation.clicks import interior_point
from napari_hqsam2.geometry import to_window
from napari_hqsam2.prompts import FramePrompts, PointPrompt
from napari_hqsam2.segmentation.clicks import to_clicks
from napari_hqsam2.segmentation.windows import WindowRule
from napari_hqsam2.training.crops import objects_of
from napari_hqsam2.training.developing import normalise
from napari_hqsam2.training.prompts import random_point
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import AnyArray, BoolArray
    from napari_hqsam2.segmentation.crops import Crop
    from napari_hqsam2.training.data import BatchShape
    from napari_hqsam2.training.sources import Frame, Mixture

MIN_AREA = 40
"""Smallest object to click, in pixels of its frame."""
CENTRAL = 0.7
"""Share of clicks on the innermost pixel; others are anywhere inside."""


@dataclass(frozen=True)
class WindowBatch:
    """Q views of some objects, in C windows of their frames."""

    images: Tensor
    """(C, 3, S, S) normalised windows."""
    crop: Tensor
    """(Q,) index of the window of each view."""
    owner: Tensor
    """(Q,) index of the object, below Q."""
    clicks_norm: Tensor
    """(Q, 1, 2) click as (x, y), 0 to 1."""
    masks: Tensor
    """(Q, S, S) uint8 truth."""
    outside: Tensor
    """(Q,) share of the object that lies outside of the window."""
    inner_sides: Tensor
    """(Q, 4) bool: top, left, bottom and right that are not borders of the frame."""


@dataclass(frozen=True)
class WindowDraft:
    """What a `WindowBatch` is made of on its device."""

    windows: tuple[Tensor, ...]
    """C windows of (h, w, 3), uint8 or floating from 0 to 1."""
    truths: tuple[Tensor, ...]
    """Q masks of (h, w) bool."""
    crop: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    clicks: npt.NDArray[np.float32]
    outside: npt.NDArray[np.float32]
    inner_sides: BoolArray
    size: int
    """S in pixels."""

    def pin_memory(self) -> WindowDraft:
        """Copy what is large to memory that a GPU can read."""
        return replace(
            self,
            windows=tuple(each.pin_memory() for each in self.windows),
            truths=tuple(each.pin_memory() for each in self.truths),
        )

    def to(self, device: torch.device) -> WindowBatch:
        """Make the batch on a device."""
        side = (self.size, self.size)
        images = []
        for window in self.windows:
            image = window.to(device, non_blocking=True).permute(2, 0, 1)[None]
            image = image.float() if image.is_floating_point() else image / 255
            images.append(F.interpolate(image, side, mode="bilinear", antialias=True))
        masks = [
            F.interpolate(
                truth.to(device, non_blocking=True)[None, None].float(),
                side,
                mode="nearest-exact",
            )
            for truth in self.truths
        ]
        return WindowBatch(
            images=normalise(torch.cat(images).clamp(0, 1)),
            crop=to_device(self.crop, device),
            owner=to_device(self.owner, device),
            clicks_norm=to_device(self.clicks, device),
            masks=torch.cat(masks)[:, 0].to(torch.uint8),
            outside=to_device(self.outside, device),
            inner_sides=to_device(self.inner_sides, device),
        )


class WindowBatches(Dataset[WindowDraft]):
    """Batch `index` is always the same for the same arguments.

    Parameters
    ----------
    mixture : Mixture
        Where frames come from.
    shapes : sequence of BatchShape
        Sizes, taken in turn; `crops` counts frames.
    seed : int
        With the index, decides everything random.
    """

    def __init__(
        self, mixture: Mixture, shapes: Sequence[BatchShape], seed: int
    ) -> None:
        self.mixture = mixture
        self.shapes = tuple(shapes)
        self.seed = seed

    def __getitem__(self, index: int) -> WindowDraft:
        """Draw batch number `index`."""
        rng = np.random.default_rng((self.seed, 4, index))
        shape = self.shapes[index % len(self.shapes)]
        views = _Views(shape.size)
        while views.frames < shape.crops:
            frame = self.mixture.draw(rng).still(rng)
            views.add(frame, shape.objects, rng)
        return views.draft()


class _Views:
    """Gathers the views of a batch."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.frames = self.objects = 0
        self.windows: list[Tensor] = []
        self.truths: list[Tensor] = []
        self.crop: list[int] = []
        self.owner: list[int] = []
        self.clicks: list[Tensor] = []
        self.outside: list[float] = []
        self.inner_sides: list[tuple[bool, ...]] = []

    def add(self, frame: Frame, most: int, rng: np.random.Generator) -> None:
        """Click on some objects of a frame, if it has any."""
        truths = objects_of(frame.labels, split=True, min_area=MIN_AREA)
        if not truths:
            return
        self.frames += 1
        hw = (frame.labels.shape[0], frame.labels.shape[1])
        rule = WindowRule(hw, self.size)
        shown: dict[Crop, int] = {}
        for at in rng.permutation(len(truths))[:most]:
            is_central = rng.random() < CENTRAL
            truth = truths[at]
            point = interior_point(truth) if is_central else random_point(truth, rng)
            prompt = FramePrompts((), 1, points=(PointPrompt(*point),))
            for crop in rule.first(prompt):
                if crop not in shown:
                    shown[crop] = len(self.windows)
                    self.windows.append(_colours(frame.image[crop.window]))
                part = truth[crop.window]
                self.truths.append(torch.from_numpy(part.copy()))
                self.crop.append(shown[crop])
                self.owner.append(self.objects)
                size = (crop.height, crop.width)
                seen = to_clicks(to_window(prompt, crop.window), size, self.size)
                self.clicks.append(seen.coords_norm[0])
                self.outside.append(1 - float(part.sum() / truth.sum()))
                self.inner_sides.append(crop.inner_sides(hw))
            self.objects += 1

    def draft(self) -> WindowDraft:
        """All views so far."""
        return WindowDraft(
            windows=tuple(self.windows),
            truths=tuple(self.truths),
            crop=np.array(self.crop),
            owner=np.array(self.owner),
            clicks=torch.stack(self.clicks).numpy(),
            outside=np.array(self.outside, np.float32),
            inner_sides=np.array(self.inner_sides),
            size=self.size,
        )


def _colours(window: AnyArray) -> Tensor:
    """(h, w, 3) of a grey or a colour window, of its type."""
    rgb = window if window.ndim == 3 else np.repeat(window[..., None], 3, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(rgb))
