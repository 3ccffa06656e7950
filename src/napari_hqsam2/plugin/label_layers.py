"""Labels layers: made to lie on an image, and written to frame by frame.

Undo: one frame that the user asked for ("segment this frame") is written through
`Labels.data_setitem`, so that Ctrl+Z takes it back in one step. A run through a stack
is written straight into the array: as one history entry a frame it would push every
stroke of the user out of napari's history, which holds 100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.layer_reading import layer_affine, read_axes
from napari_hqsam2.plugin.prompt_layers import remember, transform_without_channels
from napari_hqsam2.plugin.snapshots import LabelsSnapshot
from napari_hqsam2.segmentation.masks import paint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.plugin.transforms import LayerAffine
    from napari_hqsam2.segmentation.masks import ObjectMask

WIDER = (np.int32, np.int64)
"""Types that labels are widened to, in order."""
MAX_SCANNED_BYTES = 2**32
"""Larger arrays are not searched for their largest label, which takes seconds."""


def add_labels(viewer: ViewerModel, image: Image) -> Labels:
    """Add an empty int32 labels layer that lies on an image, with its whole transform.

    Raises
    ------
    StackError
        The transform of the image cannot be copied.
    """
    shape = read_axes(viewer, image).stack.labels_shape
    labels = Labels(
        np.zeros(shape, dtype=np.int32),
        name=f"HQ-SAM2 labels [{image.name}]",
        opacity=0.5,
        **transform_without_channels(viewer, image),
    )
    remember(labels, image)
    selected = viewer.layers.selection.active
    viewer.add_layer(labels)
    viewer.layers.move(viewer.layers.index(labels), viewer.layers.index(image) + 1)
    if selected is not None:
        viewer.layers.selection.active = selected
    return labels


def read_labels(viewer: ViewerModel, labels: Labels, image: Image) -> LabelsSnapshot:
    """Read what must be known of a labels layer before writing to it."""
    shape = tuple(int(length) for length in np.shape(_array(labels)))
    return LabelsSnapshot(
        name=labels.name,
        shape=shape,
        dtype=np.dtype(_array(labels).dtype),
        is_aligned=_is_aligned(viewer, labels, image),
        obstacle=_obstacle(labels),
    )


def largest_label(labels: Labels) -> int:
    """Largest label value in use; 0 for arrays not in memory, or too large to scan."""
    data = _array(labels)
    if not isinstance(data, np.ndarray) or data.nbytes > MAX_SCANNED_BYTES:
        return 0
    return int(data.max(initial=0))


def make_room(labels: Labels, largest_id: int) -> str:
    """Widen the dtype of labels until it holds an id.

    Returns
    -------
    str
        What was done, for the user; empty if there was room.

    Raises
    ------
    StackError
        The labels are not in memory, so that their type cannot be changed.
    """
    data = _array(labels)
    old = np.dtype(data.dtype)
    if old.kind == "b" or largest_id <= np.iinfo(old).max:
        return ""
    if not isinstance(data, np.ndarray):
        msg = (
            f"'{labels.name}' holds {old} values up to {np.iinfo(old).max}, too small "
            f"for object {largest_id}, and is not in memory. Choose a new Labels layer."
        )
        raise StackError(msg)
    new = next(t for t in WIDER if largest_id <= np.iinfo(t).max)
    labels.data = data.astype(new)
    return (
        f"'{labels.name}' now holds {np.dtype(new)} values: object {largest_id} does "
        f"not fit into {old}."
    )


def paint_frame(
    labels: Labels, position: tuple[int, ...], masks: Sequence[ObjectMask]
) -> bool:
    """Write masks into one frame, past napari's undo history; tell whether it changed.

    Raises
    ------
    StackError
        The labels have got another shape, or cannot be written to.
    """
    frame, is_view = _frame(labels, position)
    before = frame.copy()
    paint(frame, masks)
    changed = not np.array_equal(before, frame)
    if changed and not is_view:
        _array(labels)[position] = frame
    return changed


def paint_edit(
    labels: Labels, position: tuple[int, ...], masks: Sequence[ObjectMask]
) -> bool:
    """Write masks into one frame as one step of napari's undo history.

    Raises
    ------
    StackError
        As `paint_frame`.
    """
    frame, is_view = _frame(labels, position)
    if not is_view:
        return paint_frame(labels, position, masks)
    painted = frame.copy()
    paint(painted, masks)
    rows, columns = np.nonzero(painted != frame)
    if rows.size:
        leading = [np.full(rows.size, index) for index in position]
        labels.data_setitem((*leading, rows, columns), painted[rows, columns])
    return bool(rows.size)


def _frame(labels: Labels, position: tuple[int, ...]) -> tuple[LabelArray, bool]:
    data = _array(labels)
    shape = tuple(int(length) for length in np.shape(data))
    inside = len(shape) == len(position) + 2 and all(
        index < length for index, length in zip(position, shape[:-2], strict=True)
    )
    if not inside:
        msg = (
            f"'{labels.name}' has been given other data of shape {shape} during the "
            "run. The run stopped; start it again."
        )
        raise StackError(msg)
    if isinstance(data, np.ndarray):
        view: LabelArray = data[position]
        return view, True
    return np.array(data[position]), False


def _array(labels: Labels) -> Any:
    return labels.data[0] if labels.multiscale else labels.data


def _obstacle(labels: Labels) -> str:
    data = labels.data
    if labels.multiscale:
        return "it is multiscale, and its levels would disagree"
    if isinstance(data, np.ndarray):
        return "" if data.flags.writeable else "its array is read-only"
    if not hasattr(data, "__setitem__") or type(data).__module__.startswith("dask"):
        return f"its data is a {type(data).__name__}, which is computed, not stored"
    return ""


def _is_aligned(viewer: ViewerModel, labels: Labels, image: Image) -> bool:
    own, other = layer_affine(viewer, labels), layer_affine(viewer, image)
    drop = image.ndim - labels.ndim
    if drop < 0:
        return False
    return own.is_close(_without_first(other, drop), np.shape(_array(labels)))


def _without_first(affine: LayerAffine, drop: int) -> LayerAffine:
    return type(affine)(affine.matrix[drop:, drop:], affine.offset[drop:])
