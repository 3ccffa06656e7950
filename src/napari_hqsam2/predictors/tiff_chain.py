"""The chain of pages of a TIFF file, checked without reading a page."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class IfdFormat:
    """How the image file directories (IFDs) of a TIFF are written."""

    byteorder: str
    """Of struct: "<" or ">"."""
    offset: str
    """struct letter of an offset: I in classic TIFF, Q in BigTIFF."""
    count: str
    """struct letter of the number of tags: H in classic TIFF, Q in BigTIFF."""
    tag_bytes: int
    """Size of one tag: 12 or 20."""
    first: int
    """Position of the first directory."""


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a TIFF."""
    return head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def _ifd_format(file: BinaryIO) -> IfdFormat:
    head = file.read(16)
    byteorder = "<" if head[:2] == b"II" else ">"
    is_big = 43 in (head[2], head[3])
    if is_big:
        (first,) = struct.unpack(f"{byteorder}Q", head[8:16])
        return IfdFormat(byteorder, "Q", "Q", 20, first)
    (first,) = struct.unpack(f"{byteorder}I", head[4:8])
    return IfdFormat(byteorder, "I", "H", 12, first)


def check_page_chain(path: Path) -> None:
    """Walk from page to page without reading them.

    A reader that stops quietly at the first bad link would take a damaged file for a
    shorter one.

    Raises
    ------
    StackError
        If a page lies beyond the end of the file or leads back to an earlier one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            form = _ifd_format(file)
        except (struct.error, IndexError):
            form = IfdFormat("<", "I", "H", 12, size)
        seen: set[int] = set()
        position = form.first
        while position:
            page = len(seen)
            if position in seen:
                msg = (
                    f"{path} is damaged: page {page - 1} leads back to an earlier "
                    "page. Write the file again from its source."
                )
                raise StackError(msg)
            seen.add(position)
            following = _next_page(file, form, position)
            if following is None:
                msg = (
                    f"{path} is cut off or damaged: page {page} is expected at byte "
                    f"{position}, but the file has {size} bytes. Copy it again."
                )
                raise StackError(msg)
            position = following


def _next_page(file: BinaryIO, form: IfdFormat, position: int) -> int | None:
    """Position of the page after the one at `position`; 0 for none, None if cut off."""
    count_bytes = struct.calcsize(form.byteorder + form.count)
    offset_bytes = struct.calcsize(form.byteorder + form.offset)
    try:
        file.seek(position)
        (tags,) = struct.unpack(form.byteorder + form.count, file.read(count_bytes))
        file.seek(position + count_bytes + tags * form.tag_bytes)
        (following,) = struct.unpack(
            form.byteorder + form.offset, file.read(offset_bytes)
        )
    except (struct.error, OverflowError, OSError, ValueError):
        return None
    return int(following)
