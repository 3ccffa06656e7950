"""Small layers that several parts share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class MLP(nn.Module):
    """Linear layers with an activation between them; upstream ``sam2_utils.MLP``."""

    def __init__(
        self,
        dims: tuple[int, ...],
        activation: type[nn.Module] = nn.ReLU,
        *,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))
        self.activation = activation()
        self.sigmoid_output = sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dims[0]) to (..., dims[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        x = last(x)
        return x.sigmoid() if self.sigmoid_output else x


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W); upstream ``LayerNorm2d``."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel over its channels."""
        normed = F.layer_norm(
            x.permute(0, 2, 3, 1),
            self.normalized_shape,
            self.weight,
            self.bias,
            self.eps,
        )
        return normed.permute(0, 3, 1, 2)
