"""Weights on demand: fetched once, verified, kept in the cache folder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import filelock

from napari_hqsam2.errors import CheckpointError, DownloadError
from napari_hqsam2.weights import records, registry
from napari_hqsam2.weights.cache import CACHE_VARIABLE, cache_folder, quarantine
from napari_hqsam2.weights.transfer import (
    Cancel,
    Download,
    LastingFaultError,
    Progress,
    RetryPolicy,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.weights.registry import CheckpointSpec

logger = logging.getLogger(__name__)


def ensure_checkpoint(
    name: str, progress: Progress | None = None, *, cancel: Cancel | None = None
) -> Path:
    """Return the weights file of a model, downloaded if need be.

    Parameters
    ----------
    name : str
        Name of a model of the registry.
    progress : callable, optional
        Called with (bytes here, bytes in all or None) while downloading.
    cancel : callable, optional
        Returns True to stop; what has arrived is kept for the next attempt.

    Returns
    -------
    Path
        A file for `load_weights`.

    Raises
    ------
    CheckpointError
        If the model is unknown or its weights have never been published.
    DownloadError
        If the file cannot be fetched; the message tells how to bring it by hand.
    """
    spec = registry.get(name)
    if spec.packaged:
        return _packaged_file(spec)
    if spec.url is None:
        published = [other.name for other in registry.REGISTRY.values() if other.url]
        msg = (
            f"No weights of {name} have been published. Train them or give a file of "
            f"your own as checkpoint; ready to download are {', '.join(published)}."
        )
        raise CheckpointError(msg)
    return fetch(spec, progress=progress, cancel=cancel)


def cached_path(name: str) -> Path:
    """Path of the weights file of a model; nothing is fetched, so it may not exist.

    Raises
    ------
    CheckpointError
        If the model is unknown.
    """
    spec = registry.get(name)
    if spec.packaged:
        return registry.packaged_path(spec)
    return cache_folder() / spec.file_name


def _packaged_file(spec: CheckpointSpec) -> Path:
    path = registry.packaged_path(spec)
    if not path.is_file():
        msg = (
            f"The built-in weights of {spec.name} are missing at {path}. Reinstall "
            "napari-hqsam2, or choose another model."
        )
        raise CheckpointError(msg)
    return path


def fetch(
    spec: CheckpointSpec,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    policy: RetryPolicy | None = None,
) -> Path:
    """Download the file of a model into the cache folder unless it is there.

    Several processes may ask for the same file: one downloads, the others wait.

    Raises
    ------
    DownloadError
        As `ensure_checkpoint`.
    """
    target = cache_folder() / spec.file_name
    download = Download(
        spec,
        target,
        progress or (lambda _done, _total: None),
        cancel or (lambda: False),
        policy or RetryPolicy(),
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_trusted(spec, target):
            lock = filelock.FileLock(f"{target}.lock")
            download.acquire(lock)
            try:
                if not _is_trusted(spec, target):
                    download.run()
            finally:
                lock.release()
    except (OSError, NotImplementedError, LastingFaultError) as error:
        raise DownloadError(_by_hand(spec, target, error)) from error
    return target


def _is_trusted(spec: CheckpointSpec, target: Path) -> bool:
    """Whether the file is here with the right hash; a wrong one is put aside."""
    if not target.is_file():
        return False
    found = records.known_sha256(target)
    expected = records.expected_sha256(spec)
    if expected is None or found == expected:
        return True
    aside = quarantine(target)
    logger.warning(
        "%s has SHA-256 %s instead of %s; moved to %s", target, found, expected, aside
    )
    return False


def _by_hand(spec: CheckpointSpec, target: Path, cause: Exception) -> str:
    """Why the download failed, and how to do without it."""
    size = f"{spec.size} bytes, " if spec.size else ""
    expected = records.expected_sha256(spec)
    digest = f"SHA-256 {expected}" if expected else "no published SHA-256"
    return (
        f"Could not download the weights of {spec.name}: {cause}. To bring them by "
        f"hand, fetch {spec.url} ({size}{digest}) on any machine, save the file as "
        f"{target} and try again. A file elsewhere can be given as checkpoint, the "
        f"folder can be moved with the environment variable {CACHE_VARIABLE}, and the "
        f"built-in model {registry.DEFAULT_MODEL} needs no download."
    )
