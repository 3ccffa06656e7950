"""Mask decoder: masks, their predicted quality and the object score of N prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_hqsam2.modeling.layers import MLP, LayerNorm2d
from napari_hqsam2.modeling.outputs import MaskPrediction

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.modeling.two_way_transformer import TwoWayTransformer

NUM_MASKS = 4
"""One mask for unambiguous prompts, then three candidates for ambiguous ones."""
OBJECT_SCORE, IOU, FIRST_MASK = 0, 1, 2
"""Places of the output tokens in front of the prompt tokens."""
HQ = FIRST_MASK + NUM_MASKS


@dataclass(frozen=True)
class StabilityFallback:
    """An unstable single mask is replaced by the best of the three candidates."""

    delta: float = 0.05
    """The mask is compared at logits +delta and -delta."""
    threshold: float = 0.98
    """Least ratio of the two areas that counts as stable."""

    def is_stable(self, logits: Tensor) -> Tensor:
        """(N,) stability of (N, H, W) logits; an empty mask is stable."""
        inner = (logits > self.delta).sum((-2, -1)).float()
        outer = (logits > -self.delta).sum((-2, -1)).float()
        return torch.where(outer > 0, inner / outer, 1.0) >= self.threshold


@dataclass(frozen=True)
class DecodedTokens:
    """Everything the transformer yields, before masks are chosen."""

    tokens: Tensor
    """(N, L, C) output tokens."""
    upscaled: Tensor
    """(N, C / 8, 4h, 4w) image features that masks are dotted with."""
    masks: Tensor
    """(N, 4, 4h, 4w) logits of all of SAM's masks."""
    iou_scores: Tensor
    """(N, 4) predicted IoU of all of SAM's masks."""


class MaskDecoder(nn.Module):
    """SAM 2.1's mask decoder; upstream ``sam.mask_decoder.MaskDecoder``.

    Parameters
    ----------
    channels : int
        C, the width of tokens and image embedding.
    transformer : TwoWayTransformer
        Attends between tokens and image.
    iou_hidden_dim : int
        Width of the head that predicts mask quality.
    stability : StabilityFallback or None
        Applied to single masks outside of training; None never replaces them.
    """

    has_hq = False

    def __init__(
        self,
        channels: int,
        transformer: TwoWayTransformer,
        iou_hidden_dim: int = 256,
        stability: StabilityFallback | None = None,
    ) -> None:
        super().__init__()
        self.stability = stability
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(NUM_MASKS, channels)
        self.obj_score_token = nn.Embedding(1, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(channels, channels // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((channels, channels, channels, channels // 8)) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = MLP(
            (channels, iou_hidden_dim, iou_hidden_dim, NUM_MASKS), sigmoid_output=True
        )
        self.pred_obj_score_head = MLP((channels, channels, channels, 1))

    def output_tokens(self) -> Tensor:
        """(L, C) learned tokens in front of the prompt tokens."""
        parts = (self.obj_score_token, self.iou_token, self.mask_tokens)
        return torch.cat([part.weight for part in parts])

    def _upscale(self, image: Tensor, high_res: tuple[Tensor, Tensor]) -> Tensor:
        up1, norm, act1, up2, act2 = self.output_upscaling
        s0, s1 = high_res
        return act2(up2(act1(norm(up1(image) + s1))) + s0)

    def decode(
        self,
        image: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        high_res: tuple[Tensor, Tensor],
    ) -> DecodedTokens:
        """All that N prompts yield; `image` has the dense prompt added."""
        learned = self.output_tokens().expand(sparse.shape[0], -1, -1)
        tokens, features = self.transformer(
            image, image_pe, torch.cat((learned, sparse), dim=1)
        )
        height, width = image.shape[-2:]
        upscaled = self._upscale(
            features.transpose(1, 2).unflatten(2, (height, width)), high_res
        )
        weights = torch.stack(
            [
                mlp(tokens[:, FIRST_MASK + index])
                for index, mlp in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        return DecodedTokens(
            tokens=tokens,
            upscaled=upscaled,
            masks=dot_masks(weights, upscaled),
            iou_scores=self.iou_prediction_head(tokens[:, IOU]),
        )

    def _single(self, decoded: DecodedTokens) -> tuple[Tensor, Tensor]:
        """(N, 1, 4h, 4w) single mask and (N, 1) score, or the best candidate's."""
        mask, score = decoded.masks[:, :1], decoded.iou_scores[:, :1]
        if self.stability is None or self.training:
            return mask, score
        candidates, scores = decoded.masks[:, 1:], decoded.iou_scores[:, 1:]
        row = torch.arange(len(mask), device=mask.device)
        best = scores.argmax(dim=1)
        is_stable = self.stability.is_stable(mask[:, 0])[:, None]
        mask = torch.where(
            is_stable[..., None, None], mask, candidates[row, best][:, None]
        )
        return mask, torch.where(is_stable, score, scores[row, best][:, None])

    def _finish(self, masks: Tensor, decoded: DecodedTokens, hq: HqMode) -> Tensor:
        """Last word on the chosen (N, M, 4h, 4w) masks; plain SAM leaves them."""
        del decoded, hq
        return masks

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        high_res: tuple[Tensor, Tensor],
        *,
        multimask: bool,
        hq: HqMode = "add",
    ) -> MaskPrediction:
        """Predict the masks of N prompts.

        Parameters
        ----------
        image : Tensor
            (N, C, h, w) embedding, or (1, C, h, w) shared by all prompts.
        image_pe : Tensor
            (1, C, h, w) position encoding.
        sparse : Tensor
            (N, P, C) prompt tokens.
        dense : Tensor
            (N, C, h, w) or broadcastable mask prompt.
        high_res : tuple of Tensor
            `ImageFeatures.high_res`, with batch N or 1.
        multimask : bool
            Return the three candidates instead of one mask.
        hq : {"add", "only", "off"}
            Use of the HQ mask; a decoder without HQ head ignores it.
        """
        count = max(sparse.shape[0], dense.shape[0])
        image = (image + dense).expand(count, -1, -1, -1)
        decoded = self.decode(image, image_pe, sparse.expand(count, -1, -1), high_res)
        if multimask:
            masks, scores = decoded.masks[:, 1:], decoded.iou_scores[:, 1:]
            tokens = decoded.tokens[:, FIRST_MASK + 1 : FIRST_MASK + NUM_MASKS]
        else:
            masks, scores = self._single(decoded)
            tokens = decoded.tokens[:, FIRST_MASK : FIRST_MASK + 1]
        return MaskPrediction(
            masks=self._finish(masks, decoded, hq),
            iou_scores=scores,
            tokens=tokens,
            object_score=self.pred_obj_score_head(decoded.tokens[:, OBJECT_SCORE]),
        )


def dot_masks(weights: Tensor, features: Tensor) -> Tensor:
    """Combine (N, C, H, W) features with (N, M, C) weights into (N, M, H, W) logits."""
    return (weights @ features.flatten(2)).unflatten(2, features.shape[-2:])
