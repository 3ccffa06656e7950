"""Prompt encoder: points, box corners and mask logits as embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_hqsam2.modeling.casting import Conv2d
from napari_hqsam2.modeling.derived import Derived
from napari_hqsam2.modeling.layers import Gelu, LayerNorm2d
from napari_hqsam2.modeling.position_encoding import RandomPositionEncoding

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.outputs import ModelPrompts

PADDING = -1


class PromptEncoder(nn.Module):
    """SAM's ``PromptEncoder``; a box is two labelled points."""

    def __init__(self, channels: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.pe_layer = RandomPositionEncoding(channels)
        self._grids: Derived[Tensor] = Derived()
        self.point_embeddings = nn.ModuleList(
            nn.Embedding(1, channels) for _ in range(4)
        )
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            Gelu(),
            Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            Gelu(),
            Conv2d(mask_channels, channels, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def image_pe(self, height: int, width: int) -> Tensor:
        """(1, C, height, width) position encoding of a grid's cells."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        return self._grids.get(
            (matrix,), (height, width), lambda: self._channels_last(height, width)
        )

    def _channels_last(self, height: int, width: int) -> Tensor:
        grid = self.pe_layer.grid(height, width)
        return grid.contiguous(memory_format=torch.channels_last)

    def sparse(self, coords_norm: Tensor, labels: Tensor) -> Tensor:
        """Embed (N, P, 2) points (x, y), 0 to 1, with (N, P) labels as (N, P, C)."""
        kinds = torch.cat(list(self.point_embeddings.parameters()))
        kind = kinds[labels.clamp(min=0)]
        embedded = self.pe_layer(coords_norm) + kind
        is_padding = (labels == PADDING)[..., None]
        return torch.where(is_padding, self.not_a_point_embed.weight, embedded)

    def forward(self, prompts: ModelPrompts) -> tuple[Tensor, Tensor]:
        """Embed the prompts of N objects.

        Returns
        -------
        sparse : Tensor
            (N, P + 1, C): the points, then one padding token. Without points (N, 0, C),
            or (N, 2, C) for objects that are sought nowhere.
        dense : Tensor
            (N, C, h, w) from mask logits, or (1, C, 1, 1) for no mask.
        """
        if prompts.masks is None:
            dense = self.no_mask_embed.weight[..., None, None]
        else:
            dense = self.mask_downscaling(prompts.masks)
        if prompts.coords_norm is None or prompts.labels is None:
            if prompts.nowhere:
                # a padding point, and the one that follows all points
                return self.not_a_point_embed.weight.repeat(
                    prompts.nowhere, 2, 1
                ), dense
            return dense.new_zeros(dense.shape[0], 0, dense.shape[1]), dense
        padding = torch.full_like(prompts.labels[:, :1], PADDING)
        coords = torch.cat(
            (prompts.coords_norm, torch.zeros_like(prompts.coords_norm[:, :1])), 1
        )
        return self.sparse(coords, torch.cat((prompts.labels, padding), 1)), dense
