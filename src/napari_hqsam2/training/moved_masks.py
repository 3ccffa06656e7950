"""Masks of clips move with the image, as in use, and go astray as in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from napari_hqsam2.modeling.image_motion import (
    LARGEST_LOGIT,
    image_motion,
    moved,
    resized_motion,
    to_picture,
)
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.training.clips import ClipBatch

SHARES = (0.2, 0.7)
"""Range of the share of a mask that is moved; drawn for every batch."""
ASTRAY = 0.5
"""Share of moved masks that are led astray."""
SHIFT, GROWTH, BENDING = 0.05, 0.06, 0.05
"""Standard deviations of how far: the first and the last relative to the side of a
square of the mask's area, the second of the logarithm of the size."""
BENDS = 16
"""Places along a side of the frame that are bent on their own."""


@dataclass(frozen=True)
class MovedMasks:
    """Masks of the frame before, where they are on this one."""

    logits: Tensor
    """(N, 1, h, w)."""
    share: float
    """Of the mask that is shown."""

    @property
    def known(self) -> Tensor:
        """(N,) bool: objects that had a mask on the frame before."""
        return (self.logits > 0).flatten(1).any(dim=1)

    def mixed(self, found: Tensor) -> Tensor:
        """(N, 1, h, w) logits of what is found, and of the moved mask if known."""
        limited = found.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        mixed = self.share * self.logits + (1 - self.share) * limited
        return torch.where(self.known[:, None, None, None], mixed, found)


@dataclass(frozen=True)
class ClipMotion:
    """How the images of N objects move through a clip of T frames."""

    motion: Tensor
    """(N, T - 1, 2, H, W) to each frame but the first."""
    share: float
    """As of `MovedMasks`."""

    @classmethod
    @torch.no_grad()
    def of(cls, batch: ClipBatch, generator: torch.Generator) -> ClipMotion:
        """Look how the images of a batch move."""
        clips, length = batch.images.shape[:2]
        with torch.autocast(batch.images.device.type, enabled=False):
            pictures = to_picture(batch.images.flatten(0, 1))
            pictures = pictures.unflatten(0, (clips, length))
            now, before = pictures[:, 1:].flatten(0, 1), pictures[:, :-1].flatten(0, 1)
            motion = image_motion(now, before).unflatten(0, (clips, length - 1))
        least, most = SHARES
        draw = float(torch.rand((), generator=generator))
        return cls(motion[batch.first.crop], least + (most - least) * draw)

    @torch.no_grad()
    def moved(
        self, low_res: Tensor, frame: int, generator: torch.Generator
    ) -> MovedMasks:
        """Move (N, 1, h, w) logits of the frame before to `frame`, some go astray."""
        logits = low_res.float().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        motion = resized_motion(self.motion[:, frame - 1], logits)
        stray = torch.rand(len(logits), generator=generator) < ASTRAY
        errors = stray[:, None, None, None] * _errors(logits, generator)
        result = moved(logits, motion + errors, smooth=True)
        return MovedMasks(result.clamp(-LARGEST_LOGIT, LARGEST_LOGIT), self.share)


def _errors(logits: Tensor, generator: torch.Generator) -> Tensor:
    """(N, 2, h, w) wrong motion: masks are shifted, bent, and too large or small."""
    count, _, height, width = logits.shape
    shift, bends, growth = (
        to_device(torch.randn(count, *shape, generator=generator), logits.device)
        for shape in ((2, 1, 1), (2, BENDS, BENDS), (1, 1, 1))
    )
    bends = F.interpolate(bends, (height, width), mode="bicubic", align_corners=False)
    inside = (logits > 0).float()
    area = inside.sum((2, 3), keepdim=True).clamp(min=1)
    x = torch.arange(width, device=logits.device).expand(height, width)
    y = torch.arange(height, device=logits.device)[:, None].expand(height, width)
    places = torch.stack((x, y)).float()[None]
    centre = (places * inside).sum((2, 3), keepdim=True) / area
    grown = (places - centre) * (growth * GROWTH).expm1()
    return area.sqrt() * (SHIFT * shift + BENDING * bends) + grown
