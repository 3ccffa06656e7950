"""Memory encoder: an image embedding and a mask become the memory of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_hqsam2.modeling.layers import LayerNorm2d

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 16


class MaskDownsampler(nn.Module):
    """Strided convolutions from a mask to the grid; upstream ``MaskDownSampler``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential()
        width = 1
        for _ in range(4):
            self.encoder.append(nn.Conv2d(width, width * 4, 3, stride=2, padding=1))
            width *= 4
            self.encoder.append(LayerNorm2d(width))
            self.encoder.append(nn.GELU())
        self.encoder.append(nn.Conv2d(width, channels, kernel_size=1))

    def forward(self, mask: Tensor) -> Tensor:
        """Map (N, 1, S, S) to (N, C, S / 16, S / 16)."""
        return self.encoder(mask)


class CXBlock(nn.Module):
    """ConvNeXt block (arXiv 2201.03545); upstream ``CXBlock``."""

    def __init__(self, channels: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(layer_scale * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, h, w)."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """A stack of `CXBlock`."""

    def __init__(self, channels: int, depth: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CXBlock(channels, layer_scale) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, h, w)."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuse embedding and mask into a memory; upstream ``MemoryEncoder``.

    Parameters
    ----------
    channels, memory_channels : int
        C and Cm.
    depth : int
        Number of fuser blocks.
    layer_scale : float
        Start value of the blocks' layer scale; only training from scratch cares.
    """

    def __init__(
        self,
        channels: int,
        memory_channels: int,
        depth: int = 2,
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        self.memory_channels = memory_channels
        self.mask_downsampler = MaskDownsampler(channels)
        self.pix_feat_proj = nn.Conv2d(channels, channels, kernel_size=1)
        self.fuser = Fuser(channels, depth, layer_scale)
        self.out_proj = nn.Conv2d(channels, memory_channels, kernel_size=1)

    def forward(self, embedding: Tensor, mask: Tensor) -> Tensor:
        """Encode the memory of N objects.

        Parameters
        ----------
        embedding : Tensor
            (N, C, h, w) or (1, C, h, w) image embedding without memory.
        mask : Tensor
            (N, 1, 16h, 16w) mask, already scaled for the encoder.

        Returns
        -------
        Tensor
            (N, Cm, h, w).
        """
        fused = self.pix_feat_proj(embedding) + self.mask_downsampler(mask)
        return self.out_proj(self.fuser(fused))
