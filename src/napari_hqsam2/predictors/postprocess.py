"""Corrections of mask logits after prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_hqsam2.ops.connected_components import (
    connected_components,
    small_components,
)

HOLE_LOGIT = 0.1
"""Logit of a filled hole: just inside the mask; upstream's value for videos."""
SUPPRESSED_LOGIT = -10.0
"""Highest logit where a mask has to give way."""


def fill_holes(logits: Tensor, max_area: int, value: float = HOLE_LOGIT) -> Tensor:
    """Raise background components of at most `max_area` pixels to `value`.

    Parameters
    ----------
    logits : Tensor
        (N, M, H, W) mask logits, foreground above 0.
    max_area : int
        In pixels of `logits`; 0 changes nothing. Components at the border count too.
    value : float
        Logit that filled pixels get.
    """
    return _overwrite_small(logits, logits <= 0, max_area, value)


def remove_islands(logits: Tensor, max_area: int, value: float = -10.0) -> Tensor:
    """Lower foreground components of at most `max_area` pixels; see `fill_holes`."""
    return _overwrite_small(logits, logits >= 0, max_area, value)


def _overwrite_small(
    logits: Tensor, mask: Tensor, max_area: int, value: float
) -> Tensor:
    """Set the components of (N, M, H, W) masks that have at most `max_area` pixels."""
    if max_area <= 0:
        return logits
    small = small_components(mask.flatten(0, 1), max_area)
    return torch.where(small.view_as(logits), value, logits)


def keep_largest_piece(logits: Tensor) -> Tensor:
    """Suppress all but the largest 8-connected pieces of (N, 1, H, W) logits."""
    mask = logits > 0
    _, areas = connected_components(mask[:, 0])
    largest = areas.flatten(1).amax(dim=1)[:, None, None]
    is_stray = mask & (areas < largest)[:, None]
    return torch.where(is_stray, logits.clamp(max=SUPPRESSED_LOGIT), logits)


def keep_largest_logit(logits: Tensor) -> Tensor:
    """Where masks of (N, 1, H, W) logits overlap, suppress all but the largest."""
    if len(logits) < 2:
        return logits
    winner = logits.argmax(dim=0, keepdim=True)
    row = torch.arange(len(logits), device=logits.device)[:, None, None, None]
    return torch.where(winner == row, logits, logits.clamp(max=SUPPRESSED_LOGIT))
