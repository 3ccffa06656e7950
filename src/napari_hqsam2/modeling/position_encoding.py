"""Position encodings: sine, random Fourier features, rotary, and 1-D sine in time."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn


@lru_cache(maxsize=16)
def sine_position_encoding(
    height: int, width: int, channels: int, device: torch.device
) -> Tensor:
    """Sine encoding of a grid; upstream ``PositionEmbeddingSine``, normalised.

    Returns
    -------
    Tensor
        (channels, height, width) float32; the first half encodes y, the second x.
    """
    with torch.inference_mode(mode=False):
        half = channels // 2
        index = torch.arange(half, dtype=torch.float32, device=device)
        period = 10000 ** (2 * (index // 2) / half)

        def encode(length: int) -> Tensor:
            position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
            angle = position / (length + 1e-6) * (2 * math.pi)
            angle = angle[:, None] / period
            return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(
                1
            )

        y = encode(height)[:, None].expand(height, width, half)
        x = encode(width)[None].expand(height, width, half)
        return torch.cat((y, x), dim=-1).permute(2, 0, 1).contiguous()


def sine_time_encoding(distance: Tensor, channels: int) -> Tensor:
    """Sine encoding of (K,) scalars as (K, channels); upstream ``get_1d_sine_pe``."""
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=distance.device)
    angle = distance[:, None] / 10000 ** (2 * (index // 2) / half)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


@lru_cache(maxsize=16)
def axial_rope(
    height: int, width: int, channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles of a grid; upstream ``compute_axial_cis``.

    Returns
    -------
    tuple of Tensor
        Two (height * width, channels / 2) float32 tensors: the first half of the
        pairs turns with x, the second with y.
    """
    with torch.inference_mode(mode=False):
        exponent = torch.arange(0, channels, 4, device=device)[: channels // 4].float()
        frequency = 1.0 / 10000 ** (exponent / channels)
        y, x = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=device),
            torch.arange(width, dtype=torch.float32, device=device),
            indexing="ij",
        )
        angle = torch.cat(
            (x.reshape(-1, 1) * frequency, y.reshape(-1, 1) * frequency), dim=-1
        )
        # polar rounds as upstream's complex tables do, cos and sin do not
        turn = torch.polar(torch.ones_like(angle), angle)
        return turn.real.contiguous(), turn.imag.contiguous()


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the channel pairs of (..., L, D) by (L, D / 2) angles, in float32."""
    cos, sin = rope
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).type_as(x)


class RandomPositionEncoding(nn.Module):
    """Random Fourier features of points; upstream ``PositionEmbeddingRandom``."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer(
            "positional_encoding_gaussian_matrix", torch.randn(2, channels // 2)
        )

    def forward(self, coords_norm: Tensor) -> Tensor:
        """Encode (..., 2) points (x, y), 0 to 1 over the image, as (..., channels)."""
        matrix = self.positional_encoding_gaussian_matrix
        angle = 2 * math.pi * ((2 * coords_norm.to(matrix.dtype) - 1) @ matrix)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Encode the cell centres of a grid as (1, channels, height, width)."""
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        return self(torch.stack((xx, yy), dim=-1)).permute(2, 0, 1)[None]
