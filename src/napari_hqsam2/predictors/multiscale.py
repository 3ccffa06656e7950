"""Stacks that are there at several resolutions, and reading no more than is seen."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.axes import known_shape
from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import HW, AnyArray
    from napari_hqsam2.predictors.array_source import ArrayFrameSource, ArrayLike

MARGIN = 2
"""A level is fine enough if it has so many pixels for each one that the model sees:
resizing is as good as from the finest, and no edge is off by more than half a pixel."""


class Multiscale:
    """Levels of one stack with the face of the finest.

    All coordinates, prompts and labels are those of the finest level. Where the model
    is shown much of a frame at once, a coarser one is read.

    Parameters
    ----------
    levels
        Arrays (NumPy, Dask, Zarr, ...), the finest first, as ``layer.data`` of a
        multiscale layer of napari.

    Raises
    ------
    StackError
        There is none, or they are not ordered from fine to coarse.

    Examples
    --------
    >>> fine = np.zeros((3, 4096, 4096), np.uint16)
    >>> stack = Multiscale([fine, fine[:, ::4, ::4]])
    >>> stack.shape
    (3, 4096, 4096)
    """

    def __init__(self, levels: Sequence[ArrayLike]) -> None:
        self.levels = tuple(levels)
        shapes = [known_shape(level.shape) for level in self.levels]
        if not shapes or not all(
            len(fine) == len(coarse) and all(map(int.__ge__, fine, coarse))
            for fine, coarse in pairwise(shapes)
        ):
            msg = (
                f"The levels have shapes {shapes}; give at least one, the finest first "
                "and each no larger than the one before, with the same axes."
            )
            raise StackError(msg)
        self.shape = shapes[0]
        self.ndim = len(self.shape)
        self.dtype = self.levels[0].dtype

    def __getitem__(self, key: Any, /) -> Any:
        """Return a part of the finest level."""
        return self.levels[0][key]

    def of_frames(self, letters: str) -> tuple[ArrayLike, ...]:
        """Levels that differ from the finest in height and width alone."""
        kept = [i for i, letter in enumerate(letters) if letter not in "YX"]
        return tuple(
            level
            for level in self.levels
            if np.dtype(level.dtype) == np.dtype(self.dtype)
            and all(int(level.shape[i]) == self.shape[i] for i in kept)
        )


class LevelSource:
    """Frames at several resolutions; a `FrameSource` of the finest.

    Parameters
    ----------
    sources
        The same frames, the finest first.
    """

    def __init__(self, sources: Sequence[ArrayFrameSource]) -> None:
        self._sources = tuple(sources)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._sources[0])

    @property
    def hw(self) -> HW:
        """Height and width of a frame of the finest level in pixels."""
        return self._sources[0].hw

    def read(self, index: int) -> AnyArray:
        """Read frame `index` of the finest level."""
        return self._sources[0].read(index)

    def read_part(self, index: int, window: tuple[slice, slice]) -> AnyArray:
        """Read a window of a frame of the finest level."""
        return self._sources[0].read_part(index, window)

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        """Read a window from the coarsest level that shows all of it; see `read_seen`.

        Rows and columns are those of the finest level.
        """
        height, width = self.hw
        rows, columns = window or (slice(0, height), slice(0, width))
        lengths = (rows.stop - rows.start, columns.stop - columns.start)
        for source in reversed(self._sources):
            steps = [own / full for own, full in zip(source.hw, self.hw, strict=True)]
            if all(
                length * step >= min(length, MARGIN * side)
                for length, step in zip(lengths, steps, strict=True)
            ):
                break
        if window is None:
            return source.read(index)
        y, x = (
            slice(
                math.floor(part.start * own / full),
                min(math.ceil(part.stop * own / full), own),
            )
            for part, own, full in zip(window, source.hw, self.hw, strict=True)
        )
        return source.read_part(index, (y, x))
