"""Masks of objects on the pixels of a frame, and how they get into labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.errors import StackError
from napari_hqsam2.files import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import BoolArray, LabelArray
    from napari_hqsam2.axes import StackAxes

CLEARED_ROWS = 64
"""Rows of labels that are looked at together: few enough to stay in a cache."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """The pixels of one object on one frame, cut to the smallest box around them."""

    obj_id: int
    top: int
    """Row of the frame at which `mask` begins."""
    left: int
    """Column of the frame at which `mask` begins."""
    mask: BoolArray = field(repr=False)
    """(h, w) pixels of the object; (0, 0) if the object is not on this frame."""
    object_score: float
    """Logit that the object is in view: above 0 is yes. NaN if the model gave no
    numbers; then nothing is known of the object here."""
    iou_score: float
    """IoU with the true object as the model predicts it, 0 to 1."""

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the box within its frame: `frame[mask.window]`."""
        height, width = self.mask.shape
        return (
            slice(self.top, self.top + height),
            slice(self.left, self.left + width),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """All objects of a run on one frame, as far as they have been followed there.

    A frame that is reached twice (forward from one object's prompt, backward from
    another's) is reported twice, the second time with all objects; the later result
    holds.
    """

    position: tuple[int, ...]
    """Index of the frame along every leading axis of the stack; () for an image."""
    masks: tuple[ObjectMask, ...]
    """Sorted by object id; no pixel belongs to two objects."""


def paint(
    labels: LabelArray, masks: Iterable[ObjectMask], *, protect: bool = True
) -> None:
    """Write masks into a frame of labels, touching no label but the objects' own.

    The old pixels of each object are cleared, then its new ones are set.

    Parameters
    ----------
    labels
        (H, W) integer labels, changed in place.
    masks
        Masks of one frame, as in `FrameResult.masks`.
    protect
        True keeps pixels of other labels; False lets the masks take them.

    Raises
    ------
    StackError
        The dtype of `labels` cannot hold an object id.
    """
    masks = tuple(masks)
    if not masks:
        return
    obj_ids = [item.obj_id for item in masks]
    check_label_dtype(labels.dtype, obj_ids)
    _clear(labels, obj_ids)
    for item in masks:
        region = labels[item.window]
        writable = item.mask & (region == 0) if protect else item.mask
        region[writable] = item.obj_id


def new_labels(axes: StackAxes) -> LabelArray:
    """Empty int32 labels for a stack.

    Raises
    ------
    StackError
        There is no memory for them.
    """
    shape = axes.labels_shape
    try:
        return np.zeros(shape, dtype=np.int32)
    except (MemoryError, ValueError) as error:
        msg = (
            f"There is no memory for labels of a stack with {axes.described}: they "
            f"take {size_words(4 * math.prod(shape))}. Segment a part of it, or in "
            "Python write into a Zarr array on the disk."
        )
        raise StackError(msg) from error


def check_label_dtype(dtype: npt.DTypeLike, obj_ids: Iterable[int]) -> None:
    """Refuse labels whose dtype cannot hold the objects' ids.

    Raises
    ------
    StackError
        The dtype is not an integer type, or too small for the largest id.
    """
    dtype = np.dtype(dtype)
    if not np.issubdtype(dtype, np.integer):
        msg = f"Labels must have an integer dtype, got {dtype}; int32 holds every id."
        raise StackError(msg)
    largest = max(obj_ids, default=0)
    if largest > np.iinfo(dtype).max:
        wider = "int32" if largest <= np.iinfo(np.int32).max else "int64"
        msg = (
            f"Labels of dtype {dtype} hold ids up to {np.iinfo(dtype).max}, but an "
            f"object has id {largest}; choose a smaller id, or convert the "
            f"labels to {wider} first."
        )
        raise StackError(msg)


def tight_window(mask: BoolArray) -> tuple[slice, slice]:
    """Rows and columns that hold the true pixels of a (h, w) mask; empty if none."""
    held = np.flatnonzero(mask.any(axis=1))
    if not held.size:
        return slice(0, 0), slice(0, 0)
    rows = slice(int(held[0]), int(held[-1]) + 1)
    held = np.flatnonzero(mask[rows].any(axis=0))
    return rows, slice(int(held[0]), int(held[-1]) + 1)


def _clear(labels: LabelArray, obj_ids: Sequence[int]) -> None:
    for start in range(0, len(labels), CLEARED_ROWS):
        block = labels[start : start + CLEARED_ROWS]
        is_taken = block != 0
        if is_taken.any():
            values = block[is_taken]
            values[np.isin(values, obj_ids)] = 0
            block[is_taken] = values
