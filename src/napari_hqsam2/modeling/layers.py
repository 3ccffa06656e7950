"""Small layers that several parts share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

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

    Whatever comes in, what goes out lies channels last.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel over its channels."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def works_in_pieces(x: Tensor) -> bool:
    """Whether large steps on a tensor are best done piece by piece.

    On a CPU fresh memory costs more than the arithmetic on it, and small pieces use the
    same memory, and the caches, again. Gradients need all of it anyway.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def in_pieces(
    step: Callable[[Tensor], Tensor], x: Tensor, length: int, dim: int = 1
) -> Tensor:
    """Apply a step that treats pieces of a tensor alike and apart.

    Parameters
    ----------
    step : callable
        Keeps the number of axes; may shrink all pieces by one factor.
    x : Tensor
        What it is applied to, whole or in pieces as `works_in_pieces` says.
    length : int
        Length of the pieces; the last one may be shorter.
    dim : int
        Axis to cut, of `x` and of the result.
    """
    if x.shape[dim] <= length or not works_in_pieces(x):
        return step(x)
    first, *others = x.split(length, dim)
    result = step(first)
    shape = list(result.shape)
    shape[dim] = shape[dim] * x.shape[dim] // length
    out = result.new_empty(shape)
    out.narrow(dim, 0, result.shape[dim]).copy_(result)
    start = result.shape[dim]
    for piece in others:
        result = step(piece)
        out.narrow(dim, start, result.shape[dim]).copy_(result)
        start += result.shape[dim]
    return out
