"""Prompts of the video predictor in the network's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.session import Clicks
from napari_hqsam2.predictors.transforms import to_coords_norm

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import HW


def host_tensor(values: npt.ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    """Anything like an array, or a tensor of any device, as a tensor on the host."""
    if not isinstance(values, torch.Tensor):
        # a copy, because tensors have no negative strides
        values = torch.from_numpy(np.array(values, order="C"))
    return values.detach().to("cpu", dtype)


def merged_points(
    points: npt.ArrayLike | Tensor | None,
    labels: npt.ArrayLike | Tensor | None,
    box: npt.ArrayLike | Tensor | None,
) -> tuple[Tensor, Tensor] | None:
    """Box corners, then points, of N objects.

    Parameters
    ----------
    points, labels
        (P, 2) points (x, y) and (P,) labels, or (N, P, 2) and (N, P).
    box
        (4,) or (N, 4) corners (x0, y0, x1, y1).

    Returns
    -------
    tuple of Tensor or None
        (N, P, 2) float32 and (N, P) int32 on the host; None if nothing is given.

    Raises
    ------
    PromptError
        If points, labels and boxes do not fit together, or no point could be there.
    """
    if (points is None) != (labels is None):
        msg = "Points and labels belong together; give both or neither."
        raise PromptError(msg)
    parts: list[tuple[Tensor, Tensor]] = []
    if box is not None:
        parts.append(_box_corners(box))
    if points is not None and labels is not None:
        parts.append(_labelled_points(points, labels))
    if not parts:
        return None
    if len({len(coords) for coords, _ in parts}) > 1:
        msg = (
            "Boxes and points must be given for the same number of objects, "
            f"got {len(parts[0][0])} boxes and points of {len(parts[1][0])} objects."
        )
        raise PromptError(msg)
    coords = torch.cat([part for part, _ in parts], dim=1)
    if not torch.isfinite(coords).all():
        msg = "Points and boxes need finite coordinates; got NaN or infinity."
        raise PromptError(msg)
    return coords, torch.cat([part for _, part in parts], dim=1)


def _box_corners(box: npt.ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """(N, 4) boxes as (N, 2, 2) corner points with labels 2 and 3."""
    corners = host_tensor(box, torch.float32)
    if not corners.numel() or corners.numel() % 4:
        msg = (
            "A box is (x0, y0, x1, y1), or (N, 4) for N objects, got shape "
            f"{tuple(corners.shape)}."
        )
        raise PromptError(msg)
    corners = corners.reshape(-1, 2, 2)
    return corners, torch.tensor([2, 3], dtype=torch.int32).expand(len(corners), -1)


def _labelled_points(
    points: npt.ArrayLike | Tensor, labels: npt.ArrayLike | Tensor
) -> tuple[Tensor, Tensor]:
    coords, kinds = host_tensor(points, torch.float32), host_tensor(labels, torch.int32)
    if coords.ndim == 2:
        coords, kinds = coords[None], kinds[None]
    if coords.ndim != 3 or coords.shape[:-1] != kinds.shape or coords.shape[-1] != 2:
        msg = (
            "Points must be (P, 2) or (N, P, 2) with one label a point, got "
            f"{tuple(coords.shape)} and labels {tuple(kinds.shape)}."
        )
        raise PromptError(msg)
    unknown = sorted(set(kinds.unique().tolist()) - {-1, 0, 1, 2, 3})
    if unknown:
        msg = (
            f"There is no label {unknown[0]}. Labels are 1 (positive), 0 (negative), 2 "
            "and 3 (first and last corner of a box) and -1 (no point)."
        )
        raise PromptError(msg)
    return coords, kinds


def new_clicks(
    points: npt.ArrayLike | Tensor | None,
    labels: npt.ArrayLike | Tensor | None,
    box: npt.ArrayLike | Tensor | None,
    hw: HW,
    size: int,
    *,
    normalize: bool,
) -> Clicks:
    """Points and a box of one object, in pixels of an (H, W) frame, as `Clicks`.

    Raises
    ------
    PromptError
        If there is nothing, or as `merged_points`.
    """
    merged = merged_points(points, labels, box)
    if merged is None:
        msg = "Give points with labels, a box, or both."
        raise PromptError(msg)
    coords, kinds = merged
    if len(coords) != 1:
        msg = f"Prompt one object at a time; got points or boxes of {len(coords)}."
        raise PromptError(msg)
    return Clicks(to_coords_norm(coords, hw, size, normalize=normalize), kinds)


def joined(old: Clicks | None, new: Clicks, device: torch.device) -> Clicks:
    """New clicks on a device, after old ones if there are any."""
    coords, labels = new.coords_norm.to(device), new.labels.to(device)
    if old is not None:
        coords = torch.cat((old.coords_norm, coords), dim=1)
        labels = torch.cat((old.labels, labels), dim=1)
    return Clicks(coords, labels)


def to_model_mask(mask: npt.ArrayLike | Tensor, size: int) -> Tensor:
    """(1, 1, S, S) float mask of zeros and ones from a boolean mask of any size."""
    tensor = host_tensor(mask, torch.bool)
    if tensor.ndim != 2:
        msg = f"A mask prompt is a 2-D boolean array, got shape {tuple(tensor.shape)}."
        raise PromptError(msg)
    resized = tensor[None, None].float()
    if tensor.shape != (size, size):
        resized = F.interpolate(
            resized, size=(size, size), mode="bilinear", antialias=True
        )
    return (resized >= 0.5).float()
