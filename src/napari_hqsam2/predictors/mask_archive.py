"""Binary masks of one object on many frames, in a few dozen bytes each."""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, BoolArray

MISSING, EMPTY = -1, -2
HEADER = struct.Struct("<4HI")
DEFLATE_LEVEL = 6
SMALLEST_WASTE = 1024
"""Bytes that may lie waste before anything is moved."""

_Box: TypeAlias = tuple[int, int, int, int]


class MaskArchive:
    """Masks by frame: one buffer of bytes, and for each frame where its mask begins.

    A mask is cut to its box and kept as bits, compressed where that is shorter. Masks
    that are replaced or discarded leave gaps; once these are half of the buffer, it is
    written anew.
    """

    def __init__(self) -> None:
        self._hw: HW = (0, 0)
        self._data = bytearray()
        self._starts = array("q")
        self._waste = 0
        self._count = 0

    def __len__(self) -> int:
        """Return the number of masks."""
        return self._count

    def __contains__(self, frame: int) -> bool:
        """Whether there is a mask of a frame."""
        return self._start(frame) != MISSING

    @property
    def nbytes(self) -> int:
        """Bytes of all masks and of the list of their places."""
        return len(self._data) + len(self._starts) * self._starts.itemsize

    def put(self, frame: int, mask: BoolArray) -> None:
        """Keep the (H, W) mask of a frame, instead of an earlier one."""
        self.discard(frame)
        self._hw = (mask.shape[0], mask.shape[1])
        gap = frame + 1 - len(self._starts)
        self._starts.extend([MISSING] * gap)
        self._count += 1
        box = _box(mask)
        if box is None:
            self._starts[frame] = EMPTY
            return
        top, left, height, width = box
        payload, is_deflated = _pack(mask[top : top + height, left : left + width])
        self._starts[frame] = len(self._data)
        self._data += HEADER.pack(*box, len(payload) << 1 | is_deflated)
        self._data += payload

    def get(self, frame: int) -> BoolArray:
        """(H, W) mask of a frame that has one.

        Raises
        ------
        KeyError
            If no mask of the frame is here.
        """
        start = self._start(frame)
        if start == MISSING:
            msg = f"No mask of frame {frame} was kept; ask with `in` first."
            raise KeyError(msg)
        mask = np.zeros(self._hw, dtype=bool)
        if start != EMPTY:
            top, left, height, width, size = HEADER.unpack_from(self._data, start)
            start += HEADER.size
            payload = bytes(self._data[start : start + (size >> 1)])
            part = _unpack(payload, (height, width), is_deflated=bool(size & 1))
            mask[top : top + height, left : left + width] = part
        return mask

    def discard(self, frame: int) -> None:
        """Drop the mask of a frame if there is one."""
        start = self._start(frame)
        if start == MISSING:
            return
        self._starts[frame] = MISSING
        self._count -= 1
        if start != EMPTY:
            self._waste += self._length(start)
            if self._waste > max(len(self._data) // 2, SMALLEST_WASTE):
                self._compact()

    def _start(self, frame: int) -> int:
        return self._starts[frame] if 0 <= frame < len(self._starts) else MISSING

    def _length(self, start: int) -> int:
        size: int = HEADER.unpack_from(self._data, start)[4]
        return HEADER.size + (size >> 1)

    def _compact(self) -> None:
        kept = bytearray()
        for frame, start in enumerate(self._starts):
            if start >= 0:
                self._starts[frame] = len(kept)
                kept += self._data[start : start + self._length(start)]
        self._data, self._waste = kept, 0


def _box(mask: BoolArray) -> _Box | None:
    """Top, left, height and width of what is set."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return top, left, bottom - top, right - left


def _pack(part: BoolArray) -> tuple[bytes, bool]:
    """Bits of a mask, and whether they are compressed."""
    plain = np.packbits(part).tobytes()
    # a row differs little from the one above it
    changes = part.copy()
    changes[1:] ^= part[:-1]
    compressor = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = compressor.compress(np.packbits(changes).tobytes()) + compressor.flush()
    return (deflated, True) if len(deflated) < len(plain) else (plain, False)


def _unpack(payload: bytes, hw: HW, *, is_deflated: bool) -> BoolArray:
    data = zlib.decompress(payload, -zlib.MAX_WBITS) if is_deflated else payload
    count = hw[0] * hw[1]
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count).reshape(hw)
    if is_deflated:
        bits = np.bitwise_xor.accumulate(bits, axis=0)
    return bits.astype(bool)
