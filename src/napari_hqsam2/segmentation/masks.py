"""From mask logits on the network's grid to masks on the pixels of one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import HW, BoolArray, LabelArray

Float32Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]


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
    """Logit that the object is in view: above 0 is yes."""
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


@dataclass(frozen=True, slots=True, eq=False)
class LowResPatch:
    """Mask logits of one object, cut to its surroundings on the network's grid."""

    obj_id: int
    top: int
    """Row of the low-resolution grid at which `logits` begins."""
    left: int
    """Column of the low-resolution grid at which `logits` begins."""
    logits: Float32Array = field(repr=False)
    """(h, w) float32, one grid cell wider than the positive cells; (0, 0) if none."""
    object_score: float
    iou_score: float


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """Logits of one object on the pixels of a frame, before objects compete."""

    obj_id: int
    top: int
    left: int
    logits: Float32Array
    object_score: float
    iou_score: float


def crop_logits(
    obj_ids: Sequence[int],
    logits: Float32Array,
    object_scores: Sequence[float],
    iou_scores: Sequence[float],
) -> tuple[LowResPatch, ...]:
    """Keep of each object's logits only what can become pixels.

    Parameters
    ----------
    obj_ids
        N object ids.
    logits
        (N, h, w) float32 mask logits on the network's grid.
    object_scores, iou_scores
        N values each.

    Returns
    -------
    tuple of LowResPatch
        In the given order.
    """
    patches = []
    for index, obj_id in enumerate(obj_ids):
        rows, columns = _positive_window(logits[index], margin=1)
        patches.append(
            LowResPatch(
                obj_id=int(obj_id),
                top=rows.start,
                left=columns.start,
                logits=logits[index, rows, columns].copy(),
                object_score=float(object_scores[index]),
                iou_score=float(iou_scores[index]),
            )
        )
    return tuple(patches)


def compose_masks(
    patches: Iterable[LowResPatch],
    *,
    low_hw: HW,
    hw: HW,
    given: Mapping[int, BoolArray] | None = None,
) -> tuple[ObjectMask, ...]:
    """Turn logits into masks that do not overlap.

    Logits are scaled up bilinearly, each only within its own surroundings. Where
    objects meet, the larger logit wins; equal ones go to the lower id.

    Parameters
    ----------
    patches
        One per object.
    low_hw
        Height and width of the grid the patches were cut from.
    hw
        Height and width of the frame in pixels.
    given
        (H, W) masks by object id that hold as they are: the user's own mask prompts.

    Returns
    -------
    tuple of ObjectMask
        Sorted by object id.
    """
    given = given or {}
    candidates = [
        _given_candidate(patch, given[patch.obj_id])
        if patch.obj_id in given
        else _upsampled(patch, low_hw, hw)
        for patch in sorted(patches, key=lambda patch: patch.obj_id)
    ]
    return _compete(candidates)


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
    check_label_dtype(labels.dtype, (item.obj_id for item in masks))
    labels[np.isin(labels, [item.obj_id for item in masks])] = 0
    for item in masks:
        region = labels[item.window]
        writable = item.mask & (region == 0) if protect else item.mask
        region[writable] = item.obj_id


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
        msg = (
            f"Labels of dtype {dtype} hold ids up to {np.iinfo(dtype).max}, but an "
            f"object has id {largest}; convert the labels to int32 first."
        )
        raise StackError(msg)


def _positive_window(logits: Float32Array, margin: int) -> tuple[slice, slice]:
    positive = logits > 0
    rows = np.flatnonzero(positive.any(axis=1))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    columns = np.flatnonzero(positive.any(axis=0))
    height, width = logits.shape
    return (
        slice(max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, height)),
        slice(
            max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, width)
        ),
    )


def _upsampled(patch: LowResPatch, low_hw: HW, hw: HW) -> _Candidate:
    top, left, logits = 0, 0, patch.logits
    if patch.logits.size:
        rows = _Taps.of(patch.top, patch.logits.shape[0], low_hw[0], hw[0])
        columns = _Taps.of(patch.left, patch.logits.shape[1], low_hw[1], hw[1])
        logits = rows.apply(patch.logits)
        logits = columns.apply(logits.T).T
        top, left = rows.start, columns.start
    return _Candidate(
        patch.obj_id, top, left, logits, patch.object_score, patch.iou_score
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """Bilinear resampling of a part of one axis, pixel edges aligned."""

    start: int
    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]
    weight: Float32Array

    @classmethod
    def of(cls, first: int, length: int, size_in: int, size_out: int) -> _Taps:
        """Taps of the output pixels that lie between the centres of cells of a part."""
        scale = size_out / size_in
        last = first + length - 1
        start = 0 if first == 0 else math.floor((first + 0.5) * scale - 0.5) + 1
        stop = (
            size_out if last == size_in - 1 else math.ceil((last + 0.5) * scale - 0.5)
        )
        centres = (np.arange(start, stop) + 0.5) / scale - 0.5 - first
        centres = np.clip(centres, 0, length - 1)
        lower = centres.astype(np.intp)
        upper = np.minimum(lower + 1, length - 1)
        return cls(start, lower, upper, (centres - lower).astype(np.float32))

    def apply(self, values: Float32Array) -> Float32Array:
        """Resample the first axis of (n, m) values."""
        weight = self.weight[:, None]
        return values[self.lower] * (1 - weight) + values[self.upper] * weight


def _given_candidate(patch: LowResPatch, mask: BoolArray) -> _Candidate:
    logits = np.where(mask, np.float32(np.inf), np.float32(-np.inf))
    rows, columns = _positive_window(logits, margin=0)
    return _Candidate(
        patch.obj_id,
        rows.start,
        columns.start,
        logits[rows, columns],
        patch.object_score,
        patch.iou_score,
    )


def _compete(candidates: Sequence[_Candidate]) -> tuple[ObjectMask, ...]:
    bottom = max((c.top + c.logits.shape[0] for c in candidates), default=0)
    right = max((c.left + c.logits.shape[1] for c in candidates), default=0)
    best = np.zeros((bottom, right), dtype=np.float32)
    owner = np.zeros((bottom, right), dtype=np.int64)
    for candidate in candidates:
        window = _window(candidate)
        wins = candidate.logits > best[window]
        best[window][wins] = candidate.logits[wins]
        owner[window][wins] = candidate.obj_id
    return tuple(_trimmed(candidate, owner) for candidate in candidates)


def _window(candidate: _Candidate) -> tuple[slice, slice]:
    height, width = candidate.logits.shape
    return (
        slice(candidate.top, candidate.top + height),
        slice(candidate.left, candidate.left + width),
    )


def _trimmed(candidate: _Candidate, owner: npt.NDArray[np.int64]) -> ObjectMask:
    mask = owner[_window(candidate)] == candidate.obj_id
    rows, columns = _positive_window(mask.astype(np.float32), margin=0)
    is_empty = rows.stop == 0
    return ObjectMask(
        obj_id=candidate.obj_id,
        top=0 if is_empty else candidate.top + rows.start,
        left=0 if is_empty else candidate.left + columns.start,
        mask=mask[rows, columns].copy(),
        object_score=candidate.object_score,
        iou_score=candidate.iou_score,
    )
