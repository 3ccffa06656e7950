"""Folders of the Cell Tracking Challenge: label images, and a list of tracks.

The format is that of the challenge (http://celltrackingchallenge.net): a track has
pixels on every frame from its begin to its end, so that an object that leaves and comes
back is several tracks, each with the one before as its parent.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_hqsam2.errors import LineageError
from napari_hqsam2.files import atomic_folder
from napari_hqsam2.lineage.content import TrackedLabels, check_folder
from napari_hqsam2.lineage.divisions import make_division
from napari_hqsam2.lineage.measuring import num_times, read_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.lineage.divisions import Division

RESULT = ("res_track.txt", "mask")
TRUTH = ("man_track.txt", "man_track")
"""Name of the list, and beginning of the names of images."""
MOST_LABELS = 2**16 - 1
NUMBERED = re.compile(r"(\d+)\.tif$")


@dataclass(frozen=True, slots=True)
class CtcTrack:
    """A line of the list."""

    label: int
    begin: int
    end: int
    parent: int
    """Label of the track that it comes from; 0 for none."""


@dataclass(frozen=True, slots=True)
class CtcTracks:
    """Tracks, and the objects that they are parts of."""

    tracks: tuple[CtcTrack, ...]
    """Sorted by label."""
    objects: Mapping[int, int]
    """Object by label."""

    def labels_at(self, time: int) -> dict[int, int]:
        """Label by object on a frame."""
        return {
            self.objects[track.label]: track.label
            for track in self.tracks
            if track.begin <= time <= track.end
        }


def split_tracks(
    presence: Mapping[int, Sequence[int]], divisions: Iterable[Division]
) -> CtcTracks:
    """Tracks without gaps, with labels that are the objects' ids where that can be.

    Parameters
    ----------
    presence
        Frames of each object, ascending.
    divisions
        Checked ones.

    Raises
    ------
    LineageError
        There are more than 65,535 tracks.
    """
    runs = {obj_id: list(_runs(frames)) for obj_id, frames in presence.items()}
    free = _free_labels(presence.keys(), sum(map(len, runs.values())))
    labels = {
        obj_id: [
            obj_id if not n and obj_id <= MOST_LABELS else next(free)
            for n in range(len(parts))
        ]
        for obj_id, parts in runs.items()
    }
    mothers = {d: each.mother for each in divisions for d in each.daughters}
    tracks = []
    for obj_id, parts in runs.items():
        parent = labels[mothers[obj_id]][-1] if obj_id in mothers else 0
        for label, (begin, end) in zip(labels[obj_id], parts, strict=True):
            tracks.append(CtcTrack(label, begin, end, parent))
            parent = label
    objects = {label: obj_id for obj_id, found in labels.items() for label in found}
    return CtcTracks(tuple(sorted(tracks, key=lambda t: t.label)), objects)


def _runs(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last frames of the parts without gaps."""
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    for part in np.split(np.asarray(frames), breaks):
        yield int(part[0]), int(part[-1])


def _free_labels(taken: Iterable[int], count: int) -> Iterator[int]:
    if count > MOST_LABELS:
        msg = (
            f"There are {count} tracks; the Cell Tracking Challenge's format holds "
            f"{MOST_LABELS}. Export to GEFF instead, or fewer frames."
        )
        raise LineageError(msg)
    ids = set(taken)
    above = max((i for i in ids if i <= MOST_LABELS), default=0) + 1
    numbers = [*range(above, MOST_LABELS + 1), *range(1, above)]
    return (number for number in numbers if number not in ids)


def write_ctc(
    folder: Path,
    content: TrackedLabels,
    *,
    as_truth: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write label images and the list of tracks, all or nothing.

    Names and pixel sizes have no place in the format; ``provenance.json`` is ours.

    Parameters
    ----------
    folder
        To be made.
    content
        Labels and divisions. Ids above 65,535 get other labels.
    as_truth
        Name the files as in ``TRA`` folders of annotations instead of as in results.
    overwrite
        Replace a folder with such files.

    Raises
    ------
    LineageError
        Divisions are impossible, there are too many tracks, or the folder is in use.
    """
    list_name, prefix = TRUTH if as_truth else RESULT
    is_earlier = (folder / list_name).is_file()
    check_folder(folder, "CTC", is_earlier=is_earlier, overwrite=overwrite)
    content.lineage.check()
    split = split_tracks(content.table.presence(), content.divisions)
    axes = content.stack_axes
    times = num_times(axes)
    digits = max(3, len(str(times - 1)))
    with atomic_folder(folder) as new:
        for time in range(times):
            frame = _relabelled(
                read_time(content.labels, axes, time), split.labels_at(time)
            )
            tifffile.imwrite(
                new / f"{prefix}{time:0{digits}d}.tif",
                frame.astype(np.uint16),
                photometric="minisblack",
                compression="zlib",
            )
        lines = [f"{t.label} {t.begin} {t.end} {t.parent}\n" for t in split.tracks]
        (new / list_name).write_text("".join(lines), encoding="utf-8")
        if content.provenance:
            text = json.dumps(dict(content.provenance), indent=1)
            (new / "provenance.json").write_text(text, encoding="utf-8")
    return folder


def _relabelled(frame: LabelArray, new: Mapping[int, int]) -> LabelArray:
    """Labels with other values; those that have none become 0."""
    old = np.array([0, *sorted(new)], np.int64)
    values = np.array([0, *(new[i] for i in old[1:].tolist())], np.int64)
    places = np.searchsorted(old, frame).clip(max=len(old) - 1)
    found: LabelArray = np.where(old[places] == frame, values[places], 0)
    return found


def is_ctc(folder: Path) -> bool:
    """Whether a folder holds a list of tracks."""
    return any((folder / name).is_file() for name, _ in (RESULT, TRUTH))


def read_ctc(folder: Path) -> TrackedLabels:
    """Open a folder of the challenge: results, or annotations (``TRA``).

    A track whose parent has no other child and ended more than one frame earlier is the
    same object that came back.

    Parameters
    ----------
    folder
        With ``res_track.txt`` or ``man_track.txt`` and images.

    Returns
    -------
    TrackedLabels
        Its labels are read from the files, a frame at a time.

    Raises
    ------
    LineageError
        Files are missing or do not fit together.
    """
    for list_name, prefix in (RESULT, TRUTH):
        if (folder / list_name).is_file():
            tracks = read_track_list(folder / list_name)
            labels = FolderLabels(_images(folder, prefix), tracks)
            axes = "TYX" if labels.ndim == 3 else "TZYX"
            divisions = _divisions(tracks)
            return TrackedLabels(labels=labels, axes=axes, divisions=divisions)
    msg = (
        f"{folder} has no {RESULT[0]} and no {TRUTH[0]}. Give the folder that holds "
        "the list of tracks, such as 01_RES or 01_GT/TRA."
    )
    raise LineageError(msg)


def read_track_list(path: Path) -> CtcTracks:
    """Read a list of tracks, and find out which of them are one object.

    Raises
    ------
    LineageError
        A line is not four whole numbers, or tracks do not fit together.
    """
    tracks: dict[int, CtcTrack] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            track = CtcTrack(*map(int, line.split()))
        except (ValueError, TypeError) as error:
            msg = (
                f"Line {number} of {path.name} is {line!r}; it must be four whole "
                "numbers: label, first frame, last frame, parent (0 for none)."
            )
            raise LineageError(msg) from error
        if track.label < 1 or track.label in tracks or track.begin > track.end:
            msg = (
                f"Line {number} of {path.name} ({line!r}) repeats a label, has one "
                "below 1, or ends before it begins. Correct the list."
            )
            raise LineageError(msg)
        tracks[track.label] = track
    _check_parents(tracks, path)
    return CtcTracks(tuple(tracks[i] for i in sorted(tracks)), _rejoined(tracks))


def _check_parents(tracks: Mapping[int, CtcTrack], path: Path) -> None:
    for track in tracks.values():
        if not track.parent:
            continue
        parent = tracks.get(track.parent)
        if parent is None or parent.end >= track.begin:
            state = "is not listed" if parent is None else f"ends at {parent.end}"
            msg = (
                f"Track {track.label} of {path.name} begins at {track.begin}, but its "
                f"parent {track.parent} {state}. Correct the list."
            )
            raise LineageError(msg)


def _rejoined(tracks: Mapping[int, CtcTrack]) -> dict[int, int]:
    """Object by track: the label of its first track."""
    children = _children(tracks.values())
    objects: dict[int, int] = {}
    for track in sorted(tracks.values(), key=lambda track: track.begin):
        parent = tracks.get(track.parent)
        came_back = (
            parent is not None
            and len(children[parent.label]) == 1
            and track.begin > parent.end + 1
        )
        objects[track.label] = objects[track.parent] if came_back else track.label
    return objects


def _children(tracks: Iterable[CtcTrack]) -> defaultdict[int, list[CtcTrack]]:
    children: defaultdict[int, list[CtcTrack]] = defaultdict(list)
    for track in tracks:
        if track.parent:
            children[track.parent].append(track)
    return children


def _divisions(tracks: CtcTracks) -> tuple[Division, ...]:
    objects = tracks.objects
    return tuple(
        sorted(
            make_division(
                objects[parent],
                [track.label for track in found],
                min(track.begin for track in found),
            )
            for parent, found in _children(tracks.tracks).items()
            if objects[found[0].label] != objects[parent]
        )
    )


def _images(folder: Path, prefix: str) -> tuple[Path, ...]:
    found = {
        int(match[1]): path
        for path in folder.glob(f"{prefix}*.tif")
        if (match := NUMBERED.search(path.name))
    }
    if not found or sorted(found) != list(range(len(found))):
        msg = (
            f"The label images {prefix}*.tif of {folder} have the numbers "
            f"{sorted(found)[:5]}; they must begin with 0 and be complete."
        )
        raise LineageError(msg)
    return tuple(found[number] for number in sorted(found))


class FolderLabels:
    """Label images as one array of objects, read when asked for.

    Parameters
    ----------
    paths
        Images of the times, all of one shape.
    tracks
        Which object a label is.
    """

    def __init__(self, paths: Sequence[Path], tracks: CtcTracks) -> None:
        self._paths = paths
        self._objects = tracks.objects
        self._latest: tuple[int, LabelArray] | None = None
        self.shape = (len(paths), *tifffile.imread(paths[0]).shape)
        self.dtype = np.dtype(np.int32)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> LabelArray:
        """Part of one time: an index along T, then what NumPy takes."""
        time, *rest = key if isinstance(key, tuple) else (key,)
        if self._latest is None or self._latest[0] != time:
            self._latest = (time, self._read(self._paths[time]))
        part: LabelArray = self._latest[1][tuple(rest)]
        return part

    def _read(self, path: Path) -> LabelArray:
        frame = tifffile.imread(path)
        if frame.dtype.kind not in "iu" or frame.shape != self.shape[1:]:
            msg = (
                f"{path.name} is {frame.dtype} of shape {frame.shape}; label images "
                f"are whole numbers, here of shape {self.shape[1:]}."
            )
            raise LineageError(msg)
        strangers = set(np.unique(frame).tolist()) - {0, *self._objects}
        if strangers:
            msg = (
                f"{path.name} has labels {sorted(strangers)[:5]} that are not in the "
                "list of tracks. Correct the list."
            )
            raise LineageError(msg)
        return _relabelled(frame, self._objects).astype(np.int32)
