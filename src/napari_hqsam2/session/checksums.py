"""Digests of the files of a saved session, as ``sha256sum --check`` reads them too."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from napari_hqsam2.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

SUMS_NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_checksums(folder: Path, without: Collection[str] = ()) -> None:
    """Write the digests of all files of a folder.

    Parameters
    ----------
    folder
        Gets the file, which replaces an earlier one.
    without
        Names of files right in the folder that may change, and are left out.
    """
    lines = [f"{_digest(path)}  {name}\n" for name, path in _files(folder, {*without})]
    (folder / SUMS_NAME).write_text("".join(lines), encoding="utf-8", newline="\n")


def check_files(folder: Path, without: Collection[str] = ()) -> None:
    """See that every file is as it was when `write_checksums` saw it.

    Hidden files are not heeded, as systems leave them everywhere.

    Raises
    ------
    SessionError
        A file is another one, is missing, or was not there; it is named.
    OSError
        One cannot be read.
    """
    found, listed = dict(_files(folder, {*without})), {}
    text = (folder / SUMS_NAME).read_bytes().decode("utf-8", "replace")
    for line in text.split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _damaged(folder, SUMS_NAME, f"holds a line {line[:80]!r}")
        listed[match[2]] = match[1]
    if not text.endswith("\n"):
        raise _damaged(folder, SUMS_NAME, "is cut off")
    for name in sorted(found.keys() | listed.keys()):
        if name not in found:
            raise _damaged(folder, name, f"is missing ({SUMS_NAME} tells of it)")
        if name not in listed:
            raise _damaged(folder, name, f"is not in {SUMS_NAME}")
        if _digest(found[name]) != listed[name]:
            raise _damaged(folder, name, f"is not as it was saved ({SUMS_NAME})")


def _files(folder: Path, without: set[str]) -> Iterator[tuple[str, Path]]:
    """Names and paths of files, sorted by name."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if not is_hidden and name not in {SUMS_NAME, *without} and path.is_file():
            yield name, path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(folder: Path, name: str, what: str) -> SessionError:
    return SessionError(
        f"The saved session in {folder} is damaged: {name} {what}. Take a copy of it "
        "from elsewhere."
    )
