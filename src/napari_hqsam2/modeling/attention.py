"""Attention with separate projections, plain and rotary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.chunked_attention import attend_in_chunks

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
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(key_channels, inner)
        self.v_proj = nn.Linear(key_channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out_proj(out.transpose(-3, -2).flatten(-2))

    def attend_from(self, queries: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from projected (N, Lq, D) queries; `k` and `v` as of `forward`.

        Any of the three may have batch 1 where N is more: it is projected once.
        """
        k, v = self.k_proj(k), self.v_proj(v)
        count, length = max(len(queries), len(k)), queries.shape[1]
        if len(k) == 1:
            # all look at the same, so they are one long sequence
            queries = queries.reshape(1, -1, queries.shape[-1])
        else:
            queries, k, v = (x.expand(count, -1, -1) for x in (queries, k, v))
        out = self._attend(*(self._heads(x) for x in (queries, k, v)))
        return out.reshape(count, length, -1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (N, Lq, C) queries to (N, Lk, Ck) keys and values."""
        return self.attend_from(self.q_proj(q), k, v)


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
            keys.device.type == "cpu"
            and values.dtype == keys.dtype
            and values.shape[-1] < keys.shape[-1]
            and not torch.is_grad_enabled()
            and not (self.training and self.dropout)
        )
