"""What has happened since a session was saved: an append-only file of whole records.

A record is its length and its CRC-32 (little-endian, 4 bytes each), then JSON. What a
crash has cut off at the end is not read.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import finalize

from napari_hqsam2.errors import SessionError
from napari_hqsam2.session.plain import DAMAGE, TABLES, StoredPixels, from_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_hqsam2.session.records import Position, Records

JOURNAL_NAME = "journal"
MAGIC = b"hqsam2 journal 1\n"
HEAD = struct.Struct("<II")
MAX_RECORD = 64 * 2**20
"""Bytes of one record."""
CUT_OFF = "# a run was cut off here; the frames that it had done are in the labels"

logger = logging.getLogger(__name__)


class JournalFile:
    """A journal that is written to; every record is on the disk when `append` returns.

    Parameters
    ----------
    path
        Made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, flags, 0o666)
        self.close = finalize(self, os.close, self._file)
        """Close the file; it stays. Happens by itself when nobody has this any more."""
        self.size = os.fstat(self._file).st_size
        if not self.size:
            self._write(MAGIC)

    def append(self, content: Mapping[str, Any]) -> None:
        """Add a record.

        Raises
        ------
        OSError
            It cannot be written; the file is as it was before.
        """
        data = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        if len(data) > MAX_RECORD:
            msg = f"a record of {len(data)} bytes is too long for a journal"
            raise OSError(msg)
        self._write(HEAD.pack(len(data), zlib.crc32(data)) + data)

    def _write(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)


@dataclass(frozen=True, slots=True, eq=False)
class Journal:
    """Everything that whole records of a journal tell."""

    puts: list[tuple[str, int, Position, Any]] = field(default_factory=list)
    """Table, object, position, and its new value."""
    pixels: dict[Position, list[StoredPixels]] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    """Settings and provenance, where they have changed."""
    edits: list[tuple[int, list[str]]] = field(default_factory=list)
    """How many calls of the script were kept, and what came after them."""
    was_running: bool = False
    """Whether it ends in the middle of a run."""

    def fill(self, records: Records) -> None:
        """Bring records up to date."""
        tables = {table.name: table for table in records.of_objects}
        for name, obj_id, position, value in self.puts:
            tables[name].put(obj_id, position, value)

    def calls(self, calls: list[str]) -> list[str]:
        """Bring the calls of the script up to date."""
        for kept, new in self.edits:
            calls = [*calls[:kept], *new]
        return [*calls, CUT_OFF] if self.was_running else calls


def read_journal(path: Path) -> Journal:
    """Read all whole records; a journal that is not there has none.

    Raises
    ------
    SessionError
        A whole record holds what this version does not write.
    """
    journal, was_running = Journal(), False
    try:
        for record in _records(path):
            was_running = bool(record.get("running"))
            _take(journal, record)
    except DAMAGE as error:
        msg = f"The journal {path} is damaged: {type(error).__name__}: {error}."
        raise SessionError(msg) from error
    return Journal(
        journal.puts, journal.pixels, journal.header, journal.edits, was_running
    )


def _take(journal: Journal, record: Mapping[str, Any]) -> None:
    for name, obj_id, position, value in record.get("puts", ()):
        if name not in TABLES:
            raise KeyError(name)
        place = tuple(map(int, position))
        journal.puts.append((name, int(obj_id), place, from_plain(name, value)))
    for values in record.get("pixels", ()):
        item = StoredPixels.from_plain(values)
        journal.pixels.setdefault(item.position, []).append(item)
    journal.header.update(record.get("header", {}))
    if "calls" in record:
        kept, new = record["calls"]
        journal.edits.append((int(kept), [str(call) for call in new]))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Records up to the first one that is not whole."""
    if not path.is_file():
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            if size > len(MAGIC):
                msg = f"The journal {path} is not one that this version can read."
                raise SessionError(msg)
            return
        while head := file.read(HEAD.size):
            start = file.tell() - len(head)
            length, crc = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
            data = file.read(length) if length <= MAX_RECORD else b""
            if not length or len(data) != length or zlib.crc32(data) != crc:
                logger.warning(
                    "The last %d bytes of %s are not whole and are left out.",
                    size - start,
                    path,
                )
                return
            yield json.loads(data)
