"""Where the Cell Tracking Challenge keeps its images, tracks and results."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.label_files import read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hqsam2._types import BoolArray, LabelArray

SEQUENCE = re.compile(r"\d\d")
NUMBER = re.compile(r"(\d+)\.tif$")
TRACK_LIST = "man_track.txt"
RESULT_LIST = "res_track.txt"
MOST_LABELS = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Track:
    """One line of a list of tracks."""

    label: int
    begin: int
    end: int
    parent: int
    """Track that it comes from; 0 for none."""


@dataclass(frozen=True, slots=True)
class CtcSequence:
    """One time-lapse with its tracks."""

    name: str
    frames: tuple[Path, ...]
    """Images; the n-th shows time n."""
    truth: Path
    """Folder with ``TRA`` and ``SEG``."""
    tracks: tuple[Track, ...]
    markers: Mapping[int, Path] = field(repr=False)
    """Label images of the tracks by time."""
    gold: Mapping[int, Path] = field(repr=False)
    """Label images of true masks by time; not of all times, nor of all cells."""
    silver: Mapping[int, Path] = field(repr=False)
    """Label images of computed masks by time, where there are any."""

    def first_mask(self, track: Track) -> tuple[BoolArray, bool]:
        """(H, W) mask of a track at its begin, and whether it is a mask or a marker."""
        marker = read_labels(self.markers[track.begin]) == track.label
        if not marker.any():
            msg = (
                f"{self.markers[track.begin]} lacks the track {track.label}, which "
                f"begins there according to {TRACK_LIST}."
            )
            raise EvaluationError(msg)
        for masks in (self.silver, self.gold):
            if track.begin in masks:
                labels = read_labels(masks[track.begin])
                values, counts = np.unique(labels[marker], return_counts=True)
                value = values[counts.argmax()]
                if value and 2 * counts.max() > np.count_nonzero(marker):
                    return labels == value, True
        return marker, False


def find_ctc_sequences(folder: Path) -> list[CtcSequence]:
    """Sequences of a data set that lies in a folder as it was published.

    Parameters
    ----------
    folder : Path
        With ``01``, ``01_GT/TRA``, ``01_GT/SEG`` and, for masks of all cells,
        ``01_ST/SEG``.

    Raises
    ------
    EvaluationError
        The folder is not laid out like this.
    """
    names = sorted(
        path.name.removesuffix("_GT")
        for path in folder.glob("*_GT")
        if SEQUENCE.fullmatch(path.name.removesuffix("_GT"))
    )
    if not names:
        msg = (
            f"{folder} holds no sequence with truth; the Cell Tracking Challenge calls "
            "them 01 and 01_GT."
        )
        raise EvaluationError(msg)
    return [_sequence(folder, name) for name in names]


def _sequence(folder: Path, name: str) -> CtcSequence:
    truth = folder / f"{name}_GT"
    frames = _numbered(folder / name)
    if list(frames) != list(range(len(frames))) or not frames:
        msg = (
            f"The images of {folder / name} have the numbers {list(frames)[:3]}, ...; "
            "they must begin with 0 and be complete."
        )
        raise EvaluationError(msg)
    markers = _numbered(truth / "TRA")
    if list(markers) != list(frames):
        msg = f"{truth / 'TRA'} has {len(markers)} label images, {name} {len(frames)}."
        raise EvaluationError(msg)
    with tifffile.TiffFile(frames[0]) as tiff:
        shape = tiff.series[0].shape
    if len(shape) != 2:
        msg = (
            f"The images of {folder / name} have shape {shape}; sequences of 2D images "
            "only can be followed. For single volumes use --layout volumes."
        )
        raise EvaluationError(msg)
    tracks = read_tracks(truth / "TRA" / TRACK_LIST)
    for track in tracks:
        if track.begin not in markers:
            msg = (
                f"{truth / 'TRA' / TRACK_LIST}: the track {track.label} begins at time "
                f"{track.begin}, but there are times 0 to {len(markers) - 1} only."
            )
            raise EvaluationError(msg)
    return CtcSequence(
        name,
        tuple(frames.values()),
        truth,
        tracks,
        markers,
        _numbered(truth / "SEG"),
        _numbered(folder / f"{name}_ST" / "SEG"),
    )


def _numbered(folder: Path) -> dict[int, Path]:
    """TIFF files of a folder by the number at the end of their names."""
    found = {}
    for path in folder.glob("*.tif"):
        match = NUMBER.search(path.name)
        if match:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def read_tracks(path: Path) -> tuple[Track, ...]:
    """Read a list of tracks: lines of label, begin, end and parent.

    Raises
    ------
    EvaluationError
        The list is missing or has other lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(Track(*map(int, line.split())) for line in lines if line.strip())
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path} is not a list of tracks (label, begin, end, parent): {error}"
        raise EvaluationError(msg) from error


class ResultWriter:
    """Writes label images and tracks as the challenge wants them.

    A cell that is lost and found again becomes a new track that comes from the old one.

    Parameters
    ----------
    folder : Path
        It exists.
    sequence : CtcSequence
        Names files and parents.
    """

    def __init__(self, folder: Path, sequence: CtcSequence) -> None:
        self._folder = folder
        self._frames = sequence.frames
        self._parents = {track.label: track.parent for track in sequence.tracks}
        self._next_label = max(self._parents, default=0) + 1
        self._current: dict[int, int] = {}
        """Label that each cell has in the result now."""
        self._tracks: dict[int, Track] = {}

    def add(self, time: int, labels: LabelArray) -> None:
        """Write the (H, W) labels of the next time."""
        table = np.zeros(max(int(labels.max(initial=0)), 1) + 1, np.uint16)
        for value in np.unique(labels[labels > 0]):
            table[value] = self._label_of(int(value), time)
        digits = NUMBER.search(self._frames[time].name)
        name = f"mask{digits[1] if digits else time}.tif"
        tifffile.imwrite(self._folder / name, table[labels], compression="zlib")

    def _label_of(self, cell: int, time: int) -> int:
        label = self._current.get(cell)
        if label is not None and self._tracks[label].end == time - 1:
            old = self._tracks[label]
            self._tracks[label] = Track(label, old.begin, time, old.parent)
            return label
        parent = label or self._current.get(self._parents.get(cell, 0), 0)
        label = cell if label is None else self._new_label()
        self._current[cell] = label
        self._tracks[label] = Track(label, time, time, parent)
        return label

    def _new_label(self) -> int:
        label = self._next_label
        if label > MOST_LABELS:
            msg = f"The result has more than {MOST_LABELS} tracks, too many to write."
            raise EvaluationError(msg)
        self._next_label += 1
        return label

    def finish(self) -> None:
        """Write the list of tracks."""
        lines = [
            f"{track.label} {track.begin} {track.end} {track.parent}\n"
            for track in sorted(self._tracks.values(), key=lambda track: track.label)
        ]
        path = self._folder / RESULT_LIST
        path.write_text("".join(lines), encoding="utf-8")
