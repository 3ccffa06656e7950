"""The mask as the memory encoder reads it, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_hqsam2.ops._backend import KernelModule, load_kernels
from napari_hqsam2.ops._driver import ELEMENT_TYPES, grid_size
from napari_hqsam2.ops._library import define_operator

UPSCALE = 4


def prepare_mask(
    low_res: Tensor,
    *,
    binarize: bool,
    scale: float = 20.0,
    bias: float = -10.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Upsample mask logits bilinearly and map them to about -10 ... 10.

    Parameters
    ----------
    low_res : Tensor
        (N, 1, h, w) logits.
    binarize : bool
        1 where the upsampled logit is above 0, else 0, instead of its sigmoid.
    scale, bias : float
        Applied after that: ``scale * mask + bias``.
    dtype : torch.dtype, optional
        Of the result; by default that of `low_res`.

    Returns
    -------
    Tensor
        (N, 1, 4h, 4w).
    """
    if low_res.ndim != 4 or not low_res.is_floating_point():
        shape = tuple(low_res.shape)
        msg = f"Expected (N, 1, h, w) logits, got {low_res.dtype} {shape}."
        raise ValueError(msg)
    arguments = (low_res, binarize, scale, bias, dtype or low_res.dtype)
    if low_res.is_cuda and not (torch.is_grad_enabled() and low_res.requires_grad):
        return torch.ops.hqsam2.prepare_mask(*arguments)
    return _prepare(*arguments)


def _prepare(
    low_res: Tensor, binarize: bool, scale: float, bias: float, dtype: torch.dtype
) -> Tensor:
    """Twin of the kernel, in float32 or better."""
    exact = torch.promote_types(low_res.dtype, torch.float32)
    logits = F.interpolate(low_res.to(exact), scale_factor=UPSCALE, mode="bilinear")
    if torch.is_grad_enabled() and logits.requires_grad:
        mask = (logits > 0).to(exact) if binarize else logits.sigmoid()
        return (mask * scale + bias).to(dtype)
    mask = logits.gt_(0) if binarize else logits.sigmoid_()
    return mask.mul_(scale).add_(bias).to(dtype)


def _prepare_cuda(
    low_res: Tensor, binarize: bool, scale: float, bias: float, dtype: torch.dtype
) -> Tensor:
    kernels = None
    if low_res.dtype in ELEMENT_TYPES and dtype in ELEMENT_TYPES:
        kernels = load_kernels("prepare_mask", low_res.device)
    if kernels is None:
        return _prepare(low_res, binarize, scale, bias, dtype)
    return prepare_by_kernel(kernels, low_res, binarize, (scale, bias), dtype)


def prepare_by_kernel(
    kernels: KernelModule,
    low_res: Tensor,
    binarize: bool,
    affine: tuple[float, float],
    dtype: torch.dtype,
) -> Tensor:
    """`prepare_mask` with the kernel of ``prepare_mask.cu``; `affine`: scale, bias."""
    low_res = low_res.contiguous()
    prepared = _prepare_fake(low_res, binarize, *affine, dtype)
    count, channels, height, width = low_res.shape
    kernels.launch(
        "prepare_mask",
        grid_size(width, count * channels * UPSCALE * height),
        low_res,
        ELEMENT_TYPES[low_res.dtype],
        prepared,
        ELEMENT_TYPES[dtype],
        count * channels,
        height,
        width,
        int(binarize),
        *map(float, affine),
    )
    return prepared


def _prepare_fake(
    low_res: Tensor,
    binarize: bool,
    scale: float,
    bias: float,
    dtype: torch.dtype,
) -> Tensor:
    count, channels, height, width = low_res.shape
    shape = (count, channels, UPSCALE * height, UPSCALE * width)
    return low_res.new_empty(shape, dtype=dtype)


define_operator(
    "prepare_mask(Tensor low_res, bool binarize, float scale, float bias, "
    "ScalarType dtype) -> Tensor",
    twin=_prepare,
    fake=_prepare_fake,
    kernel=_prepare_cuda,
)
