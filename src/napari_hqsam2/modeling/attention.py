"""Attention with separate projections, plain and rotary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Linear
from napari_hqsam2.modeling.chunked_attention import attend_in_chunks
from napari_hqsam2.modeling.layers import works_in_pieces

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.position_encoding import Rope


class Attention(nn.Module):
    """Multi-head attention with fewer channels inside; upstream ``Attention``."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        downsample_rate: int = 1,
        key_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner = channels // downsample_rate
        key_channels = key_channels or channels
        self.num_heads = num_heads
        self.dropout = dropout
        self.q_proj = Linear(channels, inner)
        self.k_proj = Linear(key_channels, inner)
        self.v_proj = Linear(key_channels, inner)
        self.out_proj = Linear(inner, channels)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out_proj(out.transpose(-3, -2).flatten(-2))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (N, Lq, C) queries to (N, Lk, Ck) keys and values.

        Queries, or keys and values, may have batch 1 where N is more; they are
        projected once. Keys may have batch 1 alone, as may values.
        """
        k, v = torch.broadcast_tensors(k, v)
        count, length = max(q.shape[0], k.shape[0]), q.shape[1]
        if k.shape[0] == 1:
            # all look at the same, so they are one long sequence
            q = q.reshape(1, -1, q.shape[-1])
        few = self.q_proj.out_features // self.num_heads
        may_carry = works_in_pieces(q) and not (self.training and self.dropout)
        if may_carry and q.shape[1] <= few:
            out = self._from_few(q, k, v)
        elif may_carry and k.shape[1] <= few:
            out = self._to_few(q, k, v)
        else:
            out = self._project_all(q, k, v)
        return out.reshape(count, length, -1)

    def _project_all(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        count = max(q.shape[0], k.shape[0])
        parts = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        return self._attend(*(self._heads(x.expand(count, -1, -1)) for x in parts))

    def _from_few(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Carry few queries back through the projection of many keys, not these on.

        What the bias of keys adds is the same for all keys of a query, so that the
        softmax cancels it. Values are mixed first, and then projected.
        """
        rows = self._scaled(self.q_proj(q)) @ self._by_head(self.k_proj)
        weights = (rows.flatten(1, 2) @ k.mT).softmax(dim=-1)
        mixed = (weights @ v).unflatten(1, (self.num_heads, -1))
        values = mixed @ self._by_head(self.v_proj).mT
        return self.out_proj(values.transpose(1, 2).flatten(2) + self.v_proj.bias)

    def _to_few(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Carry few keys and values through the projections of many queries."""
        keys = self._scaled(self.k_proj(k))
        rows = (keys @ self._by_head(self.q_proj)).flatten(1, 2)
        shift = keys @ self.q_proj.bias.unflatten(0, (self.num_heads, -1))[..., None]
        scores = (rows @ q.mT).unflatten(1, (self.num_heads, -1)) + shift
        weights = scores.softmax(dim=2).flatten(1, 2)
        out = self.out_proj.weight.unflatten(1, (self.num_heads, -1)).permute(1, 2, 0)
        values = (self._heads(self.v_proj(v)) @ out).flatten(1, 2)
        return torch.baddbmm(self.out_proj.bias, weights.mT, values)

    def _scaled(self, x: Tensor) -> Tensor:
        x = self._heads(x)
        return x * x.shape[-1] ** -0.5

    def _by_head(self, projection: nn.Linear) -> Tensor:
        """(heads, D, C) weight."""
        return projection.weight.unflatten(0, (self.num_heads, -1))


class RopeAttention(Attention):
    """One head of attention with rotary codes; upstream ``RoPEAttention``."""

    def __init__(
        self, channels: int, *, key_channels: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(channels, 1, key_channels=key_channels, dropout=dropout)

    def queries(self, tokens: Tensor, rope: Rope) -> Tensor:
        """Project and rotate (N, L, C) tokens."""
        return rope.turn(self.q_proj(tokens))

    def keys(self, tokens: Tensor, rope: Rope, plain: int = 0) -> Tensor:
        """Project (N, r * L + plain, Ck) tokens and rotate all but the last `plain`."""
        return rope.turn(self.k_proj(tokens), plain)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mix values and project them.

        Parameters
        ----------
        queries : Tensor
            (N or 1, L, D) from `queries`.
        keys : Tensor
            (N, K, D) from `keys`.
        values : Tensor
            (N, K, Ck), not projected.

        Returns
        -------
        Tensor
            (N, L, C).
        """
        if self._mixes_first(keys, values):
            return self.out_proj(self.v_proj(attend_in_chunks(queries, keys, values)))
        queries = queries.expand(len(keys), -1, -1).contiguous()
        values = self.v_proj(values)
        return self._attend(queries[:, None], keys[:, None], values[:, None])

    def _mixes_first(self, keys: Tensor, values: Tensor) -> bool:
        """Whether values are projected after they are mixed; exact, if not in training.

        Accelerators have kernels for values as wide as keys only.
        """
        return (
            works_in_pieces(keys)
            and values.dtype == keys.dtype
            and values.shape[-1] < keys.shape[-1]
            and not (self.training and self.dropout)
        )
