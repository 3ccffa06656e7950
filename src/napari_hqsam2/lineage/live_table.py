"""Objects of labels that change: only what changed is measured again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.lineage.measuring import (
    ObjectTable,
    check_letters,
    join_planes,
    num_times,
    plane_sums,
    planes,
)

if TYPE_CHECKING:
    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.lineage.measuring import FrameObjects, Integers


class LiveTable:
    """An `ObjectTable` that is kept in step, plane by plane; for any thread.

    Parameters
    ----------
    axes
        Of the labels: T, Z, Y and X. Before a plane is put it counts as empty.

    Raises
    ------
    LineageError
        There are other axes.
    """

    def __init__(self, axes: StackAxes) -> None:
        check_letters(axes)
        self.axes = axes
        self._has_depth = "Z" in axes.letters
        self._sums: dict[tuple[int, ...], Integers] = {}
        self._frames: dict[int, FrameObjects] = {}
        self._lock = threading.Lock()
        self.version = 0
        """Counts the changes of what is measured."""

    def put(self, position: tuple[int, ...], plane: LabelArray) -> None:
        """Take over the (Y, X) labels at a position of the leading axes."""
        place = dict(zip(self.axes.leading, position, strict=True))
        sums = plane_sums(plane, place.get("Z", 0))
        with self._lock:
            before = self._sums.get(position)
            self._sums[position] = sums
            if before is None or not np.array_equal(before, sums):
                self._frames.pop(place.get("T", 0), None)
                self.version += 1

    def missing(self) -> list[tuple[int, ...]]:
        """Positions of planes that were never put, in order."""
        times = range(num_times(self.axes))
        everywhere = [place for time in times for place in planes(self.axes, time)]
        with self._lock:
            return [place for place in everywhere if place not in self._sums]

    def table(self) -> ObjectTable:
        """The objects as they are now."""
        with self._lock:
            for time in range(num_times(self.axes)):
                if time not in self._frames:
                    self._frames[time] = self._joined(time)
            frames = tuple(self._frames[t] for t in range(num_times(self.axes)))
        return ObjectTable(frames, "ZYX" if self._has_depth else "YX")

    def _joined(self, time: int) -> FrameObjects:
        places = [place for place in planes(self.axes, time) if place in self._sums]
        parts = [self._sums[place] for place in places]
        return join_planes(parts, has_depth=self._has_depth)
