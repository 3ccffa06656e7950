"""Hiera, the hierarchical vision transformer of SAM 2 (arXiv 2306.00989)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Conv2d, Linear, lowered
from napari_hqsam2.modeling.derived import Derived
from napari_hqsam2.modeling.layers import MLP, Gelu, in_pieces, works_in_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Q_STRIDE = 2
PIECE_TOKENS = 2048
"""Where blocks work in pieces, these have about so many tokens."""


def cut_windows(x: Tensor, size: int) -> Tensor:
    """See (B, H, W, C) as (B, rows, columns, size, size, C), without a copy."""
    return x.unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3)


def to_windows(x: Tensor, size: int) -> Tensor:
    """Cut (B, H, W, C) into (B * n, size, size, C), zero-padded at the far edges."""
    height, width = x.shape[1:3]
    if width % size or height % size:
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
    return lowered(cut_windows(x, size), torch.contiguous_format).flatten(0, 2)


def add_windows(x: Tensor, windows: Tensor) -> Tensor:
    """Add (B * n, size, size, C) from `to_windows` to the (B, H, W, C) under them."""
    batch, height, width = x.shape[:3]
    size = windows.shape[1]
    rows, columns = -(-height // size), -(-width // size)
    # (B, rows, columns, size, size, C) -> (B, rows, size, columns, size, C)
    grid = windows.unflatten(0, (batch, rows, columns)).transpose(2, 3)
    if (height, width) != (rows * size, columns * size):
        return x + grid.flatten(3, 4).flatten(1, 2)[:, :height, :width]
    cut = x.unflatten(2, (columns, size)).unflatten(1, (rows, size))
    return (cut + grid).flatten(3, 4).flatten(1, 2)


def max_pool(x: Tensor) -> Tensor:
    """Halve (B, H, W, C) in both directions by the maximum."""
    x = torch.maximum(x[:, ::Q_STRIDE], x[:, 1::Q_STRIDE])
    return torch.maximum(x[:, :, ::Q_STRIDE], x[:, :, 1::Q_STRIDE])


@dataclass(frozen=True)
class BlockShape:
    """Sizes of one block."""

    channels_in: int
    channels: int
    num_heads: int
    window: int
    """Side of the attention windows in tokens of the input; 0 attends globally."""
    pools: bool
    """Whether the queries are pooled, which halves the grid."""


class PatchEmbed(nn.Module):
    """7 x 7 convolution of stride 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = Conv2d(3, channels, kernel_size=7, stride=4, padding=3)

    def forward(self, image: Tensor) -> Tensor:
        """Turn (B, 3, S, S) into (B, S / 4, S / 4, channels)."""
        return self.proj(lowered(image, torch.channels_last)).permute(0, 2, 3, 1)


class MultiScaleAttention(nn.Module):
    """Attention with pooled queries; upstream ``MultiScaleAttention``."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.pools = shape.pools
        self.qkv = Linear(shape.channels_in, shape.channels * 3)
        self.proj = Linear(shape.channels, shape.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within (B, H, W, C_in); the grid halves if queries are pooled."""
        return self.proj(self.mixed(x))

    def mixed(self, x: Tensor) -> Tensor:
        """(B, H', W', C) of all heads, which the last projection reads."""
        height, width = x.shape[1:3]
        qkv = self.qkv(x)
        # (n, H, W, 3 C) -> (3, n, heads, H * W, C / heads)
        parts = qkv.flatten(1, 2).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()
        if self.pools:
            pooled = max_pool(qkv[..., : qkv.shape[-1] // 3])
            height, width = pooled.shape[1:3]
            pooled = pooled.flatten(1, 2).unflatten(-1, (self.num_heads, -1))
            q = pooled.transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).flatten(2).unflatten(1, (height, width))


class MultiScaleBlock(nn.Module):
    """Transformer block in windows; upstream ``MultiScaleBlock``."""

    def __init__(self, shape: BlockShape, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.shape = shape
        channels = shape.channels
        self.norm1 = nn.LayerNorm(shape.channels_in, eps=1e-6)
        self.attn = MultiScaleAttention(shape)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP((channels, int(channels * mlp_ratio), channels), Gelu)
        if shape.channels_in != channels:
            self.proj = Linear(shape.channels_in, channels)

    def _shortcut(self, x: Tensor, normed: Tensor) -> Tensor:
        if self.shape.channels_in == self.shape.channels:
            return x
        projected = self.proj(normed)
        return max_pool(projected) if self.shape.pools else projected

    def _attend(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        shortcut = self._shortcut(x, normed)
        window = self.shape.window
        if window:
            return add_windows(shortcut, self.attn(to_windows(normed, window)))
        return shortcut + self.attn(normed)

    def _refine(self, x: Tensor) -> Tensor:
        if not works_in_place(x):
            return x + self.mlp(self.norm2(x))
        # the sum that comes in is read by nothing else
        x = x.contiguous()
        for rows in x.flatten(0, 2).split(PIECE_TOKENS):
            self.mlp.add_to(rows, self.norm2(rows))
        return x

    def _tiles(self, x: Tensor) -> bool:
        """Whether windows tile a grid, and the tokens stay as many and as wide."""
        shape = self.shape
        if shape.pools or shape.channels_in != shape.channels:
            return False
        return not any(length % shape.window for length in x.shape[1:3])

    def _change(self, x: Tensor) -> None:
        """Do the work of the block on (n, H, W, C) that attend within, in place."""
        mixed = self.attn.mixed(self.norm1(x))
        self.attn.proj.add_to(x.flatten(0, 2), mixed.flatten(0, 2))
        self._refine(x)

    def _changed(self, x: Tensor, rows: int) -> Tensor:
        """Do the work of the block in a copy, some rows at a time."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part, place in zip(x.split(rows, 1), out.split(rows, 1), strict=True):
            windows = cut_windows(part, self.shape.window)
            windows = windows.clone(memory_format=torch.contiguous_format)
            self._change(windows.flatten(0, 2))
            cut_windows(place, self.shape.window).copy_(windows)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C_in) to (B, H', W', C)."""
        window = self.shape.window
        if not window:
            return self._refine(self._attend(x))
        # rows of windows know nothing of each other
        rows = PIECE_TOKENS // x.shape[2]
        rows = max(rows - rows % window, window)
        if works_in_place(x) and self._tiles(x):
            return self._changed(x, rows)
        return in_pieces(lambda part: self._refine(self._attend(part)), x, rows)


class Hiera(nn.Module):
    """Trunk with one output per stage; upstream ``hieradet.Hiera``.

    Parameters
    ----------
    embed_dim, num_heads : int
        Channels and heads of the first stage; both double at every further stage.
    stages : sequence of int
        Number of blocks of each stage.
    global_att_blocks : sequence of int
        Blocks, counted over all stages, that attend globally instead of in windows.
    window_pos_embed_bkg_spatial_size : sequence of int
        Size of the coarse position table that is stretched over the whole grid.
    window_spec : sequence of int
        Side of the attention windows of each stage.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        stages: Sequence[int],
        global_att_blocks: Sequence[int],
        window_pos_embed_bkg_spatial_size: Sequence[int] = (14, 14),
        window_spec: Sequence[int] = (8, 4, 14, 7),
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(embed_dim)
        self.pos_embed = nn.Parameter(
            nn.init.zeros_(
                self.patch_embed.proj.weight.new_empty(
                    1, embed_dim, *window_pos_embed_bkg_spatial_size
                )
            )
        )
        self.pos_embed_window = nn.Parameter(
            nn.init.zeros_(
                self.patch_embed.proj.weight.new_empty(
                    1, embed_dim, window_spec[0], window_spec[0]
                )
            )
        )
        self._positions: Derived[Tensor] = Derived()
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        channels_in = embed_dim
        for stage, count in enumerate(stages):
            channels = embed_dim * 2**stage
            for position in range(count):
                starts_stage = stage > 0 and position == 0
                # the first block of a stage still works on the grid of the one before
                window = window_spec[stage - 1 if starts_stage else stage]
                if len(self.blocks) in global_att_blocks:
                    window = 0
                self.blocks.append(
                    MultiScaleBlock(
                        BlockShape(
                            channels_in,
                            channels,
                            num_heads * 2**stage,
                            window,
                            starts_stage,
                        )
                    )
                )
                channels_in = channels
            self.stage_ends.append(len(self.blocks) - 1)
        self.channels = [embed_dim * 2**stage for stage in range(len(stages))]

    def position_embedding(self, height: int, width: int) -> Tensor:
        """Windowed position embedding (arXiv 2311.05613) as (1, height, width, C)."""

        def compute() -> Tensor:
            coarse = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
            size = self.pos_embed_window.shape[-1]
            repeats = (1, 1, -(-height // size), -(-width // size))
            tiles = self.pos_embed_window.tile(repeats)[..., :height, :width]
            return (coarse + tiles).permute(0, 2, 3, 1).contiguous()

        sources = (self.pos_embed, self.pos_embed_window)
        return self._positions.get(sources, (height, width), compute)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode (B, 3, S, S) as one (B, C_i, H_i, W_i) map a stage, finest first."""
        x = self.patch_embed(image)
        x = x + self.position_embedding(*x.shape[1:3])
        outputs = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                outputs.append(x.permute(0, 3, 1, 2))
        return outputs
