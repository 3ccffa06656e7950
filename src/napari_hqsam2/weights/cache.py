"""The folder for downloaded and converted weights, and safe writing into it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
import uuid
from typing import TYPE_CHECKING

from napari_hqsam2.files import CACHE_VARIABLE, cache_folder, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

__all__ = [
    "CACHE_VARIABLE",
    "cache_folder",
    "converted_path",
    "file_sha256",
    "is_in_cache",
    "quarantine",
    "written_whole",
]

TEMPORARY_SUFFIX = ".tmp"
STALE_SECONDS = 3600.0


def is_in_cache(path: Path) -> bool:
    """Whether a file lies in the cache folder and is thus ours to move."""
    return path.resolve().is_relative_to(cache_folder().resolve())


def quarantine(path: Path) -> Path | None:
    """Put a damaged file of the cache aside so that nothing reads it again.

    Returns
    -------
    Path or None
        Where it is now (".bad" appended); None if the file is not in the cache folder,
        is gone, or cannot be moved. Files outside the cache are never touched.
    """
    if not is_in_cache(path):
        return None
    aside = path.with_name(f"{path.name}.bad")
    try:
        path.replace(aside)
    except OSError as error:
        logger.warning("Cannot move the damaged file %s aside: %s", path, error)
        return None
    return aside


def converted_path(path: Path) -> Path:
    """Where the safetensors copy of a torch file lies once it has been read."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "converted" / f"{path.stem}-{name}.safetensors"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, and its name once the block has ended.

    If the block raises, the temporary file is removed and `target` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    temporary = target.with_name(
        f".{target.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}"
    )
    try:
        yield temporary
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left behind."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
