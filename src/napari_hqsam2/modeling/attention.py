"""Attention with separate projections, plain and rotary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.position_encoding import axial_rope, rotate

if TYPE_CHECKING:
    from torch import Tensor


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

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (N, Lq, C) queries to (N, Lk, Ck) keys and values."""
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        return self._attend(self._heads(q), self._heads(k), self._heads(v))


class RopeAttention(Attention):
    """Attention with rotary codes of a grid; upstream ``RoPEAttention``."""

    def rotate_keys(self, k: Tensor, rope: tuple[Tensor, Tensor], plain: int) -> Tensor:
        """Rotate (N, heads, r * L + plain, D) keys; the last `plain` stay."""
        length = rope[0].shape[0]
        grids = k[..., : k.shape[-2] - plain, :].unflatten(-2, (-1, length))
        turned = rotate(grids, rope).flatten(-3, -2)
        return torch.cat((turned, k[..., k.shape[-2] - plain :, :]), dim=-2)

    def attend_grid(
        self, q: Tensor, k: Tensor, v: Tensor, *, grid: tuple[int, int], plain: int = 0
    ) -> Tensor:
        """Attend from one grid of queries to one or more grids of keys.

        Parameters
        ----------
        q : Tensor
            (N, h * w, C) queries.
        k, v : Tensor
            (N, r * h * w + plain, Ck); the last `plain` tokens get no rotary code.
        grid : tuple of int
            (h, w).
        plain : int
            Number of tokens without a place on the grid (object pointers).
        """
        q, k, v = (
            self._heads(self.q_proj(q)),
            self._heads(self.k_proj(k)),
            self._heads(self.v_proj(v)),
        )
        rope = axial_rope(*grid, q.shape[-1], q.device)
        return self._attend(rotate(q, rope), self.rotate_keys(k, rope, plain), v)
