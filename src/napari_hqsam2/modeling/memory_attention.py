"""Memory attention: the current frame looks at the memories of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.attention import RopeAttention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MemoryTokens:
    """Memories of N objects as one sequence each: whole grids first, pointers last."""

    values: Tensor
    """(N, K, Cm)."""
    position: Tensor
    """(N, K, Cm) or broadcastable position encoding, added to the keys."""
    num_pointer_tokens: int
    """How many tokens at the end have no place on the grid."""
    grid: tuple[int, int]
    """(h, w) of every memory."""


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to memory, MLP; upstream ``MemoryAttentionLayer``."""

    def __init__(
        self, channels: int, memory_channels: int, mlp_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = RopeAttention(channels, 1, dropout=dropout)
        self.cross_attn_image = RopeAttention(
            channels, 1, key_channels=memory_channels, dropout=dropout
        )
        self.linear1 = nn.Linear(channels, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: MemoryTokens) -> Tensor:
        """Update (N, h * w, C) features."""
        grid = memory.grid
        y = self.norm1(x)
        x = x + self.dropout(self.self_attn.attend_grid(y, y, y, grid=grid))
        attended = self.cross_attn_image.attend_grid(
            self.norm2(x),
            memory.values + memory.position,
            memory.values,
            grid=grid,
            plain=memory.num_pointer_tokens,
        )
        x = x + self.dropout(attended)
        y = self.linear2(self.dropout(F.relu(self.linear1(self.norm3(x)))))
        return x + self.dropout(y)


class MemoryAttention(nn.Module):
    """A stack of `MemoryAttentionLayer`; upstream ``MemoryAttention``."""

    def __init__(
        self,
        channels: int,
        memory_channels: int,
        mlp_dim: int = 2048,
        depth: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(channels, memory_channels, mlp_dim, dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, embedding: Tensor, position: Tensor, memory: MemoryTokens
    ) -> Tensor:
        """Condition a frame on memories.

        Parameters
        ----------
        embedding : Tensor
            (N, C, h, w) image embedding.
        position : Tensor
            (C, h, w) sine position encoding.
        memory : MemoryTokens
            What N objects remember.

        Returns
        -------
        Tensor
            (N, C, h, w).
        """
        x = (embedding + 0.1 * position).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, memory)
        return self.norm(x).transpose(1, 2).unflatten(2, embedding.shape[-2:])
