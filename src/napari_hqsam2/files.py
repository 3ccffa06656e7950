"""Files that appear whole or not at all, and the folder for what can be made again."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE = "NAPARI_HQSAM2_CACHE"
"""Environment variable that moves the cache folder."""


def cache_folder() -> Path:
    """Folder of downloads and compiled kernels; it may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("napari-hqsam2", appauthor=False)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Name of a temporary file that takes the place of `path` once the block is done.

    The file lies in the same folder and is flushed to disk before it is renamed. If the
    block raises, it is removed and `path` stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary, os.O_RDWR)
        temporary.replace(path)
        if os.name == "posix":
            _flush_to_disk(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
