"""Small layers that several parts share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Casts, Linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(dims))
        self.activation = activation()
        self.sigmoid_output = sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dims[0]) to (..., dims[-1])."""
        *hidden, last = self.layers
        x = last(self._hidden(x, hidden))
        return x.sigmoid() if self.sigmoid_output else x

    def factors(self) -> list[Tensor]:
        """Weight and bias of each layer, in turn."""
        layers = cast("list[Linear]", list(self.layers))
        return [part for layer in layers for part in (layer.weight, layer.bias)]

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add what comes of (N, dims[0]) before a sigmoid to (N, dims[-1]), in place.

        Only where `works_in_place`.
        """
        *hidden, last = self.layers
        cast("Linear", last).add_to(total, self._hidden(x, hidden))

    def _hidden(self, x: Tensor, layers: Iterable[nn.Module]) -> Tensor:
        # a slice of a ModuleList would be a new module, each time
        for layer in layers:
            x = self.activation(layer(x))
        return x


class Gelu(nn.Module):
    """GELU that overwrites what it is given, unless gradients are wanted.

    To be put behind a layer whose output nothing else reads: fresh memory costs as much
    as the function.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each value."""
        if torch.is_grad_enabled():
            return F.gelu(x)
        result: Tensor = torch.ops.aten.gelu_(x)
        return result


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
    """Whether a tensor is worked on by a CPU, and no gradient is wanted.

    Large steps are best done piece by piece then: fresh memory costs more than the
    arithmetic on it, and small pieces use the same memory, and the caches, again.
    Gradients need all of it anyway, and compilers plan memory themselves.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def works_in_place(x: Tensor) -> bool:
    """Whether sums that a tensor takes part in are best made where one summand lies.

    So it is where `works_in_pieces` and nothing is cast: the product adds to what is
    there, and neither its bias nor its result is written first.
    """
    return works_in_pieces(x) and not torch.is_autocast_enabled(x.device.type)


def in_pieces(
    step: Callable[[Tensor], Tensor], x: Tensor, length: int, dim: int = 1
) -> Tensor:
    """Apply a step that treats pieces of a tensor alike and apart.

    Parameters
    ----------
    step : callable
        Keeps the number of axes; may shrink all pieces by one factor.
    x : Tensor
        What it is applied to: whole, or in pieces if `works_in_pieces`.
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


class Doubling(nn.ConvTranspose2d):
    """Transposed convolution to twice the size, added to a map of that size.

    What the pixels grow to does not overlap, so that a linear map of each pixel is all.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, kernel_size=2, stride=2)
        self._casts = Casts()

    def _matrix(self) -> tuple[Tensor, Tensor]:
        """(4 O, I) weight and (4 O,) bias."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return weight, cast("Tensor", self.bias).repeat(4)

    def add_to(self, skip: Tensor, x: Tensor) -> Tensor:
        """Add a map at twice its size to another.

        Parameters
        ----------
        skip : Tensor
            (N or 1, O, 2H, 2W).
        x : Tensor
            (N, H, W, I).

        Returns
        -------
        Tensor
            (N, O, 2H, 2W), channels last.
        """
        sources = (self.weight, cast("Tensor", self.bias))
        weight, bias = self._casts.get(sources, self._matrix)
        grown = F.linear(x, weight, bias).unflatten(-1, (2, 2, -1))
        base = skip.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        # (N, H, W, 2, 2, O) -> (N, H, 2, W, 2, O)
        total = (base + grown.transpose(2, 3)).contiguous()
        return total.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
