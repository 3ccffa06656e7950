"""The labels of a session: an array in memory or elsewhere, changed box by box."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import SessionError, StackError
from napari_hqsam2.segmentation.masks import (
    CLEARED_ROWS,
    check_label_dtype,
    new_labels,
    paint,
    tight_window,
)
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from napari_hqsam2._types import BoolArray, LabelArray, Overlap
    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.segmentation.masks import ObjectMask
    from napari_hqsam2.session.records import Box, Position

FEW = 4
"""Labels that are looked for one by one."""
QUICK = 2**28
"""Bytes of labels that are searched in some dozen milliseconds."""
FAST = 1
"""zlib level of what is kept for undo."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelPatch:
    """Pixels of one frame that changed, before and after, compressed."""

    position: Position
    box: Box
    """Smallest box around the pixels."""
    dtype: np.dtype[Any]
    _where: bytes = field(repr=False)
    _before: bytes = field(repr=False)
    _after: bytes = field(repr=False)

    @classmethod
    def of(
        cls, position: Position, box: Box, before: LabelArray, after: LabelArray
    ) -> LabelPatch:
        """Keep what differs between two (h, w) regions at a box."""
        where = before != after
        return cls(
            position,
            box,
            before.dtype,
            zlib.compress(np.packbits(where).tobytes(), FAST),
            zlib.compress(before[where].tobytes(), FAST),
            zlib.compress(after[where].tobytes(), FAST),
        )

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self._where) + len(self._before) + len(self._after)

    def where(self) -> BoolArray:
        """(h, w) pixels of the box that changed."""
        top, left, bottom, right = self.box
        bits = np.frombuffer(zlib.decompress(self._where), dtype=np.uint8)
        count = (bottom - top) * (right - left)
        pixels = np.unpackbits(bits, count=count).astype(np.bool_)
        return pixels.reshape(bottom - top, right - left)

    def stored(self, *, is_undo: bool) -> tuple[bytes, bytes]:
        """Compressed bits of the box, and labels of the pixels before or after."""
        return self._where, self._before if is_undo else self._after

    def values(self, *, is_undo: bool) -> LabelArray:
        """(K,) labels of these pixels before or after."""
        data = self._before if is_undo else self._after
        return np.frombuffer(zlib.decompress(data), dtype=self.dtype)


class LabelStore:
    """Labels that are read a frame at a time and written a box at a time.

    Parameters
    ----------
    array
        Integer array (NumPy, Zarr, ...) with the shape of the labels; None makes one of
        int32 zeros.
    axes
        Axes of the stack.

    Raises
    ------
    StackError
        The array has another shape or type, or cannot be written to.
    """

    def __init__(self, array: Any, axes: StackAxes) -> None:
        if array is None:
            array = new_labels(axes)
        if tuple(array.shape) != axes.labels_shape:
            msg = (
                f"The labels have shape {tuple(array.shape)}; labels for a stack with "
                f"{axes.described} have shape {axes.labels_shape} "
                f"({axes.labels_letters})."
            )
            raise StackError(msg)
        check_label_dtype(array.dtype, ())
        is_fixed = isinstance(array, np.ndarray) and not array.flags.writeable
        is_computed = type(array).__module__.startswith("dask")
        if is_fixed or is_computed or not hasattr(array, "__setitem__"):
            msg = (
                f"The labels ({type(array).__name__}) cannot be written to; give a "
                "writable NumPy or Zarr array, or None for new labels."
            )
            raise StackError(msg)
        self.array = array
        self.written: list[tuple[LabelPatch, bool]] | None = None
        """Patches that were written, and whether to undo them, for somebody who
        follows; None if nobody does."""
        self._axes = axes
        chunks = (
            None if isinstance(array, np.ndarray) else getattr(array, "chunks", None)
        )
        self._strip_rows: int | None = None
        """Rows that are read at a time; None reads whole frames, which is free for what
        is in memory."""
        if isinstance(chunks, tuple) and len(chunks) == len(array.shape):
            self._strip_rows = max(CLEARED_ROWS, int(chunks[-2]))
        self._largest: int | None = None

    def frame(self, position: Position) -> LabelArray:
        """(H, W) labels of a frame; a view where the array is in memory."""
        frame: LabelArray = np.asarray(self.array[position])
        return frame

    def part(self, position: Position, box: Box) -> LabelArray:
        """(h, w) labels of a box of a frame; of chunked arrays no more is read."""
        top, left, bottom, right = box
        where = (slice(top, bottom), slice(left, right))
        if self._strip_rows is None:
            return self.frame(position)[where]
        part: LabelArray = np.asarray(self.array[(*position, *where)])
        return part

    def _strips(self, position: Position) -> Iterator[tuple[int, LabelArray]]:
        """First row, and labels, of one part of a frame after the other."""
        height, width = self._axes.hw
        step = self._strip_rows or height
        for top in range(0, height, step):
            box = (top, 0, min(top + step, height), width)
            yield top, self.part(position, box)

    def mask(self, position: Position, obj_id: int) -> BoolArray:
        """(H, W) pixels of an object."""
        mask: BoolArray = self.frame(position) == obj_id
        return mask

    def packed(self, position: Position, obj_id: int) -> PackedMask:
        """The pixels of an object on a frame, packed."""
        hw = self._axes.hw
        box = self.box_of(position, [obj_id])
        if box is None:
            return PackedMask.placed(np.zeros((0, 0), np.bool_), 0, 0, hw)
        return PackedMask.placed(self.part(position, box) == obj_id, *box[:2], hw)

    def positions(self) -> Iterator[Position]:
        """All frames in order."""
        yield from np.ndindex(*self._axes.leading_shape)

    def check_room(self, obj_ids: Collection[int]) -> None:
        """Refuse ids that the array cannot hold, with StackError."""
        check_label_dtype(self.array.dtype, obj_ids)

    def largest(self) -> int:
        """Largest label; arrays that are large or not in memory are searched once."""
        is_quick = isinstance(self.array, np.ndarray) and self.array.nbytes <= QUICK
        if self._largest is None or is_quick:
            everywhere = (self._strips(p) for p in self.positions())
            strips = chain.from_iterable(everywhere)
            highest = (strip.max(initial=0) for _, strip in strips)
            self._largest = int(max(highest))
        return self._largest

    def paint(
        self,
        position: Position,
        masks: Sequence[ObjectMask],
        *,
        overlap: Overlap,
        locked: Collection[int],
    ) -> LabelPatch | None:
        """Write masks into a frame; None if that changes nothing.

        Each object's old pixels are cleared. "overwrite" keeps those of `locked`
        objects only, all else keeps all other labels.
        """
        self.check_room([item.obj_id for item in masks])
        box = _joined(
            self.box_of(position, [item.obj_id for item in masks]),
            *(_window_box(item) for item in masks),
        )
        if box is None:
            return None
        top, left = box[:2]
        before = self.part(position, box)
        after = before.copy()
        moved = [
            replace(item, top=item.top - top, left=item.left - left) for item in masks
        ]
        paint(after, moved, protect=overlap != "overwrite")
        if locked:
            fixed = np.isin(before, list(locked))
            after[fixed] = before[fixed]
        return self.write(position, box, after)

    def write(
        self, position: Position, box: Box, after: LabelArray
    ) -> LabelPatch | None:
        """Set the (h, w) labels of a box; None if they are that already."""
        top, left = box[:2]
        before = self.part(position, box)
        rows, columns = tight_window(before != after)
        if rows.start == rows.stop:
            return None
        tight = (
            top + rows.start,
            left + columns.start,
            top + rows.stop,
            left + columns.stop,
        )
        part = after[rows, columns]
        patch = LabelPatch.of(position, tight, before[rows, columns], part)
        self._set(position, tight, part)
        self._note(patch, is_undo=False)
        return patch

    def fill(self, position: Position, frame: LabelArray) -> None:
        """Set all labels of a frame."""
        self.array[position] = frame

    def clear(self, position: Position) -> None:
        """Let a frame have no label; one that has none is not written to."""
        if not self.is_empty(position):
            self.array[position] = 0

    def is_empty(self, position: Position) -> bool:
        """Whether a frame has no label."""
        return not any(strip.any() for _, strip in self._strips(position))

    def relabel(self, position: Position, old: int, new: int) -> LabelPatch | None:
        """Give the pixels of a label on one frame another one; 0 clears them."""
        box = self.box_of(position, [old])
        if box is None:
            return None
        after = self.part(position, box).copy()
        after[after == old] = new
        return self.write(position, box, after)

    def apply(self, patch: LabelPatch, *, is_undo: bool) -> None:
        """Write the pixels of a patch before or after; all others stay as they are.

        Raises
        ------
        SessionError
            The array has been given a type that cannot hold the labels of the patch.
        """
        if not np.can_cast(patch.dtype, self.array.dtype):
            msg = (
                f"The labels were {patch.dtype} and are {self.array.dtype} now; "
                "earlier changes cannot be undone in them."
            )
            raise SessionError(msg)
        region = self.part(patch.position, patch.box).copy()
        region[patch.where()] = patch.values(is_undo=is_undo)
        self._set(patch.position, patch.box, region)
        self._note(patch, is_undo=is_undo)

    def note_frame(self, position: Position) -> None:
        """Let whoever follows see a frame as it is: somebody else may have painted."""
        if self.written is not None:
            frame = self.frame(position)
            box = (0, 0, *frame.shape)
            self._note(LabelPatch.of(position, box, ~frame, frame), is_undo=False)

    def _note(self, patch: LabelPatch, *, is_undo: bool) -> None:
        if self.written is not None:
            self.written.append((patch, is_undo))

    def box_of(self, position: Position, obj_ids: Sequence[int]) -> Box | None:
        """Box around all pixels of some labels, as `_box_of_labels` gives it."""
        boxes = []
        for start, strip in self._strips(position):
            box = _box_of_labels(strip, obj_ids)
            if box is not None:
                top, left, bottom, right = box
                boxes.append((start + top, left, start + bottom, right))
        return _joined(*boxes)

    def _set(self, position: Position, box: Box, region: LabelArray) -> None:
        top, left, bottom, right = box
        self.array[(*position, slice(top, bottom), slice(left, right))] = region


def _window_box(item: ObjectMask) -> Box | None:
    height, width = item.mask.shape
    if not height:
        return None
    return item.top, item.left, item.top + height, item.left + width


def _box_of_labels(frame: LabelArray, obj_ids: Sequence[int]) -> Box | None:
    """Box around all pixels of some labels; of many, one around all labels.

    It is the smallest one for a few labels: to look for many takes longer than to look
    at more pixels later. The frame is taken in strips that fit into a cache.
    """
    boxes = []
    for start in range(0, len(frame), CLEARED_ROWS):
        strip = frame[start : start + CLEARED_ROWS]
        if strip.any():
            is_sought = np.isin(strip, obj_ids) if len(obj_ids) <= FEW else strip != 0
            rows, columns = tight_window(is_sought)
            if rows.start < rows.stop:
                box = (start + rows.start, columns.start)
                boxes.append((*box, start + rows.stop, columns.stop))
    return _joined(*boxes)


def _joined(*boxes: Box | None) -> Box | None:
    """Smallest box around boxes."""
    given = [box for box in boxes if box is not None]
    if not given:
        return None
    tops, lefts, bottoms, rights = zip(*given, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)
