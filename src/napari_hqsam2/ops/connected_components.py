"""Connected components of binary masks, the same on every device."""

from __future__ import annotations

import torch
from skimage.measure import label
from torch import Tensor


def connected_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Label 8-connected components of N masks; upstream ``get_connected_components``.

    Parameters
    ----------
    mask : Tensor
        (N, H, W) boolean, of any height and width.

    Returns
    -------
    labels : Tensor
        (N, H, W) int32; 0 outside, 1, 2, ... for the components of each mask.
    areas : Tensor
        (N, H, W) int32; the number of pixels of the component that a pixel belongs to.
    """
    if mask.ndim != 3 or mask.dtype != torch.bool:
        msg = f"Expected (N, H, W) boolean masks, got {mask.dtype} {tuple(mask.shape)}."
        raise ValueError(msg)
    labels = torch.zeros(mask.shape, dtype=torch.int32)
    areas = torch.zeros_like(labels)
    for index, one in enumerate(mask.cpu()):
        labels[index] = torch.from_numpy(
            label(one.numpy(), connectivity=2).astype("int32")
        )
        sizes = labels[index].flatten().bincount()
        sizes[0] = 0
        areas[index] = sizes[labels[index].long()].int()
    return labels.to(mask.device), areas.to(mask.device)
