"""Prompts of the video predictor in the network's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.session import Clicks
from napari_hqsam2.predictors.transforms import box_points, to_coords_norm

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor


def new_clicks(
    points: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    box: npt.ArrayLike | None,
    hw: tuple[int, int],
    size: int,
    *,
    normalize: bool,
) -> Clicks:
    """Points and a box in pixels of an (H, W) frame as `Clicks`, box corners first.

    Raises
    ------
    PromptError
        If there is nothing, or points and labels do not fit together.
    """
    if (points is None) != (labels is None):
        msg = "points and labels belong together; give both or neither."
        raise PromptError(msg)
    if points is None and box is None:
        msg = "Give points with labels, a box, or both."
        raise PromptError(msg)
    parts = [] if box is None else [box_points(box)]
    if points is not None:
        coords = torch.as_tensor(np.asarray(points), dtype=torch.float32)
        coords = coords.reshape(1, -1, 2)
        kinds = torch.as_tensor(np.asarray(labels), dtype=torch.int32).reshape(1, -1)
        if coords.shape[1] != kinds.shape[1]:
            msg = (
                f"Every point needs one label, got {coords.shape[1]} points and "
                f"{kinds.shape[1]} labels."
            )
            raise PromptError(msg)
        parts.append((coords, kinds))
    coords = torch.cat([c for c, _ in parts], dim=1)
    kinds = torch.cat([n for _, n in parts], dim=1)
    return Clicks(to_coords_norm(coords, hw, size, normalize=normalize), kinds)


def joined(old: Clicks | None, new: Clicks, device: torch.device) -> Clicks:
    """New clicks on a device, after old ones if there are any."""
    coords, labels = new.coords_norm.to(device), new.labels.to(device)
    if old is not None:
        coords = torch.cat((old.coords_norm, coords), dim=1)
        labels = torch.cat((old.labels, labels), dim=1)
    return Clicks(coords, labels)


def to_model_mask(mask: npt.ArrayLike, size: int) -> Tensor:
    """(1, 1, S, S) float mask of zeros and ones from a boolean mask of any size."""
    tensor = torch.as_tensor(mask).bool()
    if tensor.ndim != 2:
        msg = f"A mask prompt is a 2-D boolean array, got shape {tuple(tensor.shape)}."
        raise PromptError(msg)
    resized = tensor[None, None].float()
    if tensor.shape != (size, size):
        resized = F.interpolate(
            resized, size=(size, size), mode="bilinear", antialias=True
        )
    return (resized >= 0.5).float()
