"""Frames of a result as tiles of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.outlines import Tile, spread
from napari_hqsam2.predictors.intensity import to_unit_rgb

if TYPE_CHECKING:
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.segmentation.stack_view import StackView


def overview_tiles(
    view: StackView,
    labels: Any,
    limits: IntensityLimits,
    *,
    most: int = 12,
) -> list[Tile]:
    """Choose frames that show a result, evenly spread over those with objects.

    Parameters
    ----------
    view
        The stack.
    labels
        (leading axes..., H, W) labels.
    limits
        Intensities shown as black and white.
    most
        Number of frames at most.

    Returns
    -------
    list of Tile
        At least one; all frames are candidates if none has an object.
    """
    axes = view.axes
    positions = list(np.ndindex(*axes.leading_shape))
    labelled = [p for p in positions if np.any(np.asarray(labels[p]))] or positions
    chosen = [labelled[index] for index in spread(len(labelled), most)]
    frames = view.every_frame()
    tiles = []
    for position in chosen:
        index = int(np.ravel_multi_index(position, axes.leading_shape))
        rgb = to_unit_rgb(frames.read(index), limits)
        shown = np.round(255 * rgb).astype(np.uint8)
        tiles.append(Tile(axes.where(position), shown, np.asarray(labels[position])))
    return tiles
