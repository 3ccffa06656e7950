"""The high-quality mask token of HQ-SAM (arXiv 2306.01567) on SAM 2.1's decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Conv2d
from napari_hqsam2.modeling.layers import MLP, Gelu, LayerNorm2d
from napari_hqsam2.modeling.mask_decoder import (
    HQ,
    Chosen,
    DecodedTokens,
    MaskDecoder,
    MaskRequest,
    StabilityFallback,
)

if TYPE_CHECKING:
    from torch import Tensor

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
            Conv2d(channels // 8, channels // 4, kernel_size=3, padding=1),
            LayerNorm2d(channels // 4),
            Gelu(),
            Conv2d(channels // 4, channels // 8, kernel_size=3, padding=1),
        )

    def hq_parameters(self) -> list[nn.Parameter]:
        """Parameters that HQ training adds; all others stay frozen there."""
        parts = (self.hf_token, self.hf_mlp, self.embedding_maskfeature)
        return [parameter for part in parts for parameter in part.parameters()]

    def output_tokens(self) -> Tensor:
        """(7, C) SAM's tokens, then the HQ token."""
        return torch.cat((super().output_tokens(), self.hf_token.weight))

    def hq_mask(self, tokens: Tensor, upscaled: Tensor) -> Tensor:
        """(N, 1, 4h, 4w) logits of the HQ mask, from `DecodedTokens`' parts.

        The last convolution is linear and its output is dotted with one vector a
        prompt, so the vector goes into its weights: one channel instead of C / 8.
        """
        *layers, last = self.embedding_maskfeature
        features = upscaled
        for layer in layers:
            features = layer(features)
        weights = self.hf_mlp(tokens[:, HQ])
        return conv_to_one(features, cast("nn.Conv2d", last), weights)

    def _finish(
        self, chosen: Chosen, decoded: DecodedTokens, request: MaskRequest
    ) -> Tensor:
        if request.hq == "off":
            return super()._finish(chosen, decoded, request)
        hq_mask = self.hq_mask(decoded.tokens, decoded.upscaled)
        if request.hq == "only":
            return hq_mask
        return hq_mask + super()._finish(chosen, decoded, request)


def conv_to_one(x: Tensor, conv: nn.Conv2d, weights: Tensor) -> Tensor:
    """Convolve and take a weighted sum of the outputs, at the price of one output.

    Parameters
    ----------
    x : Tensor
        (N, I, H, W).
    conv : Conv2d
        3 x 3 with zero padding, from I to O channels.
    weights : Tensor
        (N, O), of every row of `x` its own.

    Returns
    -------
    Tensor
        (N, 1, H, W).
    """
    # sums over places spread out: what (y, x) gives to its nine neighbours
    kernel = conv.weight.flip(2, 3).flatten(1)
    taps = (weights @ kernel).unflatten(1, (x.shape[1], -1)).mT
    spread = taps @ x.flatten(2)
    out = F.fold(spread, x.shape[-2:], kernel_size=3, padding=1)
    if conv.bias is None:
        return out
    return out + (weights @ conv.bias)[:, None, None, None]
