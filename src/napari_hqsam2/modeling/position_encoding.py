"""Position encodings: sine, random Fourier features, rotary, and 1-D sine in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from napari_hqsam2.ops.rotate import rotate_pairs


@dataclass(frozen=True)
class Rope:
    """Rotary angles of L tokens, for D / 2 pairs of channels."""

    cos: Tensor
    """(L, D / 2) for all objects, or (N, L, D / 2)."""
    sin: Tensor
    """As `cos`."""

    def at(self, cells: Tensor) -> Rope:
        """Angles of (N, K) cells of the grid whose L angles these are."""
        return Rope(self.cos[cells], self.sin[cells])

    def __getitem__(self, rows: slice) -> Rope:
        """Angles of some objects; those of all objects are those of some."""
        return self if self.cos.ndim == 2 else Rope(self.cos[rows], self.sin[rows])

    @cached_property
    def turns(self) -> Tensor:
        """The angles as complex numbers of length one."""
        with torch.inference_mode(mode=False):
            return torch.complex(self.cos, self.sin)

    def turn(self, x: Tensor, plain: int = 0) -> Tensor:
        """Turn the channel pairs of tokens, each of r grids alike.

        Parameters
        ----------
        x : Tensor
            (N, r * L + plain, D), which may be overwritten.
        plain : int
            How many tokens at the end stay as they are.
        """
        in_place = x.device.type == "cpu" and x.dtype == self.cos.dtype
        # compilers do without complex numbers
        if not in_place or torch.compiler.is_compiling():
            return rotate_pairs(x, self.cos, self.sin, plain)
        turns = self.turns if self.cos.ndim == 2 else self.turns[:, None]
        placed = x[:, : x.shape[1] - plain]
        grids = placed.unflatten(1, (-1, turns.shape[-2]))
        torch.view_as_complex(grids.unflatten(-1, (-1, 2))).mul_(turns)
        return x


def table_dtype(dtype: torch.dtype) -> torch.dtype:
    """Precision of position tables for a model of this dtype: at least float32."""
    return torch.promote_types(dtype, torch.float32)


@lru_cache(maxsize=16)
def sine_position_encoding(
    height: int,
    width: int,
    channels: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sine encoding of a grid; upstream ``PositionEmbeddingSine``, normalised.

    Returns
    -------
    Tensor
        (channels, height, width); the first half encodes y, the second x.
    """
    with torch.inference_mode(mode=False):
        half = channels // 2
        period = _periods(half, device, dtype)

        def encode(length: int) -> Tensor:
            position = torch.arange(1, length + 1, dtype=dtype, device=device)
            angle = position / (length + 1e-6) * (2 * math.pi)
            angle = angle[:, None] / period
            return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(
                1
            )

        y = encode(height)[:, None].expand(height, width, half)
        x = encode(width)[None].expand(height, width, half)
        return torch.cat((y, x), dim=-1).permute(2, 0, 1).contiguous()


def sine_time_encoding(distance: Tensor, channels: int) -> Tensor:
    """Encode (...) scalars as (..., channels) sines; upstream ``get_1d_sine_pe``."""
    period = _periods(channels // 2, distance.device, distance.dtype)
    angle = distance[..., None] / period
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


@lru_cache(maxsize=16)
def _periods(count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(count,) periods from 1 up to 10000, two of each, for a sine and a cosine."""
    with torch.inference_mode(mode=False):
        index = torch.arange(count, dtype=dtype, device=device)
        return 10000 ** (2 * (index // 2) / count)


@lru_cache(maxsize=16)
def axial_rope(
    height: int,
    width: int,
    channels: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Rope:
    """Cosine and sine of the rotary angles of a grid; upstream ``compute_axial_cis``.

    Returns
    -------
    Rope
        L = height * width and D = channels: the first half of the pairs turns with x,
        the second with y.
    """
    with torch.inference_mode(mode=False):
        exponent = torch.arange(0, channels, 4, device=device)[: channels // 4]
        frequency = 1.0 / 10000 ** (exponent.to(dtype) / channels)
        y, x = torch.meshgrid(
            torch.arange(height, dtype=dtype, device=device),
            torch.arange(width, dtype=dtype, device=device),
            indexing="ij",
        )
        angle = torch.cat(
            (x.reshape(-1, 1) * frequency, y.reshape(-1, 1) * frequency), dim=-1
        )
        # polar rounds as upstream's complex tables do, cos and sin do not
        turn = torch.polar(torch.ones_like(angle), angle)
        return Rope(turn.real.contiguous(), turn.imag.contiguous())


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
