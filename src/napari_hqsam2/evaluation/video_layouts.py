"""Where DAVIS and MOSE keep their frames and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.label_files import read_labels
from napari_hqsam2.predictors.image_files import image_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2._types import BoolArray, LabelArray

VideoLayout = Literal["davis2016", "davis2017", "mose"]
FRAMES, MASKS, LISTS = "JPEGImages", "Annotations", "ImageSets"
DAVIS_SIZE = "480p"
DEFAULT_SPLITS = {"davis2016": "val", "davis2017": "val", "mose": "valid"}
VOID = 255
"""Label of pixels of DAVIS 2017 that do not count."""


@dataclass(frozen=True, slots=True)
class VideoSequence:
    """One video with masks on some of its frames."""

    name: str
    frames: tuple[Path, ...]
    annotations: dict[int, Path]
    """Label images by frame."""
    layout: VideoLayout

    def truth(self, frame: int) -> LabelArray:
        """(H, W) labels of an annotated frame; DAVIS 2016 has one object."""
        labels = read_labels(self.annotations[frame])
        return (labels > 0).astype(np.uint8) if self.layout == "davis2016" else labels

    def void(self, labels: LabelArray) -> BoolArray:
        """(H, W) pixels that do not count."""
        void: BoolArray = labels == VOID
        return void if self.layout == "davis2017" else np.zeros_like(void)

    def first_masks(self) -> dict[int, tuple[int, BoolArray]]:
        """First annotated frame and (H, W) mask there of every object, by its label.

        In DAVIS an object is what the first of the masks shows, in MOSE any of them.
        """
        found: dict[int, tuple[int, BoolArray]] = {}
        looked_at = None if self.layout == "mose" else 1
        for frame in sorted(self.annotations)[:looked_at]:
            labels = self.truth(frame)
            for value in np.unique(labels[~self.void(labels)]):
                if value > 0 and int(value) not in found:
                    found[int(value)] = frame, labels == value
        return found


def find_sequences(
    folder: Path, layout: VideoLayout, split: str | None = None
) -> list[VideoSequence]:
    """Videos of a data set that lies in a folder as it was published.

    Parameters
    ----------
    folder : Path
        DAVIS: with ``JPEGImages/480p/NAME``, ``Annotations/480p/NAME`` and
        ``ImageSets``. MOSE: with ``valid/JPEGImages/NAME`` and
        ``valid/Annotations/NAME``, or the folder ``valid`` itself.
    layout : {"davis2016", "davis2017", "mose"}
        Which data set.
    split : str, optional
        Its part, such as "val" (DAVIS) or "valid" (MOSE), which is also the default.

    Raises
    ------
    EvaluationError
        The folder is not laid out like this.
    """
    root = folder
    if layout == "mose" and not (folder / FRAMES).is_dir():
        root = folder / (split or DEFAULT_SPLITS[layout])
    images, masks = (_sized(root / part) for part in (FRAMES, MASKS))
    names = None
    if layout != "mose":
        names = _listed(root / LISTS, layout.removeprefix("davis"), split)
    if names is None:
        names = sorted(path.name for path in masks.iterdir() if path.is_dir())
    sequences = [_sequence(images / name, masks / name, layout) for name in names]
    if not sequences:
        msg = f"{masks} holds no folder of masks."
        raise EvaluationError(msg)
    return sequences


def _sized(folder: Path) -> Path:
    """The folder of a size where there are several."""
    if not folder.is_dir():
        msg = (
            f"There is no folder {folder}. A video data set has {FRAMES} and {MASKS} "
            "with one folder for each video, as DAVIS and MOSE are published."
        )
        raise EvaluationError(msg)
    return folder / DAVIS_SIZE if (folder / DAVIS_SIZE).is_dir() else folder


def _listed(lists: Path, year: str, split: str | None) -> list[str] | None:
    """Names of the videos of a split; None where there is no list and none is asked."""
    wanted = split or "val"
    candidates = [lists / year / f"{wanted}.txt", lists / DAVIS_SIZE / f"{wanted}.txt"]
    for path in candidates:
        if path.is_file():
            return _names(path.read_text(encoding="utf-8").splitlines())
    if split is None:
        return None
    msg = (
        f"There is no list of the split {split!r}: neither {candidates[0]} nor "
        f"{candidates[1]} exists."
    )
    raise EvaluationError(msg)


def _names(lines: Sequence[str]) -> list[str]:
    """Names, also from DAVIS 2016's pairs of paths of every frame."""
    firsts = [line.split()[0] for line in lines if line.strip()]
    names = [part.split("/")[-2] if "/" in part else part for part in firsts]
    return list(dict.fromkeys(names))


def _sequence(images: Path, masks: Path, layout: VideoLayout) -> VideoSequence:
    for folder in (images, masks):
        if not folder.is_dir():
            msg = f"There is no folder {folder}."
            raise EvaluationError(msg)
    frames = tuple(image_files(images))
    numbers = {path.stem: number for number, path in enumerate(frames)}
    annotations = {
        numbers[path.stem]: path for path in image_files(masks) if path.stem in numbers
    }
    if not annotations:
        msg = f"No mask of {masks} has the name of a frame of {images}."
        raise EvaluationError(msg)
    return VideoSequence(images.name, frames, annotations, layout)
