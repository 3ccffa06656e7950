"""Values that pass between the parts of the network.

Letters in shapes: B images, N objects, P points, M candidate masks, C channels of the
image embedding, Cm channels of a memory, h w feature grid (stride 16), S input size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

HqMode = Literal["add", "only", "off"]
"""How the HQ mask is used: added to SAM's masks, alone, or not at all."""


@dataclass(frozen=True)
class ImageFeatures:
    """What the image encoder knows about a batch of images."""

    embedding: Tensor
    """(B, C, h, w) features at stride 16, without any memory added."""
    high_res: tuple[Tensor, Tensor]
    """(B, C / 8, 4h, 4w) and (B, C / 4, 2h, 2w) features, already projected for the
    decoder."""
    picture: Tensor | None = None
    """(B, 1, P, P) in which motion and outlines are seen; None if nothing looks at
    them."""

    def __getitem__(self, index: int | slice | Tensor) -> ImageFeatures:
        """Features of some images of the batch; an integer keeps the batch axis."""
        if isinstance(index, int):
            index = slice(index, index + 1)
        s0, s1 = self.high_res
        picture = None if self.picture is None else self.picture[index]
        return ImageFeatures(self.embedding[index], (s0[index], s1[index]), picture)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ImageFeatures:
        """Features on a device and of a type; these if that is what they are.

        The picture keeps its type.
        """
        embedding = self.embedding.to(device, dtype)
        if embedding is self.embedding:
            return self
        s0, s1 = self.high_res
        picture = None if self.picture is None else self.picture.to(device)
        high_res = (s0.to(device, dtype), s1.to(device, dtype))
        return ImageFeatures(embedding, high_res, picture)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that is held."""
        features = (self.embedding, *self.high_res)
        return features if self.picture is None else (*features, self.picture)

    @property
    def is_finite(self) -> bool:
        """Whether all of it are numbers; waits for the device."""
        return all(bool(tensor.isfinite().all()) for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors hold."""
        return sum(each.nelement() * each.element_size() for each in self.tensors)


@dataclass(frozen=True)
class ModelPrompts:
    """Prompts of N objects in the network's own terms."""

    coords_norm: Tensor | None = None
    """(N, P, 2) points as (x, y), 0 to 1 over the input image; None for no points at
    all."""
    labels: Tensor | None = None
    """(N, P) integers: 1 positive, 0 negative, 2 and 3 box corners, -1 padding."""
    masks: Tensor | None = None
    """(N, 1, 4h, 4w) mask logits fed back as a dense prompt."""
    nowhere: int = 0
    """N, if objects without points get the tokens that stand for no point, as upstream
    gives them to objects that are followed; 0 for no tokens."""


@dataclass(frozen=True)
class MaskPrediction:
    """What the mask decoder says about N prompts."""

    masks: Tensor
    """(N, M, 4h, 4w) mask logits; M is 3 with multimask, else 1."""
    iou_scores: Tensor
    """(N, M) predicted IoU of each candidate."""
    tokens: Tensor
    """(N, M, C) output tokens that object pointers are made of."""
    object_score: Tensor
    """(N, 1) logit that the object is in view."""

    @classmethod
    def cat(cls, parts: Sequence[MaskPrediction]) -> MaskPrediction:
        """Predictions of more prompts, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.masks for part in parts]),
            torch.cat([part.iou_scores for part in parts]),
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.object_score for part in parts]),
        )


@dataclass(frozen=True)
class ObjectPrediction:
    """The one mask chosen for each of N objects on one frame."""

    low_res: Tensor
    """(N, 1, 4h, 4w) mask logits, -1024 everywhere if the object is out of view."""
    iou_score: Tensor
    """(N,) predicted IoU of the chosen mask."""
    pointer: Tensor
    """(N, C) object pointer."""
    object_score: Tensor
    """(N, 1) logit that the object is in view."""

    @property
    def is_finite(self) -> Tensor:
        """(N,) bool: whether all that is said of an object are numbers."""
        parts = (self.low_res, self.iou_score, self.pointer, self.object_score)
        rows = [part.flatten(1) if part.ndim > 1 else part[:, None] for part in parts]
        return torch.stack([row.isfinite().all(1) for row in rows]).all(0)
