"""Connected components of binary masks, the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_hqsam2.ops._backend import KernelModule, load_kernels
from napari_hqsam2.ops._driver import grid_size
from napari_hqsam2.ops._library import define_operator
from napari_hqsam2.ops._runs import find_runs

PIXELS_AT_ONCE = 1 << 24
"""Pixels that the host looks at in one go, which bounds its temporaries."""


def connected_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Label 8-connected components of N masks; upstream ``get_connected_components``.

    Parameters
    ----------
    mask : Tensor
        (N, H, W) boolean, of any height and width.

    Returns
    -------
    labels : Tensor
        (N, H, W) int32; 0 outside, 1, 2, ... for the components of each mask, in
        raster order of their first pixels.
    areas : Tensor
        (N, H, W) int32; the number of pixels of the component that a pixel belongs to.
    """
    _check(mask)
    labels, areas = torch.ops.hqsam2.connected_components(mask)
    return labels, areas


def small_components(mask: Tensor, max_area: int) -> Tensor:
    """Find the pixels of 8-connected components of at most `max_area` pixels.

    Parameters
    ----------
    mask : Tensor
        (N, H, W) boolean.
    max_area : int
        In pixels.

    Returns
    -------
    Tensor
        (N, H, W) boolean.
    """
    _check(mask)
    return torch.ops.hqsam2.small_components(mask, max_area)


def _check(mask: Tensor) -> None:
    if mask.ndim != 3 or mask.dtype != torch.bool:
        msg = f"Expected (N, H, W) boolean masks, got {mask.dtype} {tuple(mask.shape)}."
        raise ValueError(msg)


def _label(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Twin of the kernels: `connected_components` on the host."""
    labels = mask.new_empty(mask.shape, dtype=torch.int32)
    areas = torch.empty_like(labels)
    for part in _parts(mask):
        runs = find_runs(mask[part].cpu())
        labels[part] = runs.paint(runs.rank_in_mask.int())
        areas[part] = runs.paint(runs.areas.int())
    return labels, areas


def _small(mask: Tensor, max_area: int) -> Tensor:
    """Twin of the kernels: `small_components` on the host."""
    small = torch.zeros(mask.shape, dtype=torch.bool)
    for part in _parts(mask):
        runs = find_runs(mask[part].cpu())
        small[part].view(-1)[runs.pixels(runs.areas <= max_area)] = True
    return small.to(mask.device)


def _parts(mask: Tensor) -> list[slice]:
    """Slices of the masks of at most `PIXELS_AT_ONCE`, or one mask."""
    step = max(1, PIXELS_AT_ONCE // max(1, mask[:1].numel()))
    return [slice(start, start + step) for start in range(0, len(mask), step)]


def _label_cuda(mask: Tensor) -> tuple[Tensor, Tensor]:
    kernels = load_kernels("connected_components", mask.device)
    return _label(mask) if kernels is None else label_by_kernels(kernels, mask)


def _small_cuda(mask: Tensor, max_area: int) -> Tensor:
    kernels = load_kernels("connected_components", mask.device)
    if kernels is None:
        return _small(mask, max_area)
    return small_by_kernels(kernels, mask, max_area)


def label_by_kernels(kernels: KernelModule, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`connected_components` with the kernels of ``connected_components.cu``."""
    parents, areas, is_root = _find_roots(kernels, mask)
    ranks = is_root.flatten(1).cumsum(dim=1, dtype=torch.int32)
    count, pixels = ranks.shape
    grid = grid_size(pixels, count)
    kernels.launch("cc_number", grid, parents, areas, ranks, count, pixels)
    return parents, areas


def small_by_kernels(kernels: KernelModule, mask: Tensor, max_area: int) -> Tensor:
    """`small_components` with the kernels of ``connected_components.cu``."""
    parents, areas, small = _find_roots(kernels, mask)
    count, pixels = len(mask), mask[0].numel() if len(mask) else 0
    grid = grid_size(pixels, count)
    kernels.launch("cc_small", grid, parents, areas, small, max_area, count, pixels)
    return small


def _find_roots(kernels: KernelModule, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First pixel of each pixel's component, areas there, and where that is."""
    count, height, width = mask.shape
    if height * width > torch.iinfo(torch.int32).max:
        msg = f"Masks have at most 2**31 - 1 pixels, got {height} x {width}."
        raise ValueError(msg)
    mask = mask.contiguous()
    parents = mask.new_empty(mask.shape, dtype=torch.int32)
    areas, is_root = torch.empty_like(parents), torch.empty_like(mask)
    grid = grid_size(height * width, count)
    sizes = (count, height, width)
    kernels.launch("cc_start", grid, mask, parents, areas, *sizes)
    kernels.launch("cc_join", grid, mask, parents, *sizes)
    kernels.launch("cc_flatten", grid, mask, parents, areas, is_root, *sizes)
    return parents, areas, is_root


def _label_fake(mask: Tensor) -> tuple[Tensor, Tensor]:
    labels = mask.new_empty(mask.shape, dtype=torch.int32)
    return labels, torch.empty_like(labels)


def _small_fake(mask: Tensor, max_area: int) -> Tensor:
    return mask.new_empty(mask.shape)


define_operator(
    "connected_components(Tensor mask) -> (Tensor labels, Tensor areas)",
    twin=_label,
    fake=_label_fake,
    kernel=_label_cuda,
)
define_operator(
    "small_components(Tensor mask, int max_area) -> Tensor",
    twin=_small,
    fake=_small_fake,
    kernel=_small_cuda,
)
