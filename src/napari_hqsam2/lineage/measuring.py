"""Where objects are and how large: centroids, areas and boxes, a plane at a time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_hqsam2.errors import LineageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.axes import StackAxes

    Integers = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

LETTERS = frozenset("TZYX")


class Span(NamedTuple):
    """First and last frame on which an object is."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class FrameObjects:
    """The N objects of one frame, an image or a volume (D is 2 or 3)."""

    ids: Integers
    """(N,) label values, ascending."""
    areas: Integers
    """(N,) numbers of pixels or voxels."""
    centroids: Floats
    """(N, D) means of the pixel indices, (z,) y, x."""
    boxes: Integers
    """(N, 2, D) first indices, and last ones plus one."""

    def index(self, obj_id: int) -> int | None:
        """Place of an object among the ids; None if it is not on the frame."""
        place = int(np.searchsorted(self.ids, obj_id))
        is_there = place < len(self.ids) and self.ids[place] == obj_id
        return place if is_there else None


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """All objects on all frames of a stack."""

    frames: tuple[FrameObjects, ...]
    """By frame along T; one if there is no T."""
    letters: str
    """Axes of a frame: "YX" or "ZYX"."""

    def with_frame(self, frame: int, objects: FrameObjects) -> ObjectTable:
        """The same with another content of one frame."""
        before, after = self.frames[:frame], self.frames[frame + 1 :]
        return replace(self, frames=(*before, objects, *after))

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Ids of all objects, ascending."""
        return tuple(self.presence())

    def presence(self) -> dict[int, list[int]]:
        """Frames on which each object is, ascending, by id."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for frame, objects in enumerate(self.frames):
            for obj_id in objects.ids.tolist():
                found[obj_id].append(frame)
        return dict(sorted(found.items()))

    def spans(self) -> dict[int, Span]:
        """First and last frame of each object."""
        found = self.presence()
        return {obj_id: Span(frames[0], frames[-1]) for obj_id, frames in found.items()}


def check_letters(axes: StackAxes) -> None:
    """Refuse axes that are neither time nor space.

    Raises
    ------
    LineageError
        There is another axis than T, Z, Y and X, or Y and X are not the last ones.
    """
    if set(axes.letters) <= LETTERS and axes.letters.endswith("YX"):
        return
    msg = (
        f"Objects are measured and exchanged with axes YX, ZYX, TYX or TZYX, got "
        f"{axes.letters} ({axes.described}). Take one position or channel at a time, "
        "and put Y and X last."
    )
    raise LineageError(msg)


def num_times(axes: StackAxes) -> int:
    """Number of frames along T; one if there is no T."""
    return axes.length("T") if "T" in axes.letters else 1


def planes(axes: StackAxes, time: int) -> Iterator[tuple[int, ...]]:
    """Indices of the (Y, X) planes of a time, by depth."""
    for depth in range(axes.length("Z") if "Z" in axes.letters else 1):
        place = {"T": time, "Z": depth}
        yield tuple(place[letter] for letter in axes.leading)


def read_time(labels: Any, axes: StackAxes, time: int) -> LabelArray:
    """(Y, X) or (Z, Y, X) labels of a time."""
    read = [np.asarray(labels[position]) for position in planes(axes, time)]
    return np.stack(read) if "Z" in axes.letters else read[0]


def measure_time(labels: Any, axes: StackAxes, time: int) -> FrameObjects:
    """Measure the objects of one time; planes are read one after the other.

    Parameters
    ----------
    labels
        Integer array (NumPy, Zarr, Dask); 0 is background.
    axes
        Its axes: T, Z, Y and X.
    time
        Frame along T; 0 if there is no T.
    """
    read = (np.asarray(labels[position]) for position in planes(axes, time))
    return measure_planes(read, has_depth="Z" in axes.letters)


def measure(labels: Any, axes: StackAxes) -> ObjectTable:
    """Measure all objects; see `measure_time`.

    Raises
    ------
    LineageError
        There are other axes.
    """
    check_letters(axes)
    times = range(num_times(axes))
    frames = tuple(measure_time(labels, axes, time) for time in times)
    return ObjectTable(frames, "ZYX" if "Z" in axes.letters else "YX")


def measure_planes(labels: Iterable[LabelArray], *, has_depth: bool) -> FrameObjects:
    """Measure an image, or a volume plane by plane; labels below 1 are background."""
    parts = [plane_sums(plane, depth) for depth, plane in enumerate(labels)]
    return join_planes(parts, has_depth=has_depth)


def join_planes(parts: Sequence[Integers], *, has_depth: bool) -> FrameObjects:
    """Measures of a frame from the sums of its planes."""
    rows = np.concatenate([_NOTHING, *parts])[
        :, slice(None) if has_depth else _WITHOUT_DEPTH
    ]
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    ids, starts = np.unique(rows[:, 0], return_index=True)
    ndim = (rows.shape[1] - 2) // 3
    if not len(ids):
        empty = np.zeros((0, ndim))
        return FrameObjects(ids, ids, empty, np.zeros((0, 2, ndim), np.int64))
    areas = np.add.reduceat(rows[:, 1], starts)
    sums = np.add.reduceat(rows[:, 2 : 2 + ndim], starts)
    first = np.minimum.reduceat(rows[:, 2 + ndim : 2 + 2 * ndim], starts)
    last = np.maximum.reduceat(rows[:, 2 + 2 * ndim :], starts)
    boxes = np.stack([first, last + 1], axis=1)
    return FrameObjects(ids, areas, sums / areas[:, None], boxes)


_NOTHING: Integers = np.zeros((0, 11), np.int64)
_WITHOUT_DEPTH = [0, 1, 3, 4, 6, 7, 9, 10]
"""Columns of `plane_sums` apart from those of z."""


def plane_sums(plane: LabelArray, depth: int) -> Integers:
    """(N, 11) id, pixels, and for z, y, x: sums, smallest and largest indices."""
    values, y, x, lengths = _runs(plane)
    order = np.argsort(values, kind="stable")
    values, y, x, lengths = values[order], y[order], x[order], lengths[order]
    if not len(values):
        return _NOTHING
    starts = np.flatnonzero(np.diff(values, prepend=0))
    ends = np.append(starts[1:], len(values)) - 1
    z = np.full(len(starts), depth)
    counts = np.add.reduceat(lengths, starts)
    columns = [values[starts], counts, z * counts]
    columns += [
        np.add.reduceat(y * lengths, starts),
        np.add.reduceat(x * lengths + lengths * (lengths - 1) // 2, starts),
    ]
    # runs are in order of rows within each object
    columns += [z, y[starts], np.minimum.reduceat(x, starts)]
    columns += [z, y[ends], np.maximum.reduceat(x + lengths - 1, starts)]
    return np.stack(columns, axis=1)


def _runs(plane: LabelArray) -> tuple[Integers, Integers, Integers, Integers]:
    """Value, y, first x and length of the runs of one label along rows."""
    width = plane.shape[1]
    flat = np.ascontiguousarray(plane).ravel()
    is_last = np.ones(flat.size, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=is_last[:-1])
    is_last[width - 1 :: width] = True
    ends = np.flatnonzero(is_last) + 1
    lengths = np.diff(ends, prepend=0)
    starts = ends - lengths
    values = flat[starts].astype(np.int64)
    is_object = values > 0
    y, x = np.divmod(starts[is_object], width)
    return values[is_object], y, x, lengths[is_object]
