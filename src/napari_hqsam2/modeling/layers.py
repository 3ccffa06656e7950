"""Small layers that several parts share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
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


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, H, W); upstream ``LayerNorm2d``.

    The order of operations is upstream's, so that both round alike: tracking amplifies
    differences in the last bit of a memory a thousandfold within a few frames.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel over its channels."""
        centred = x - x.mean(dim=1, keepdim=True)
        variance = centred.pow(2).mean(dim=1, keepdim=True)
        normed = centred / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * normed + self.bias[:, None, None]
