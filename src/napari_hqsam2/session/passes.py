"""Passes of a run over its frames: several as one, and who leaves one early."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from napari_hqsam2.segmentation.frame_objects import FrameObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_hqsam2.segmentation.both_sides import Frames


def side_by_side(runs: Iterable[Callable[..., Frames]], *, reverse: bool) -> Frames:
    """Passes over the same frames as one, so that each frame is encoded once."""
    passes = [run(reverse=reverse) for run in runs]
    nearest = max if reverse else min
    heads = [(each, next(each, None)) for each in passes]
    while waiting := [(each, head) for each, head in heads if head is not None]:
        frame = nearest(head[0] for _, head in waiting)
        parts = [head[1].parts for _, head in waiting if head[0] == frame]
        yield frame, FrameObjects(tuple(chain.from_iterable(parts)))
        heads = [
            (each, next(each, None) if head[0] == frame else head)
            for each, head in waiting
        ]


class Watch:
    """Says which objects leave a run: those that were lost.

    Parameters
    ----------
    most
        Frames in a row without an object after which it leaves; None is never.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._empty: dict[int, int] = {}

    def restart(self) -> None:
        """Begin a pass."""
        self._empty.clear()

    def left(self, objects: FrameObjects) -> list[int]:
        """Objects of a frame that are not to be looked for any more."""
        leaving = []
        for obj_id, empty in objects.empty.items():
            self._empty[obj_id] = self._empty.get(obj_id, 0) + 1 if empty else 0
            if self._most is not None and self._empty[obj_id] >= self._most:
                leaving.append(obj_id)
        return leaving
