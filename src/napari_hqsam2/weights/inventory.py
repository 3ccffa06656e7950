"""Which weights are on this machine, what they take, and getting rid of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import filelock

from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.weights import own_files, records, registry
from napari_hqsam2.weights.cache import converted_path, file_sha256
from napari_hqsam2.weights.download import cached_path, ensure_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from napari_hqsam2.weights.records import Records
    from napari_hqsam2.weights.registry import CheckpointSpec
    from napari_hqsam2.weights.transfer import Cancel, Progress

Check: TypeAlias = Literal["", "verified", "not checked", "no known hash", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """Weights of a model: here, or to be downloaded."""

    name: str
    """Name of the model."""
    kind: Literal["built in", "official", "own"]
    """Part of the package, downloaded into the cache folder, or a file of one's own."""
    path: Path
    """Where the file is, or will be."""
    is_here: bool
    size: int | None
    """Bytes of the file; of the one to download if it is not here, where known."""
    check: Check
    """What its SHA-256 says: "verified" is as published, or as on first use where
    none is published; "not checked" is looked at when it is used; "wrong" will not be
    used. Empty if it is not here, or your own."""
    partial: int = 0
    """Bytes of a download that was interrupted, which the next one goes on from."""
    freed: int = 0
    """Bytes that `remove_model` frees; the converted copy counts too."""
    url: str | None = None
    """Where it is downloaded from; None if it cannot be."""
    licence: str = ""


def list_models(*, verify: bool = False) -> tuple[ModelFile, ...]:
    """List the models that have a name, then weights files of one's own.

    Parameters
    ----------
    verify
        Compute the hash of files that were not checked since they came or changed,
        about a second a gigabyte; without it, that is told as "not checked".

    Returns
    -------
    tuple of ModelFile
        Models of the registry in its order; own files as they were used last.

    Examples
    --------
    >>> from napari_hqsam2 import list_models
    >>> [item.name for item in list_models() if item.kind == "built in"]
    ['sam2.1_hq_hiera_nano']
    """
    known = records.load_records()
    named = (_named(spec, known, verify=verify) for spec in registry.REGISTRY.values())
    return (*named, *map(_own, own_files.own_files()))


def describe_model(name: str, *, verify: bool = False) -> ModelFile:
    """One model of `list_models`.

    Raises
    ------
    CheckpointError
        No model has this name.
    """
    return _named(registry.get(name), records.load_records(), verify=verify)


def download_model(
    name: str, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> Path:
    """Fetch the weights of a model to this machine, unless they are here.

    Parameters
    ----------
    name
        Name of the model.
    progress
        Called with the bytes that are here and the bytes in all, if known.
    cancel
        Asked often; True ends the download with DownloadCancelledError. What has
        arrived is kept for the next one.

    Returns
    -------
    Path
        The verified file.

    Raises
    ------
    CheckpointError
        The model is unknown, or its weights were never published.
    DownloadError
        The file cannot be fetched; the message tells how to bring it by hand.
    """
    return ensure_checkpoint(name, progress, cancel=cancel)


def remove_model(name: str | PathLike[str]) -> int:
    """Delete the downloaded weights of a model; they can be downloaded again.

    Parameters
    ----------
    name
        Name of a model, or the path of a weights file of one's own: that one is taken
        off the list and loses its converted copy, but the file itself stays.

    Returns
    -------
    int
        Bytes that are free again.

    Raises
    ------
    CheckpointError
        The model is unknown, part of the package, not here, or being downloaded; or a
        file cannot be deleted.
    """
    path = Path(name)
    if own_files.forget(path):
        return _delete([converted_path(path)])
    spec = registry.get(str(name))
    if spec.packaged:
        msg = f"{spec.name} is part of the package and cannot be removed."
        raise CheckpointError(msg)
    target = cached_path(spec.name)
    if not any(item.exists() for item in _files(target)):
        msg = f"{spec.name} is not on this machine; there is nothing to remove."
        raise CheckpointError(msg)
    lock = filelock.FileLock(f"{target}.lock")
    try:
        with lock.acquire(timeout=0):
            freed = _delete(_files(target))
            records.forget(target)
    except filelock.Timeout as error:
        msg = f"{spec.name} is being downloaded; cancel that first."
        raise CheckpointError(msg) from error
    return freed


def _named(spec: CheckpointSpec, known: Records, *, verify: bool) -> ModelFile:
    path = cached_path(spec.name)
    size = _size(path)
    return ModelFile(
        name=spec.name,
        kind="built in" if spec.packaged else "official",
        path=path,
        is_here=size is not None,
        size=spec.size if size is None else size,
        check="" if size is None else _check(spec, path, known, verify=verify),
        partial=_size(_part(path)) or 0,
        freed=0 if spec.packaged else sum(_size(x) or 0 for x in _files(path)),
        url=spec.url,
        licence=spec.licence,
    )


def _own(item: own_files.OwnFile) -> ModelFile:
    path = Path(item.path)
    size = _size(path)
    return ModelFile(
        name=item.model,
        kind="own",
        path=path,
        is_here=size is not None,
        size=size,
        check="",
        freed=_size(converted_path(path)) or 0,
    )


def _check(spec: CheckpointSpec, path: Path, known: Records, *, verify: bool) -> Check:
    expected = spec.sha256 or known.pinned.get(spec.name)
    if expected is None:
        return "no known hash"
    if spec.packaged:
        found: str | None = file_sha256(path)
    elif verify:
        found = records.known_sha256(path)
    else:
        found = records.noted_sha256(path, known)
    if found is None:
        return "not checked"
    return "verified" if found == expected else "wrong"


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _files(target: Path) -> list[Path]:
    """All that the cache folder may hold of a model."""
    beside = [
        target.with_name(f"{target.name}{end}")
        for end in (".etag", ".bad", ".part.bad")
    ]
    return [target, _part(target), converted_path(target), *beside]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _delete(paths: Iterable[Path]) -> int:
    freed = 0
    for path in paths:
        size = _size(path)
        if size is None:
            continue
        try:
            path.unlink()
        except OSError as error:
            msg = (
                f"{path} cannot be deleted ({error.strerror or error}). Another "
                "program may be using it; close that, and try again."
            )
            raise CheckpointError(msg) from error
        freed += size
    return freed
