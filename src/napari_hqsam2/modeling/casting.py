"""What autocast casts, cast once: parameters for good, activations for all who read.

Autocast casts what a matrix product or a convolution reads each time it is read. On a
GPU that costs more than many of the products. All of this gives the same numbers, and
nothing of it is done where gradients are wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_hqsam2.modeling.derived import Derived

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


def product_dtype(x: Tensor, dtype: torch.dtype | None = None) -> torch.dtype:
    """The dtype in which products with a tensor are computed, if it has `dtype`."""
    dtype, kind = dtype or x.dtype, x.device.type
    # autocast leaves double precision alone
    if dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return dtype
    return torch.get_autocast_dtype(kind)


def lowered(x: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """Cast what only products read as autocast would; in one pass with a copy.

    Parameters
    ----------
    x : Tensor
        Any.
    layout : torch.memory_format
        How the result lies in memory.
    """
    dtype = x.dtype if torch.is_grad_enabled() else product_dtype(x)
    if dtype != x.dtype:
        return x.to(dtype, memory_format=layout)
    return x if layout == torch.preserve_format else x.contiguous(memory_format=layout)


def lowered_sum(x: Tensor, y: Tensor) -> Tensor:
    """``lowered(x + y)`` in one pass."""
    lowers = torch.is_autocast_enabled(x.device.type)
    if not lowers or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x + y
    dtype = product_dtype(x, torch.promote_types(x.dtype, y.dtype))
    # an empty tensor takes the shape of what is written to it
    return torch.add(x, y, out=x.new_empty(0, dtype=dtype))


class Casts:
    """Factors that are made of parameters, in the dtype of products."""

    def __init__(self) -> None:
        self._kept: Derived[tuple[Tensor, ...]] = Derived()

    def get(
        self,
        sources: tuple[Tensor, ...],
        compute: Callable[[], tuple[Tensor, ...]] | None = None,
        key: Hashable = None,
    ) -> tuple[Tensor, ...]:
        """Return parameters, or what is computed from them, for products.

        Parameters
        ----------
        sources : tuple of Tensor
            All parameters that are read.
        compute : callable, optional
            Makes something else of them. Where autocast would cast it, it is kept
            until the parameters change.
        key : hashable
            What is computed, if that differs from call to call.
        """
        dtype = product_dtype(sources[0])
        if dtype == sources[0].dtype or torch.is_grad_enabled():
            return sources if compute is None else compute()
        size = (key, dtype)
        # without what `get` asks first: this is done for each layer of each frame
        if not torch.compiler.is_compiling():
            kept = self._kept.recall(sources, size)
            if kept is not None:
                return kept

        def cast_all() -> tuple[Tensor, ...]:
            made = sources if compute is None else compute()
            return tuple(part.to(dtype) for part in made)

        return self._kept.get(sources, size, cast_all)


class _KeepsCasts(nn.Module):
    """A layer that multiplies by its parameters and does nothing else with them."""

    _casts: Casts

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._casts = Casts()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # what moves elsewhere leaves nothing behind
        self._casts = Casts()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


class Linear(_KeepsCasts, nn.Linear):
    """`torch.nn.Linear` with a bias, cast once."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return F.linear(x, *self._casts.get((self.weight, self.bias)))

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add what `forward` makes of (N, I) to (N, O), in place; casts nothing."""
        total.add_(self.bias).addmm_(x, self.weight.t())


class Conv2d(_KeepsCasts, nn.Conv2d):
    """`torch.nn.Conv2d` with a bias, cast once."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, I, H, W)."""
        factors = self._casts.get((self.weight, cast("Tensor", self.bias)))
        return self._conv_forward(x, *factors)
