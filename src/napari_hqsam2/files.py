"""Files that appear whole or not at all, their sizes, and the folders of a user."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE = "NAPARI_HQSAM2_CACHE"
"""Environment variable that moves the cache folder."""
CONFIG_VARIABLE = "NAPARI_HQSAM2_CONFIG"
"""Environment variable that moves the folder of settings."""
STATE_VARIABLE = "NAPARI_HQSAM2_STATE"
"""Environment variable that moves the folder of unsaved work."""
STALE = 3600.0
"""Seconds after which a temporary folder belongs to nobody any more."""


def cache_folder() -> Path:
    """Folder of downloads and compiled kernels; it may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("napari-hqsam2", appauthor=False)


def config_folder() -> Path:
    """Folder of settings that are remembered; it may not exist yet."""
    chosen = os.environ.get(CONFIG_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_config_path("napari-hqsam2", appauthor=False)


def state_folder() -> Path:
    """Folder of what is kept from one start to the next; it may not exist yet."""
    chosen = os.environ.get(STATE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_state_path("napari-hqsam2", appauthor=False)


def size_words(size: int) -> str:
    """Words for a number of bytes: "0 MB", "15 MB", "1.8 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Name of a temporary file that takes the place of `path` once the block is done.

    The file lies in the same folder and is flushed to disk before it is renamed. If the
    block raises, it is removed and `path` stays as it was. What dead processes left
    beside it is removed after an hour.
    """
    path = Path(path)
    _sweep(path.parent, f".{glob.escape(path.stem)}.tmp-*{glob.escape(path.suffix)}")
    temporary = path.with_name(f".{path.stem}.tmp-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, target: Path) -> None:
    """Give a finished file its final name: it appears whole or not at all.

    The contents reach the disk before the name does, so that a crash at any moment
    leaves the old file or the new one.
    """
    _flush_to_disk(temporary, os.O_RDWR)
    temporary.replace(target)
    if os.name == "posix":
        _flush_to_disk(target.parent, os.O_RDONLY)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A new folder that takes the place of `path` once the block is done.

    Its files reach the disk before it gets its name. If the block raises, or the
    folders cannot be exchanged, `path` stays as it was; if the process dies while they
    are exchanged, `restore_folder` brings it back. What dead processes left beside it
    is removed after an hour.
    """
    path = Path(path).absolute()
    restore_folder(path)
    for kind in ("tmp-*", "old.tmp-*"):
        _sweep(path.parent, f".{glob.escape(path.name)}.{kind}")
    suffix = f".tmp-{secrets.token_hex(4)}"
    new = path.with_name(f".{path.name}{suffix}")
    old = path.with_name(f".{path.name}.old{suffix}")
    new.mkdir(parents=True)
    try:
        yield new
        if os.name == "posix":
            for inside in (*new.rglob("*"), new):
                _flush_to_disk(inside, os.O_RDONLY)
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        if os.name == "posix":
            _flush_to_disk(path.parent, os.O_RDONLY)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def restore_folder(path: str | Path) -> None:
    """Bring back a folder that was being replaced when its process died."""
    path = Path(path).absolute()
    left = path.parent.glob(f".{glob.escape(path.name)}.old.tmp-*")
    if not path.exists() and (found := sorted(left, key=lambda p: p.stat().st_mtime)):
        found[-1].rename(path)


def _sweep(folder: Path, pattern: str) -> None:
    """Remove what dead processes left in a folder; others may do so just now."""
    for left in folder.glob(pattern):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime <= STALE:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


def _flush_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
