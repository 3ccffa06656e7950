"""Rotary position encoding of channel pairs, with tables that several grids share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_hqsam2.ops._backend import KernelModule, load_kernels
from napari_hqsam2.ops._driver import ELEMENT_TYPES, grid_size
from napari_hqsam2.ops._library import define_operator, differentiate

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor, plain: int = 0) -> Tensor:
    """Rotate the channel pairs (0, 1), (2, 3), ... by angles given as cosine and sine.

    Computed in float32 (float64 for float64), whatever autocast says; differentiable
    with respect to `x`.

    Parameters
    ----------
    x : Tensor
        (..., M, D) tokens, or (N, ..., M, D) if every one of N objects has its own
        angles. M = r * L + plain: r grids of L tokens share one table.
    cos, sin : Tensor
        (L, D / 2), or (N, L, D / 2).
    plain : int
        How many tokens at the end stay as they are.

    Returns
    -------
    Tensor
        Like `x`.
    """
    tokens, channels = x.shape[-2:]
    length, pairs = cos.shape[-2:]
    own = cos.ndim == 3 and x.ndim >= 3 and len(cos) == len(x)
    grids = (tokens - plain) % length == 0 and 0 <= plain <= tokens
    fits = channels == 2 * pairs and grids and (cos.ndim == 2 or own)
    if sin.shape != cos.shape or not fits:
        msg = (
            f"Tables of {tuple(cos.shape)} and {tuple(sin.shape)} do not fit tokens of "
            f"{tuple(x.shape)}: expected (L, D / 2) or (N, L, D / 2), and a multiple "
            f"of L tokens of D channels, with {plain} more at the end."
        )
        raise ValueError(msg)
    if x.is_cuda or torch.compiler.is_compiling():
        return torch.ops.hqsam2.rotate_pairs(x, cos, sin, False, plain)
    return _rotate(x, cos, sin, False, plain)


def _rotate(
    x: Tensor, cos: Tensor, sin: Tensor, inverse: bool, plain: int = 0
) -> Tensor:
    """Twin of the kernel: pairs as complex numbers, which takes one pass."""
    if plain:
        placed, rest = x.split((x.shape[-2] - plain, plain), dim=-2)
        return torch.cat((_rotate(placed, cos, sin, inverse), rest), dim=-2)
    length, pairs = cos.shape[-2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    tokens = x.to(exact).contiguous()
    if tokens.storage_offset() % 2:
        tokens = tokens.clone()
    grids = tokens.unflatten(-2, (-1, length)).unflatten(-1, (pairs, 2))
    turns = torch.complex(cos.to(exact), (-sin if inverse else sin).to(exact))
    if turns.ndim == 3:
        turns = turns.view(len(turns), *[1] * (x.ndim - 2), length, pairs)
    turned = torch.view_as_complex(grids) * turns
    return torch.view_as_real(turned).view(x.shape).to(x.dtype)


def _rotate_cuda(
    x: Tensor, cos: Tensor, sin: Tensor, inverse: bool, plain: int = 0
) -> Tensor:
    kernels = None
    if x.dtype in ELEMENT_TYPES:
        kernels = load_kernels("rotate_pairs", x.device)
    if kernels is None:
        return _rotate(x, cos, sin, inverse, plain)
    return rotate_by_kernel(kernels, x, cos, sin, inverse, plain)


def rotate_by_kernel(
    kernels: KernelModule,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    inverse: bool,
    plain: int = 0,
) -> Tensor:
    """`rotate_pairs` with the kernel of ``rotate_pairs.cu``."""
    x = x.contiguous()
    turned = torch.empty_like(x)
    pairs = cos.shape[-2] * cos.shape[-1]
    tokens, channels = x.shape[-2:]
    rows = x.numel() // max(1, tokens * channels)
    grids = (tokens - plain) * channels // (2 * pairs)
    tables = len(cos) if cos.ndim == 3 else 1
    kernels.launch(
        "rotate_pairs",
        grid_size(pairs, rows * (grids + 1)),
        x,
        ELEMENT_TYPES[x.dtype],
        cos.float().contiguous(),
        sin.float().contiguous(),
        turned,
        rows,
        max(1, rows // tables),
        grids,
        pairs,
        plain * channels // 2,
        -1.0 if inverse else 1.0,
    )
    return turned


def _rotate_fake(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    inverse: bool,
    plain: int = 0,
) -> Tensor:
    return x.new_empty(x.shape)


def _keep_tables(
    ctx: FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor, bool, int],
    output: Tensor,
) -> None:
    _, cos, sin, ctx.inverse, ctx.plain = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(cos, sin)


def _rotate_back(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    cos, sin = ctx.saved_tensors  # type: ignore[attr-defined]
    inverse, plain = not ctx.inverse, ctx.plain  # type: ignore[attr-defined]
    turned = torch.ops.hqsam2.rotate_pairs(gradient, cos, sin, inverse, plain)
    return turned, None, None, None, None


define_operator(
    "rotate_pairs(Tensor x, Tensor cos, Tensor sin, bool inverse, SymInt plain=0) "
    "-> Tensor",
    twin=_rotate,
    fake=_rotate_fake,
    kernel=_rotate_cuda,
)
differentiate("rotate_pairs", _rotate_back, _keep_tables)
