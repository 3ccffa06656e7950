"""Image encoder: trunk and feature pyramid."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Casts

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
        self._casts = Casts()

    def forward(self, maps: list[Tensor], heads: Sequence[nn.Conv2d]) -> list[Tensor]:
        """Bring maps to the channels that are asked for.

        Parameters
        ----------
        maps : list of Tensor
            (B, C_i, H_i, W_i) of the trunk, finest first.
        heads : sequence of Conv2d
            1 x 1 convolutions of the pyramid's finest levels. Nothing comes between a
            lateral convolution and its head, so that both are applied as one.

        Returns
        -------
        list of Tensor
            One map for each head, then the pyramid's other levels, all channels last.
        """
        last = len(maps) - 1
        out: list[Tensor] = []
        for level in range(last, -1, -1):
            lateral = cast("nn.Sequential", self.convs[last - level])
            convs = [cast("nn.Conv2d", lateral.conv), *heads[level : level + 1]]
            sources = tuple(
                part
                for conv in convs
                for part in (conv.weight, conv.bias)
                if part is not None
            )
            weight, bias = self._casts.get(sources, partial(_as_one, convs), level)
            x = F.linear(maps[level].permute(0, 2, 3, 1), weight, bias)
            x = x.permute(0, 3, 1, 2)
            if level in TOP_DOWN_LEVELS and out:
                coarse = out[0].to(torch.promote_types(x.dtype, torch.float32))
                x = x + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
            out.insert(0, x)
        return out


def _matrix(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """(O, I) weight and (O,) bias of a 1 x 1 convolution."""
    weight = conv.weight.flatten(1)
    return weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias


def _as_one(convs: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """Weight and bias of 1 x 1 convolutions that follow one another."""
    weight, bias = _matrix(convs[0])
    with torch.autocast(weight.device.type, enabled=False):
        for conv in convs[1:]:
            after, after_bias = _matrix(conv)
            weight, bias = after @ weight, torch.addmv(after_bias, after, bias)
    return weight, bias


class ImageEncoder(nn.Module):
    """Trunk and neck; the coarsest level is dropped after it has informed the next."""

    def __init__(self, trunk: Hiera, channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = FpnNeck(channels, trunk.channels)

    def forward(self, image: Tensor, heads: Sequence[nn.Conv2d]) -> list[Tensor]:
        """Encode (B, 3, S, S) as three maps of stride 4, 8 and 16.

        The finest have the channels of their `heads`, all others C.
        """
        return self.neck(self.trunk(image), heads)[:-1]
