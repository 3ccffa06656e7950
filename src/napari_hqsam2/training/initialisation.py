"""Start values for training from scratch that make prompts spatial from the first step.

With default start values a click reaches the image only through random projections of
its position code, so attention between tokens and image is flat and thousands of steps
go by before a mask appears near its click. Here the query and key projections of all
token-image attentions select the same sine and cosine pairs of the position code, so
that ``q . k`` is a bump around the click, and the first self-attention passes each
token on instead of averaging them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.attention import Attention
    from napari_hqsam2.modeling.hqsam2 import HqSam2


@dataclass(frozen=True)
class SpatialStart:
    """How strongly, and how finely, prompts mark the image at the start."""

    logit: float = 8.0
    """Attention logit at the click itself, for a pure position code."""
    frequencies: tuple[float, float] = (0.5, 2.0)
    """Range of standard deviations of the position code's frequencies."""
    token_std: float = 0.3
    """Output tokens."""
    kind_std: float = 0.2
    """Embeddings of point labels and of no mask."""
    value_gain: float = 3**0.5
    """Scale on values, upscaling and mask heads; sqrt(3) makes torch's start keep variance."""
    noise: float = 0.02
    """Added to the projections that are set by hand."""


def _trunk(model: HqSam2) -> None:
    trunk = model.image_encoder.trunk
    for module in trunk.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(trunk.pos_embed, std=0.02)
    nn.init.trunc_normal_(trunk.pos_embed_window, std=0.02)
    for module in model.image_encoder.neck.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _pairs(channels: int, heads: int, inner: int) -> Tensor:
    """(inner, channels) zeros and ones: each head takes its own sine-cosine pairs."""
    half, width = channels // 2, inner // heads
    select = torch.zeros(inner, channels)
    for head in range(heads):
        for i in range(width // 2):
            frequency = (head * (width // 2) + i) * half // (inner // 2)
            row = head * width + 2 * i
            select[row, frequency] = 1.0
            select[row + 1, half + frequency] = 1.0
    return select


def _localise(attention: Attention, channels: int, start: SpatialStart) -> None:
    """Make attention between two position codes a bump around equal positions."""
    inner = attention.q_proj.out_features
    width = inner // attention.num_heads
    # q . k of equal codes is gain^2 * width / 2, over sqrt(width)
    gain = math.sqrt(start.logit * 2 / math.sqrt(width))
    select = gain * _pairs(channels, attention.num_heads, inner)
    for projection in (attention.q_proj, attention.k_proj):
        noise = start.noise * torch.randn_like(projection.weight)
        projection.weight.copy_(select + noise)
        nn.init.zeros_(projection.bias)
    for projection in (attention.v_proj, attention.out_proj):
        projection.weight.mul_(start.value_gain)


def _pass_on(attention: Attention, start: SpatialStart) -> None:
    """Make self-attention look mostly at the token itself and return it."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    for projection in parts:
        eye = torch.eye(*projection.weight.shape)
        noise = start.noise * torch.randn_like(projection.weight)
        projection.weight.copy_(eye + noise)
        nn.init.zeros_(projection.bias)


@torch.no_grad()
def initialise(model: HqSam2, start: SpatialStart | None = None) -> None:
    """Set start values in place; draws from torch's global generator.

    Parameters
    ----------
    model : HqSam2
        A fresh model.
    start : SpatialStart or None
        None keeps the default start of the prompt path, for comparison.
    """
    _trunk(model)
    if start is None:
        return
    prompt, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
    matrix = prompt.pe_layer.positional_encoding_gaussian_matrix
    half = matrix.shape[1]
    low, high = start.frequencies
    scale = low * (high / low) ** torch.rand(half)
    matrix.copy_(torch.randn(2, half) * scale)
    for embedding in (*prompt.point_embeddings, prompt.no_mask_embed):
        nn.init.normal_(embedding.weight, std=start.kind_std)
    nn.init.normal_(prompt.not_a_point_embed.weight, std=start.token_std)
    tokens = [decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token]
    for token in tokens:
        nn.init.normal_(token.weight, std=start.token_std)
    channels = 2 * half
    for layer in decoder.transformer.layers:
        _localise(layer.cross_attn_token_to_image, channels, start)
        _localise(layer.cross_attn_image_to_token, channels, start)
    _localise(decoder.transformer.final_attn_token_to_image, channels, start)
    for part in (decoder.output_upscaling, decoder.output_hypernetworks_mlps):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                module.weight.mul_(start.value_gain)
    _pass_on(decoder.transformer.layers[0].self_attn, start)
