"""How much a run has to do, from what is known of the objects; nothing is read.

The frames are those of `session.anchors.RunPlan`, which needs a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.segmentation.courses import Course, Courses
from napari_hqsam2.weights.registry import get

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.rows import ObjectRow
    from napari_hqsam2.plugin.state import PluginState

Place = tuple[int, ...]
Starts = dict[int, dict[int, bool]]
"""By object, the frames of a line that a run may start from, and whether they are new
to it or have changed."""


@dataclass(frozen=True, slots=True)
class RunSize:
    """How much a run has to do."""

    frames: int
    """Different frames that it visits."""
    steps: int
    """Frames that it computes; those it meets both ways count twice."""
    objects: int
    is_most: bool = False
    """Whether it may turn out to be less."""


def run_size(
    axes: NamedAxes,
    state: PluginState,
    rows: Iterable[ObjectRow],
    here: Place | None = None,
) -> RunSize | None:
    """How much a run has to do with the present choices; None for nothing to follow.

    Parameters
    ----------
    axes
        Of the image.
    state
        Axes, direction, range, and whether only what changed is followed.
    rows
        Objects that are followed.
    here
        The frame on show, from which objects are handed on along a second axis.
    """
    if state.axis is None:
        return None
    index = axes.stack.leading.index(state.axis)
    span = range(*(state.frames or (0, axes.stack.length(state.axis))))
    lines = _lines(rows, state.axis, index, span)
    frames = steps = 0
    objects: set[int] = set()
    for starts in lines.values():
        visited: set[int] = set()
        for ways in _ways(starts, span, state):
            visited.update(ways.told(reverse=False), ways.told(reverse=True))
            steps += ways.num_steps
            objects.update(ways.spans(reverse=False))
        frames += len(visited)
    if state.then_axis is None:
        return RunSize(frames, steps, len(objects)) if steps else None
    if here is None or (*here[:index], *here[index + 1 :]) not in lines:
        return None
    more = len(span) * axes.stack.length(state.then_axis)
    objects.update(*lines.values())
    return RunSize(frames + more, steps + more, len(objects), is_most=True)


def _lines(
    rows: Iterable[ObjectRow], axis: str, index: int, span: range
) -> dict[Place, Starts]:
    """What runs start from, by place along the other axes."""
    lines: dict[Place, Starts] = {}
    for row in rows:
        for place in row.starts:
            if place[index] in span:
                line = lines.setdefault((*place[:index], *place[index + 1 :]), {})
                is_changed = (axis, place) in row.changed
                line.setdefault(row.obj_id, {})[place[index]] = is_changed
    return lines


def _ways(starts: Starts, span: range, state: PluginState) -> Iterator[Courses]:
    """Parts of a run along a line."""
    whole = {
        obj_id: frames
        for obj_id, frames in starts.items()
        if not state.only_changed or all(frames.values())
    }
    if whole:
        yield Courses(
            {
                k: _course(state, span, min(frames), frames)
                for k, frames in whole.items()
            }
        )
    parts: dict[int, dict[int, Course]] = {}
    for obj_id in starts.keys() - whole.keys():
        frames = starts[obj_id]
        for frame in (frame for frame, is_changed in frames.items() if is_changed):
            between = _between(frame, frames, span)
            course = _course(state, between, frame, frames)
            parts.setdefault(frame, {})[obj_id] = course
    yield from map(Courses, parts.values())


def _course(
    state: PluginState, span: range, first: int, known: Iterable[int]
) -> Course:
    is_two_sided = get(state.model).two_sided and state.tracking == "exact"
    return Course.of(span, first, known, state.direction, two_sided=is_two_sided)


def _between(frame: int, others: Iterable[int], span: range) -> range:
    """Frames from the start before to the one after, both left out."""
    before = [other + 1 for other in others if other < frame]
    after = [other for other in others if other > frame]
    return range(max(before, default=span.start), min(after, default=span.stop))
