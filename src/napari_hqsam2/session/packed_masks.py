"""Masks in a few hundred bytes, as values that can be compared, stored and printed."""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np

from napari_hqsam2.errors import PromptError
from napari_hqsam2.segmentation.masks import tight_window

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, BoolArray


_Box: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, repr=False)
class PackedMask:
    """A mask cut to the box of its pixels, as compressed bits."""

    hw: HW
    """Height and width of the frame in pixels."""
    box: _Box
    """Top, left, bottom, right of the pixels in the frame; half-open."""
    bits: bytes
    """Rows of the box, 8 pixels a byte, compressed."""

    @classmethod
    def of(cls, mask: BoolArray) -> Self:
        """Pack an (H, W) mask."""
        return cls.placed(mask, 0, 0, (mask.shape[0], mask.shape[1]))

    @classmethod
    def placed(cls, part: BoolArray, top: int, left: int, hw: HW) -> Self:
        """Pack a (h, w) part of a mask that begins at a row and column of the frame."""
        box, bits = _boxed(part, top, left)
        return cls(hw, box, zlib.compress(bits))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Undo `text`.

        Raises
        ------
        PromptError
            The text is not a packed mask.
        """
        numbers, _, bits = text.partition(":")
        try:
            height, width, *box = map(int, numbers.split(","))
            top, left, bottom, right = box
            packed = cls((height, width), (top, left, bottom, right), b85decode(bits))
            packed.unpacked()
        except (ValueError, zlib.error) as error:
            msg = f"{text[:40]!r} is not the text of a packed mask: {error}."
            raise PromptError(msg) from error
        return packed

    @property
    def text(self) -> str:
        """The mask in printable characters, none of which needs an escape."""
        numbers = ",".join(map(str, (*self.hw, *self.box)))
        return f"{numbers}:{b85encode(self.bits).decode('ascii')}"

    def __repr__(self) -> str:
        return f"PackedMask.from_text({self.text!r})"

    def __bool__(self) -> bool:
        """Whether the mask has a pixel."""
        return self.box[2] > self.box[0]

    @property
    def key(self) -> str:
        """Digest of the pixels; equal masks have equal ones."""
        return _digest(self.hw, self.box, zlib.decompress(self.bits))

    def unpacked(self) -> BoolArray:
        """(H, W) mask."""
        top, left, bottom, right = self.box
        mask = np.zeros(self.hw, dtype=np.bool_)
        mask[top:bottom, left:right] = self.part()
        return mask

    def part(self) -> BoolArray:
        """(h, w) mask of the box alone."""
        top, left, bottom, right = self.box
        bits = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        count = (bottom - top) * (right - left)
        pixels = np.unpackbits(bits, count=count).astype(np.bool_)
        return pixels.reshape(bottom - top, right - left)


def mask_key(part: BoolArray, top: int, left: int, hw: HW) -> str:
    """`PackedMask.key` of a (h, w) part of a mask, as in `PackedMask.placed`."""
    return _digest(hw, *_boxed(part, top, left))


def _boxed(part: BoolArray, top: int, left: int) -> tuple[_Box, bytes]:
    """Box of the pixels in the frame, and the bits in it."""
    rows, columns = tight_window(part)
    bits = np.packbits(part[rows, columns]).tobytes()
    if rows.start == rows.stop:
        return (0, 0, 0, 0), bits
    corner = (top + rows.start, left + columns.start)
    return (*corner, top + rows.stop, left + columns.stop), bits


def _digest(hw: HW, box: _Box, bits: bytes) -> str:
    return blake2b(repr((hw, box)).encode() + bits, digest_size=8).hexdigest()
