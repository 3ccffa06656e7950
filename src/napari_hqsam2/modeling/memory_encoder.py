"""Memory encoder: an image embedding and a mask become the memory of a frame."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_hqsam2.modeling.casting import Conv2d, Linear
from napari_hqsam2.modeling.layers import Gelu, LayerNorm2d, in_pieces

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.windows import GridWindows

PIXELS = 1024
"""Pixels whose wide inner layer is held at once on a CPU."""


class MaskDownsampler(nn.Module):
    """Strided convolutions from a mask to the grid; upstream ``MaskDownSampler``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential()
        width = 1
        for _ in range(4):
            self.encoder.append(Conv2d(width, width * 4, 3, stride=2, padding=1))
            width *= 4
            self.encoder.append(LayerNorm2d(width))
            self.encoder.append(Gelu())
        self.encoder.append(Conv2d(width, channels, kernel_size=1))

    def forward(self, mask: Tensor) -> Tensor:
        """Map (N, 1, S, S) to (N, C, S / 16, S / 16)."""
        return self.encoder(mask)


class CXBlock(nn.Module):
    """ConvNeXt block (arXiv 2201.03545); upstream ``CXBlock``."""

    def __init__(self, channels: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.dwconv = Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = Linear(channels, 4 * channels)
        self.act = Gelu()
        self.pwconv2 = Linear(4 * channels, channels)
        self.gamma = nn.Parameter(layer_scale * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, h, w)."""
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        pixels = in_pieces(self._mlp, y.flatten(0, 2), PIXELS, dim=0)
        x = x.permute(0, 2, 3, 1)
        return torch.addcmul(x, self.gamma, pixels.view_as(x)).permute(0, 3, 1, 2)

    def _mlp(self, x: Tensor) -> Tensor:
        return self.pwconv2(self.act(self.pwconv1(x)))


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
        self.pix_feat_proj = Conv2d(channels, channels, kernel_size=1)
        self.fuser = Fuser(channels, depth, layer_scale)
        self.out_proj = Conv2d(channels, memory_channels, kernel_size=1)

    def forward(
        self, embedding: Tensor, mask: Tensor, windows: GridWindows | None = None
    ) -> Tensor:
        """Encode the memory of N objects.

        Parameters
        ----------
        embedding : Tensor
            (N, C, h, w) or (1, C, h, w) image embedding without memory.
        mask : Tensor
            (N, 1, 16h, 16w) mask, already scaled for the encoder; with windows,
            (N, 1, 16 side, 16 side).
        windows : GridWindows, optional
            The parts of the embedding that the masks lie on.

        Returns
        -------
        Tensor
            (N, Cm, h, w), or (N, Cm, side, side) with windows.
        """
        # as the masks will lie, so that sums are fast
        embedding = embedding.contiguous(memory_format=torch.channels_last)
        image = self.pix_feat_proj(embedding)
        if windows is not None:
            image = windows.crop(image)
        if len(image) == 1:
            return in_pieces(partial(self._encode, image), mask, 1, dim=0)
        return self._encode(image, mask)

    def _encode(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.out_proj(self.fuser(image + self.mask_downsampler(mask)))
