"""The high-quality mask token of HQ-SAM (arXiv 2306.01567) on SAM 2.1's decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_hqsam2.modeling.layers import MLP, LayerNorm2d
from napari_hqsam2.modeling.mask_decoder import (
    HQ,
    DecodedTokens,
    MaskDecoder,
    StabilityFallback,
    dot_masks,
)

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.modeling.two_way_transformer import TwoWayTransformer


class HqMaskDecoder(MaskDecoder):
    """`MaskDecoder` with one more token and mask; upstream HQ ``MaskDecoderHQ``.

    The parameters keep the names of the official checkpoint (``hf_token``, ``hf_mlp``,
    ``embedding_maskfeature``), so that its weights load without renaming.
    """

    has_hq = True

    def __init__(
        self,
        channels: int,
        transformer: TwoWayTransformer,
        iou_hidden_dim: int = 256,
        stability: StabilityFallback | None = None,
    ) -> None:
        super().__init__(channels, transformer, iou_hidden_dim, stability)
        self.hf_token = nn.Embedding(1, channels)
        self.hf_mlp = MLP((channels, channels, channels, channels // 8))
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(channels // 8, channels // 4, kernel_size=3, padding=1),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.Conv2d(channels // 4, channels // 8, kernel_size=3, padding=1),
        )

    def hq_parameters(self) -> list[nn.Parameter]:
        """Parameters that HQ training adds; all others stay frozen there."""
        parts = (self.hf_token, self.hf_mlp, self.embedding_maskfeature)
        return [parameter for part in parts for parameter in part.parameters()]

    def output_tokens(self) -> Tensor:
        """(7, C) SAM's tokens, then the HQ token."""
        return torch.cat((super().output_tokens(), self.hf_token.weight))

    def _finish(self, masks: Tensor, decoded: DecodedTokens, hq: HqMode) -> Tensor:
        if hq == "off":
            return masks
        weights = self.hf_mlp(decoded.tokens[:, HQ])[:, None]
        hq_mask = dot_masks(weights, self.embedding_maskfeature(decoded.upscaled))
        return hq_mask if hq == "only" else hq_mask + masks
