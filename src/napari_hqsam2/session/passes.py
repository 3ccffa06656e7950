"""Passes of a run over its frames: several as one, and who leaves one early."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from napari_hqsam2.segmentation.frame_objects import FrameObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_hqsam2.session.anchors import RunPlan

Frames: TypeAlias = "Iterator[tuple[int, FrameObjects]]"
"""Frames in the order of processing, and the objects there."""


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
    """Says which objects leave a run."""

    def __init__(self, plan: RunPlan, stop_after_empty: int | None) -> None:
        self._plan = plan
        self._most = stop_after_empty
        self._empty: dict[int, int] = {}

    def restart(self) -> None:
        """Begin a pass."""
        self._empty.clear()

    def left(self, following: int, objects: FrameObjects) -> list[int]:
        """Objects of a frame that are not to be looked for on the following one."""
        leaving = []
        for obj_id, empty in objects.empty.items():
            self._empty[obj_id] = self._empty.get(obj_id, 0) + 1 if empty else 0
            is_lost = self._most is not None and self._empty[obj_id] >= self._most
            if is_lost or not self._plan.may_visit(obj_id, following):
                leaving.append(obj_id)
        return leaving
