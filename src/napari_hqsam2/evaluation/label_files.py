"""Images and their true labels on disk, frame by frame."""

from __future__ import annotations

import logging
import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.predictors.frame_source import ZARR_MARKERS, open_frames
from napari_hqsam2.predictors.image_files import (
    IMAGE_SUFFIXES,
    PILLOW_SUFFIXES,
    natural_key,
)
from napari_hqsam2.segmentation.stack_view import StackView
from napari_hqsam2.stack_files import open_stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_hqsam2._types import AnyArray, LabelArray
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits

logger = logging.getLogger(__name__)
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp"})
FILE_SUFFIXES = IMAGE_SUFFIXES | {".npy", ".zarr"}
ENDING = re.compile(
    r"[_-](cp[_-]masks?|labels?|masks?|seg|gt|instances?|images?|img|raw)$",
    re.IGNORECASE,
)
"""What files of a pair may have after their common name."""
SHOWN = 4


@dataclass(frozen=True, slots=True)
class FilePair:
    """An image or stack, and its labels."""

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """One frame and its true labels."""

    name: str
    image: AnyArray
    """(H, W) or (H, W, C)."""
    labels: LabelArray
    """(H, W) integers, 0 is background."""
    limits: IntensityLimits
    """Intensities shown as black and white, the same for the whole file."""


def read_labels(path: Path) -> LabelArray:
    """Read one (H, W) label image; of a palette image the indices.

    Raises
    ------
    EvaluationError
        The file holds several frames, colours, or no whole numbers.
    StackError
        It cannot be read.
    """
    with ExitStack() as files:
        frames = _open_labels(path, files)
        if len(frames) != 1:
            msg = f"{path} holds {len(frames)} frames where one label image is needed."
            raise EvaluationError(msg)
        return _checked(frames.read(0), path)


def _open_labels(path: Path, files: ExitStack) -> FrameSource:
    if path.suffix.lower() in PILLOW_SUFFIXES:
        return open_frames([_read_picture(path)])
    stack = files.enter_context(open_stack(path))
    return _view(stack.array, stack.axes.letters).every_frame()


def _read_picture(path: Path) -> AnyArray:
    if path.suffix.lower() in LOSSY_SUFFIXES:
        msg = (
            f"{path} is compressed with loss, so its labels are no longer exact. Save "
            "labels as .png or .tif."
        )
        raise EvaluationError(msg)
    try:
        with Image.open(path) as image:
            return np.array(image)
    except OSError as error:
        msg = f"{path} cannot be read as a label image: {error}"
        raise EvaluationError(msg) from error


def _checked(labels: AnyArray, path: Path) -> LabelArray:
    if labels.ndim == 2 and labels.dtype.kind in "biu":
        return labels.astype(np.uint8) if labels.dtype.kind == "b" else labels
    msg = (
        f"{path} is {labels.dtype} of shape {labels.shape}; labels are whole numbers "
        "of shape (H, W), one for each object and 0 for the background."
    )
    raise EvaluationError(msg)


def _view(
    array: object, letters: str, channels: Sequence[int] | None = None
) -> StackView:
    if set(letters) - set("YXC"):
        return StackView(array, letters, channels)
    return StackView.of_image(array, letters, channels)


def _is_file(path: Path) -> bool:
    """Whether a path is an image or a stack, be it a Zarr folder."""
    is_zarr = any((path / marker).exists() for marker in ZARR_MARKERS)
    return path.is_file() or path.suffix.lower() == ".zarr" or is_zarr


def files_by_name(folder: Path) -> dict[str, Path]:
    """Images and stacks of a folder in natural order, by name without its ending.

    Raises
    ------
    EvaluationError
        There is no such folder, it holds no image, or two of one name.
    """
    if not folder.is_dir():
        msg = f"There is no folder {folder}."
        raise EvaluationError(msg)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if path.name.startswith(".") or path.suffix.lower() not in FILE_SUFFIXES:
            continue
        name = ENDING.sub("", path.name.removesuffix("".join(_suffixes(path))))
        if name in found:
            msg = (
                f"{found[name].name} and {path.name} in {folder} both stand for "
                f"{name!r}; keep one of them."
            )
            raise EvaluationError(msg)
        found[name] = path
    if not found:
        endings = ", ".join(sorted(FILE_SUFFIXES))
        msg = f"The folder {folder} holds no image ({endings})."
        raise EvaluationError(msg)
    return found


def _suffixes(path: Path) -> tuple[str, ...]:
    suffixes = path.suffixes[-2:]
    is_ome = len(suffixes) == 2 and suffixes[0].lower() == ".ome"
    return tuple(suffixes if is_ome else suffixes[-1:])


def pair_files(images: Path, labels: Path) -> list[FilePair]:
    """Images and labels of the same name, or two files.

    Parameters
    ----------
    images, labels : Path
        Two folders whose files have the same names apart from their types and endings
        such as ``_labels``; or an image or stack, and the file of its labels.

    Raises
    ------
    EvaluationError
        Nothing fits together; the message shows names.
    """
    if _is_file(images) and _is_file(labels):
        return [FilePair(images.name.removesuffix(images.suffix), images, labels)]
    found, truths = files_by_name(images), files_by_name(labels)
    pairs = [
        FilePair(name, path, truths[name])
        for name, path in found.items()
        if name in truths
    ]
    if not pairs:
        shown = [", ".join(list(names)[:SHOWN]) for names in (found, truths)]
        msg = (
            f"No image of {images} ({shown[0]}, ...) has the name of a label image of "
            f"{labels} ({shown[1]}, ...). Give both files of a pair the same name; "
            "endings such as _labels and _masks do not count."
        )
        raise EvaluationError(msg)
    alone = sorted(found.keys() ^ truths.keys(), key=natural_key)
    if alone:
        logger.warning(
            "%d files have no counterpart and are left out, such as %s.",
            len(alone),
            ", ".join(alone[:SHOWN]),
        )
    return pairs


def read_pair(
    pair: FilePair, channels: Sequence[int] | None = None
) -> Iterator[LabelledFrame]:
    """Read a pair frame by frame, stacks in the order of their leading axes.

    Raises
    ------
    EvaluationError
        Image and labels differ in size, or the labels are not labels.
    StackError
        A file cannot be read.
    """
    with ExitStack() as files:
        stack = files.enter_context(open_stack(pair.image))
        view = _view(stack.array, stack.axes.letters, channels)
        frames, limits = view.every_frame(), view.limits()
        truths = _open_labels(pair.labels, files)
        if (len(truths), truths.hw) != (len(frames), frames.hw):
            msg = (
                f"{pair.image.name} has {len(frames)} frames of {frames.hw} pixels, "
                f"its labels {pair.labels.name} have {len(truths)} of {truths.hw}. "
                "Labels must have the shape of their image without channels."
            )
            raise EvaluationError(msg)
        for index in range(len(frames)):
            name = pair.name if len(frames) == 1 else f"{pair.name}[{index}]"
            labels = _checked(truths.read(index), pair.labels)
            yield LabelledFrame(name, frames.read(index), labels, limits)
