"""Which image belongs to which labels, told by the names of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.predictors.image_files import IMAGE_SUFFIXES, natural_key
from napari_hqsam2.stack_files import TIFF_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SUFFIXES = sorted(IMAGE_SUFFIXES | TIFF_SUFFIXES | {".npy", ".zarr"})
LABEL_ENDING = re.compile(r"(.+)[_.-](?:labels?|masks?|gt)", re.IGNORECASE)
IMAGE_ENDING = re.compile(r"(.+)[_.-](?:images?|img|raw)", re.IGNORECASE)
SHOWN = 4


@dataclass(frozen=True)
class Pair:
    """An image or stack on disk, and the labels of its objects."""

    image: Path
    labels: Path


@dataclass(frozen=True)
class Pairs:
    """What was found."""

    found: tuple[Pair, ...]
    left_out: tuple[Path, ...] = ()
    """Files without a counterpart."""


def _stem(path: Path) -> str:
    """Name of a file without its suffix, nor the ``.ome`` in front of it."""
    return path.stem.removesuffix(".ome")


def find_pairs(images: Path, labels: Path | None = None) -> Pairs:
    """Pair images with labels.

    Parameters
    ----------
    images : Path
        A file of any kind that `open_stack` takes, or a folder of such files.
    labels : Path, optional
        The same for labels. Files of two folders are paired if their names are equal
        but for the suffix and endings such as ``_labels``, ``_mask`` and ``_img``. A
        folder beside a file is one stack, an image a frame. None looks for labels in
        the folder of the images: files whose names end so.

    Raises
    ------
    TrainingError
        A path is missing, nothing can be paired, or a name is ambiguous.
    """
    for path in (images, labels):
        if path is not None and not path.exists():
            msg = f"There is no file or folder {path}."
            raise TrainingError(msg)
    if labels is None:
        return _within(images)
    if _is_collection(images) and _is_collection(labels):
        return _between(_files(images), _files(labels), f"{images} and {labels}")
    return Pairs((Pair(images, labels),))


def _is_collection(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() != ".zarr"


def _files(folder: Path) -> list[Path]:
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(found, key=lambda path: natural_key(path.name))


def _within(folder: Path) -> Pairs:
    if not _is_collection(folder):
        msg = (
            f"{folder} is one image; give its labels as the second path, or a folder "
            "that holds both, such as x.tif and x_labels.tif."
        )
        raise TrainingError(msg)
    files = _files(folder)
    labels = [path for path in files if LABEL_ENDING.fullmatch(_stem(path))]
    images = [path for path in files if path not in labels]
    return _between(images, labels, str(folder))


def _between(images: Sequence[Path], labels: Sequence[Path], where: str) -> Pairs:
    by_name: dict[str, Path] = {}
    for path in images:
        for name in {_stem(path), _bare(path, IMAGE_ENDING)}:
            if name in by_name:
                msg = (
                    f"{by_name[name].name} and {path.name} would both be the image "
                    f"{name}; rename or move one of them."
                )
                raise TrainingError(msg)
            by_name[name] = path
    owners: dict[Path, Path] = {}
    for path in labels:
        image = by_name.get(_stem(path)) or by_name.get(_bare(path, LABEL_ENDING))
        if image in owners:
            msg = (
                f"{owners[image].name} and {path.name} would both be the labels of "
                f"{image.name}; keep one of them."
            )
            raise TrainingError(msg)
        if image is not None:
            owners[image] = path
    if not owners:
        msg = (
            f"No image has labels in {where}. Images: {_shown(images)}; labels: "
            f"{_shown(labels)}. Give both the same name, such as x.tif and x.tif in "
            "two folders, or x.tif and x_labels.tif."
        )
        raise TrainingError(msg)
    pairs = tuple(Pair(path, owners[path]) for path in images if path in owners)
    paired = {*owners, *owners.values()}
    return Pairs(pairs, tuple(p for p in (*images, *labels) if p not in paired))


def _bare(path: Path, ending: re.Pattern[str]) -> str:
    match = ending.fullmatch(_stem(path))
    return match[1] if match else _stem(path)


def _shown(paths: Iterable[Path]) -> str:
    names = [path.name for path in paths]
    more = len(names) - SHOWN
    listed = ", ".join(names[:SHOWN]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed
