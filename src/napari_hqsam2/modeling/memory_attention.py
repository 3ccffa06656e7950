"""Memory attention: the current frame looks at the memories of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.attention import RopeAttention
from napari_hqsam2.modeling.casting import Linear, lowered
from napari_hqsam2.modeling.layers import works_in_pieces

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.position_encoding import Rope

TOKENS = 1024
"""A CPU takes this many at a time through all layers: what it makes of them stays in
its cache, and is not fresh memory from the system each time."""


@dataclass(frozen=True)
class MemoryTokens:
    """Memories of N objects as one sequence each: what has a place first."""

    values: Tensor
    """(N, K, Cm)."""
    keys: Tensor
    """(N, K, Cm) values with their position encoding added."""
    rope: Rope
    """Angles of the tokens with a place: one grid that r whole memories share, or
    K - plain angles for each object."""
    plain: int
    """How many tokens at the end have no place on the grid."""

    def __len__(self) -> int:
        """Return the number of objects, N."""
        return len(self.values)

    def __getitem__(self, rows: slice) -> MemoryTokens:
        """Memories of some objects."""
        return MemoryTokens(
            self.values[rows], self.keys[rows], self.rope[rows], self.plain
        )


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to memory, MLP; upstream ``MemoryAttentionLayer``."""

    def __init__(
        self, channels: int, memory_channels: int, mlp_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = RopeAttention(channels, dropout=dropout)
        self.cross_attn_image = RopeAttention(
            channels, key_channels=memory_channels, dropout=dropout
        )
        self.linear1 = Linear(channels, mlp_dim)
        self.linear2 = Linear(mlp_dim, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def look_around(self, x: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """Attend from (N, L, C) tokens to themselves.

        Returns
        -------
        tuple of Tensor
            (N, L, C) tokens, and the queries with which they look at memories.
        """
        y = lowered(self.norm1(x))
        attention = self.self_attn
        y = attention.attend(attention.queries(y, rope), attention.keys(y, rope), y)
        x = x + self._dropped(y)
        return x, self.cross_attn_image.queries(self.norm2(x), rope)

    def look_back(self, x: Tensor, queries: Tensor, memory: MemoryTokens) -> Tensor:
        """Add what memories say about (N or 1, L, C) tokens; (N, L, C)."""
        attention = self.cross_attn_image
        keys = attention.keys(memory.keys, memory.rope, memory.plain)
        x = x + self._dropped(attention.attend(queries, keys, memory.values))
        if works_in_pieces(x) and not self.training:
            x = x.contiguous()
            for rows in x.flatten(0, 1).split(TOKENS):
                rows.add_(self._mlp(rows))
            return x
        return x + self._dropped(self._mlp(x))

    def _mlp(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.linear1(self.norm3(x)), inplace=True)
        return self.linear2(self._dropped(hidden))

    def _dropped(self, x: Tensor) -> Tensor:
        return self.dropout(x) if self.training else x


class MemoryAttention(nn.Module):
    """A stack of `MemoryAttentionLayer`; upstream ``MemoryAttention``.

    The work before the first memory is read is the same for all objects of an image,
    and is a verb of its own.
    """

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

    def look_around(
        self, embedding: Tensor, position: Tensor, rope: Rope
    ) -> tuple[Tensor, Tensor]:
        """Attend from images to themselves, with the first layer.

        Parameters
        ----------
        embedding : Tensor
            (B, C, h, w) image embeddings.
        position : Tensor
            (C, h, w) sine position encoding.
        rope : Rope
            Angles of the grid.

        Returns
        -------
        tuple of Tensor
            (B, h * w, C) tokens, and the queries with which they look at memories.
        """
        x = (embedding + 0.1 * position).flatten(2).transpose(1, 2).contiguous()
        first = cast("MemoryAttentionLayer", self.layers[0])
        return first.look_around(x, rope)

    def forward(
        self, tokens: Tensor, queries: Tensor, memory: MemoryTokens, rope: Rope
    ) -> Tensor:
        """Condition a frame on memories.

        Parameters
        ----------
        tokens, queries : Tensor
            (N or 1, L, C) from `look_around`, all of the grid or some of its cells.
        memory : MemoryTokens
            What N objects remember.
        rope : Rope
            Angles of the tokens.

        Returns
        -------
        Tensor
            (N, L, C).
        """
        size = max(1, TOKENS // tokens.shape[1])
        if works_in_pieces(tokens) and len(memory) > size:
            return self._in_groups(size, tokens, queries, memory, rope)
        for depth, part in enumerate(self.layers):
            layer = cast("MemoryAttentionLayer", part)
            if depth:
                tokens, queries = layer.look_around(tokens, rope)
            tokens = layer.look_back(tokens, queries, memory)
        return self.norm(tokens)

    def _in_groups(
        self,
        size: int,
        tokens: Tensor,
        queries: Tensor,
        memory: MemoryTokens,
        rope: Rope,
    ) -> Tensor:
        groups = []
        for start in range(0, len(memory), size):
            rows = slice(start, start + size)
            own = slice(None) if len(tokens) == 1 else rows
            groups.append(self(tokens[own], queries[own], memory[rows], rope[rows]))
        return torch.cat(groups)
