"""Start values for training from scratch that make prompts spatial from the first step.

With default start values a click reaches the image only through random projections of
its position code: attention between tokens and image is flat, what a click writes into
the image has another direction at every place, and thousands of steps go by before a
mask appears near its click. Here half of the channels start as "where" and the other
half as "what". The queries and keys of all token-image attentions select matching
sine-cosine pairs of the position code in the where-channels, so that ``q . k`` is a
bump around the click; all values are read from and written to the what-channels, so
that the bump looks the same everywhere. Nothing is fixed: training may change it all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.attention import Attention
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.memory_attention import MemoryAttentionLayer
    from napari_hqsam2.modeling.two_way_transformer import TwoWayBlock


@dataclass(frozen=True)
class SpatialStart:
    """How strongly, and how finely, prompts mark the image at the start."""

    logit: float = 8.0
    """Attention logit at the click itself, for a pure position code."""
    frequencies: tuple[float, ...] = (2.0, 1.0, 0.6, 0.35)
    """Deviations of the position code's frequencies, shared out among the heads.

    Frequency 1 makes a bump whose standard deviation is 8 % of the image side.
    """
    token_std: float = 0.3
    """Output tokens."""
    kind_std: float = 1.0
    """Embeddings of point labels."""
    value_gain: float = 3**0.5
    """Scale on values, upscaling and mask heads; sqrt(3) keeps the variance."""
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
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def where_channels(channels: int, inner: int) -> Tensor:
    """(channels,) bool: code channels that attention of width `inner` selects."""
    index = torch.arange(channels) % (channels // 2)
    return index < inner // 2


def _select(channels: int, inner: int) -> Tensor:
    """(inner, channels) zeros and ones: sine and cosine, frequency by frequency."""
    select = torch.zeros(inner, channels)
    frequency = torch.arange(inner // 2)
    select[2 * frequency, frequency] = 1.0
    select[2 * frequency + 1, channels // 2 + frequency] = 1.0
    return select


def _localise(attention: Attention, where: Tensor, start: SpatialStart) -> None:
    """Make attention between two position codes a bump around equal positions."""
    inner, channels = attention.q_proj.weight.shape
    width = inner // attention.num_heads
    # q . k of equal codes is gain^2 * width / 2, over sqrt(width)
    gain = math.sqrt(start.logit * 2 / math.sqrt(width))
    select = gain * _select(channels, inner)
    for projection in (attention.q_proj, attention.k_proj):
        noise = start.noise * torch.randn_like(projection.weight)
        projection.weight.copy_(select + noise)
        nn.init.zeros_(projection.bias)
    attention.v_proj.weight.mul_(start.value_gain)
    attention.v_proj.weight[:, where] = 0
    _write_what(attention.out_proj, where, start.value_gain)


def _write_what(layer: nn.Linear | nn.Conv2d, where: Tensor, gain: float = 1.0) -> None:
    """Let a layer write into the what-channels alone."""
    layer.weight.mul_(gain)
    layer.weight[where] = 0
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _pass_on(attention: Attention, start: SpatialStart) -> None:
    """Make self-attention look mostly at the token itself and return it."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    for projection in parts:
        eye = torch.eye(*projection.weight.shape)
        noise = start.noise * torch.randn_like(projection.weight)
        projection.weight.copy_(eye + noise)
        nn.init.zeros_(projection.bias)


def _embeddings(model: HqSam2, where: Tensor, start: SpatialStart) -> None:
    prompt, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
    kinds = [*prompt.point_embeddings, prompt.not_a_point_embed]
    tokens = [decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token]
    parts = [(kind.weight, start.kind_std) for kind in kinds]
    parts += [(token.weight, start.token_std) for token in tokens]
    parts += [(prompt.no_mask_embed.weight, 0.02), (model.no_mem_embed, 0.02)]
    for weight, std in parts:
        nn.init.normal_(weight, std=std)
        weight[..., where] = 0


def _decoder(model: HqSam2, where: Tensor, start: SpatialStart) -> None:
    decoder = model.sam_mask_decoder
    transformer = decoder.transformer
    layers = cast("list[TwoWayBlock]", list(transformer.layers))
    for layer in layers:
        _localise(layer.cross_attn_token_to_image, where, start)
        _localise(layer.cross_attn_image_to_token, where, start)
        _write_what(cast("nn.Linear", layer.mlp.layers[-1]), where)
    _localise(transformer.final_attn_token_to_image, where, start)
    _pass_on(layers[0].self_attn, start)
    for layer in layers[1:]:
        _write_what(layer.self_attn.out_proj, where)
    for part in (decoder.output_upscaling, decoder.output_hypernetworks_mlps):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                module.weight.mul_(start.value_gain)


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
    matrix = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    inner, channels = _inner_and_channels(model)
    where = where_channels(channels, inner)
    scale = torch.tensor(start.frequencies).repeat_interleave(
        -(-inner // 2 // len(start.frequencies))
    )
    scale = torch.cat((scale, scale.new_full((channels // 2,), 0.1)))[: channels // 2]
    matrix.copy_(torch.randn(matrix.shape) * scale)
    _embeddings(model, where, start)
    for lateral in model.image_encoder.neck.convs[:2]:
        _write_what(cast("nn.Conv2d", lateral.conv), where)
    last = model.sam_prompt_encoder.mask_downscaling[-1]
    _write_what(cast("nn.Conv2d", last), where)
    _decoder(model, where, start)


@torch.no_grad()
def initialise_memory(
    model: HqSam2, token_std: float, bump: float = 2.5, frequency: float = 0.1
) -> None:
    """Set start values of memory attention: every place reads its own place first.

    Rotary codes make attention between constant queries and keys a bump around equal
    positions; so the biases are constant in the fast rotating channel pairs.

    Parameters
    ----------
    model : HqSam2
        A model that has learned to segment images.
    token_std : float
        Deviation over the channels of an image embedding; the output gets the same.
    bump : float
        Size of the biases; logits fall by about 4 at a distance of two cells.
    frequency : float
        Slowest pair to use, in radians per cell.
    """
    inner, channels = _inner_and_channels(model)
    where = where_channels(channels, inner)
    pairs = channels // 4
    fast = 10000 ** (-torch.arange(pairs) / pairs) >= frequency
    bias = torch.zeros(2, pairs, 2)
    bias[:, fast, 0] = bump
    layers = cast("list[MemoryAttentionLayer]", list(model.memory_attention.layers))
    for layer in layers:
        attention = layer.cross_attn_image
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.mul_(0.5)
            projection.bias.copy_(bias.flatten())
        attention.v_proj.weight.mul_(3**0.5)
        _write_what(attention.out_proj, where, 3**0.5)
        _write_what(layer.self_attn.out_proj, where, 0.5)
        _write_what(layer.linear2, where)
    nn.init.constant_(model.memory_attention.norm.weight, token_std)


def _inner_and_channels(model: HqSam2) -> tuple[int, int]:
    attention = model.sam_mask_decoder.transformer.final_attn_token_to_image
    inner, channels = attention.q_proj.weight.shape
    return inner, channels
