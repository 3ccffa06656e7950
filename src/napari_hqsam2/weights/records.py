"""What this machine knows of its cached weights: hashes seen and hashes pinned."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import filelock

from napari_hqsam2.weights import registry
from napari_hqsam2.weights.cache import (
    cache_folder,
    file_sha256,
    is_in_cache,
    written_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

RECORDS_NAME = "records.json"
LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """Hash of a file, with what tells that the file is still the same."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Records:
    """Content of the records file."""

    verified: dict[str, Stamp] = field(default_factory=dict)
    """Hash of each file of the cache folder, by file name."""
    pinned: dict[str, str] = field(default_factory=dict)
    """Hash of weights whose publisher has told none, by model name."""


def load_records() -> Records:
    """Read the records; an unreadable file counts as empty, and the log says so."""
    path = cache_folder() / RECORDS_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stamps = {
            str(name): Stamp(
                str(item["sha256"]), int(item["size"]), int(item["mtime_ns"])
            )
            for name, item in content["verified"].items()
        }
        pinned = {str(name): str(digest) for name, digest in content["pinned"].items()}
        return Records(stamps, pinned)
    except FileNotFoundError:
        return Records()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning(
            "The records of cached weights, %s, are unreadable: %s", path, error
        )
        return Records()


def _update(change: Callable[[Records], object]) -> None:
    """Change the records file; another process may do so at the same time."""
    path = cache_folder() / RECORDS_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            records = load_records()
            change(records)
            with written_whole(path) as temporary:
                temporary.write_text(json.dumps(asdict(records), indent=1), "utf-8")
    except (OSError, NotImplementedError) as error:
        logger.warning("Cannot note hashes of cached weights in %s: %s", path, error)


def known_sha256(path: Path) -> str:
    """SHA-256 of a file of the cache folder, computed only if the file has changed.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    noted = noted_sha256(path, load_records())
    if noted is not None:
        return noted
    status = path.stat()
    stamp = Stamp(file_sha256(path), status.st_size, status.st_mtime_ns)

    def note(records: Records) -> None:
        records.verified[path.name] = stamp

    _update(note)
    return stamp.sha256


def noted_sha256(path: Path, records: Records) -> str | None:
    """SHA-256 of a file of the cache folder if it has been computed; reads no file."""
    status = path.stat()
    stamp = records.verified.get(path.name)
    if stamp and (stamp.size, stamp.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return stamp.sha256
    return None


def forget(path: Path) -> None:
    """Drop what was noted of a file that is gone; a pinned hash stays."""
    if path.name in load_records().verified:
        _update(lambda records: records.verified.pop(path.name, None))


def expected_sha256(spec: registry.CheckpointSpec) -> str | None:
    """Hash that the file of a model must have: published, or pinned on this machine."""
    return spec.sha256 or load_records().pinned.get(spec.name)


def pin_on_first_use(path: Path) -> None:
    """Pin the hash of a downloaded file whose publisher has told none.

    To be called once its weights have been loaded strictly: from then on any other file
    under this name is refused.
    """
    spec = registry.REGISTRY.get(path.stem)
    is_cached = is_in_cache(path) and spec is not None and path.name == spec.file_name
    if spec is None or not is_cached or expected_sha256(spec) is not None:
        return
    digest = known_sha256(path)

    def note(records: Records) -> None:
        records.pinned.setdefault(spec.name, digest)

    _update(note)
    logger.info("Pinned %s to SHA-256 %s", spec.name, digest)
