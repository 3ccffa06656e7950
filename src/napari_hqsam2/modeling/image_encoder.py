"""Image encoder: trunk and feature pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.hiera import Hiera

TOP_DOWN_LEVELS = (2, 3)


class FpnNeck(nn.Module):
    """Feature pyramid without output convolutions; upstream ``FpnNeck`` (nearest, sum).

    Only the two coarsest levels exchange features; finer ones are lateral alone.
    """

    def __init__(self, channels: int, trunk_channels: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for width in reversed(trunk_channels):
            lateral = nn.Sequential()
            lateral.add_module("conv", nn.Conv2d(width, channels, kernel_size=1))
            self.convs.append(lateral)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Bring each (B, C_i, H_i, W_i) map to the pyramid's channels, finest first."""
        last = len(maps) - 1
        out: list[Tensor] = []
        for level in range(last, -1, -1):
            x = self.convs[last - level](maps[level])
            if level in TOP_DOWN_LEVELS and out:
                x = x + F.interpolate(out[0].float(), scale_factor=2.0, mode="nearest")
            out.insert(0, x)
        return out


class ImageEncoder(nn.Module):
    """Trunk and neck; the coarsest level is dropped after it has informed the next."""

    def __init__(self, trunk: Hiera, channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = FpnNeck(channels, trunk.channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode (B, 3, S, S) as three maps (B, C, ...) of stride 4, 8 and 16."""
        return self.neck(self.trunk(image))[:-1]
