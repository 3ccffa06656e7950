"""What a weights file is, found out from its bytes before anything is loaded."""

from __future__ import annotations

import json
import zipfile
from enum import Enum
from typing import TYPE_CHECKING

from napari_hqsam2.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 512
MAX_BYTES = 8 * 1024**3
"""Largest checkpoint that is accepted, on disk and in memory."""
MAX_ENTRIES = 20_000
MAX_PICKLE_BYTES = 64 * 1024**2
MAX_HEADER_BYTES = 100 * 1024**2
LFS_START = b"version https://git-lfs"
HTML_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<script", b"<body")


class BadFileError(CheckpointError):
    """The file itself is at fault: damaged, unsafe, or not weights at all."""


class FileFormat(Enum):
    """How a checkpoint is stored."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"


def describe_other_content(head: bytes) -> str | None:
    """Say what a file with these first bytes is, if it is a usual stand-in for weights.

    Parameters
    ----------
    head : bytes
        At least the first 64 bytes.
    """
    if head.startswith(LFS_START):
        return (
            "is a Git LFS pointer, a few lines of text that stand for the real file. "
            "Run `git lfs pull` in its repository, or download the file itself"
        )
    if head.lstrip().lower().startswith(HTML_STARTS):
        return (
            "is a web page, not weights: the download was answered by a login or error "
            "page. Open the address in a browser and save the real file"
        )
    if head.lstrip().startswith((b'{"error', b'{"message')):
        return "is an error message of a server, not weights. Download it again"
    return None


def sniff(path: Path) -> FileFormat:
    """Find out the format of a checkpoint and check its frame, without loading it.

    Raises
    ------
    BadFileError
        If the file is not a whole checkpoint; the message names the cause.
    CheckpointError
        If the file is missing or cannot be opened.
    """
    try:
        if path.is_dir():
            msg = f"{path} is a folder; give the checkpoint file itself."
            raise CheckpointError(msg)
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        reason = error.strerror or error
        msg = f"The checkpoint {path} cannot be opened ({reason}). Check the path."
        raise CheckpointError(msg) from error
    if not size:
        msg = f"{path} is empty. Download it again."
        raise BadFileError(msg)
    other = describe_other_content(head)
    if other is not None:
        msg = f"{path} {other}."
        raise BadFileError(msg)
    if size > MAX_BYTES:
        msg = f"{path} has {size} bytes; a checkpoint has at most {MAX_BYTES}."
        raise BadFileError(msg)
    return _structure(path, head, size)


def _structure(path: Path, head: bytes, size: int) -> FileFormat:
    if head.startswith(b"PK"):
        _check_zip(path)
        return FileFormat.TORCH
    # A pickle of protocol 2 or later: the format of torch before 1.6.
    if head[:2] in {b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"}:
        return FileFormat.TORCH
    if head[8:9] == b"{":
        _check_safetensors(path, head, size)
        return FileFormat.SAFETENSORS
    start = head[:8].hex(" ")
    msg = (
        f"{path} is neither a torch checkpoint nor safetensors (it starts with bytes "
        f"{start}). Download it again."
    )
    raise BadFileError(msg)


def _check_zip(path: Path) -> None:
    """Check the archive that torch writes: whole, uncompressed, of sane size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        msg = f"{path} is cut off or damaged ({error}). Download it again."
        raise BadFileError(msg) from error
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if len(pickles) != 1:
        msg = f"{path} is a zip archive, but not a torch checkpoint."
        raise BadFileError(msg)
    if any(entry.filename.endswith("constants.pkl") for entry in entries):
        msg = (
            f"{path} is a TorchScript program, not a checkpoint. Save the model's "
            "state_dict() instead."
        )
        raise BadFileError(msg)
    unpacked = sum(entry.file_size for entry in entries)
    if (
        len(entries) > MAX_ENTRIES
        or pickles[0].file_size > MAX_PICKLE_BYTES
        or unpacked > path.stat().st_size
        or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    ):
        msg = (
            f"{path} unpacks {len(entries)} entries to {unpacked} bytes; torch never "
            "compresses its checkpoints, so this is a damaged file or a zip bomb."
        )
        raise BadFileError(msg)


def _check_safetensors(path: Path, head: bytes, size: int) -> None:
    header_bytes = int.from_bytes(head[:8], "little")
    if header_bytes > min(size - 8, MAX_HEADER_BYTES):
        msg = f"{path} is cut off or damaged inside its header. Download it again."
        raise BadFileError(msg)
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(header_bytes)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        ends = [int(item["data_offsets"][1]) for item in header.values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path} has a damaged safetensors header ({error}). Download it again."
        raise BadFileError(msg) from error
    needed = 8 + header_bytes + max(ends, default=0)
    if needed != size:
        msg = (
            f"{path} has {size} bytes but its header promises {needed}: it is cut off "
            "or damaged. Download it again."
        )
        raise BadFileError(msg)
