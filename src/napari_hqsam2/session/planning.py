"""From what is asked of a run to the lines, frames and anchors of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_hqsam2.errors import PromptError
from napari_hqsam2.segmentation.prompt_groups import check_positive, resolve_frames
from napari_hqsam2.session.anchors import (
    Anchor,
    RunPlan,
    changed_runs,
    find_anchors,
    seed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hqsam2.session.label_store import LabelStore
    from napari_hqsam2.session.records import Position, Records, Table
    from napari_hqsam2.session.settings import RunSettings
    from napari_hqsam2.session.stacks import Line, SessionStack


def plan_runs(
    stack: SessionStack,
    records: Records,
    labels: LabelStore,
    axis: str,
    settings: RunSettings,
) -> list[RunPlan]:
    """Runs along all lines that are asked for; none if nothing has changed.

    Parameters
    ----------
    stack, records, labels
        Of the session.
    axis
        Letter of the axis to follow objects along.
    settings
        What is asked for.

    Raises
    ------
    StackError
        The axis has no such frames.
    PromptError
        No object has anything to start from, or one has negative points only.
    """
    frames = resolve_frames(settings.frames, stack.axes, axis)
    _check_start(settings.start, frames, axis)
    obj_ids = records.obj_ids if settings.objects is None else tuple(settings.objects)
    plans: list[RunPlan] = []
    has_anchors = False
    for line in _lines(stack, records, axis, settings, obj_ids):
        anchors = [
            anchor
            for obj_id in obj_ids
            for anchor in _anchors(records, labels, line, frames, settings, obj_id)
        ]
        if not anchors:
            continue
        has_anchors = True
        whole = RunPlan(
            line, frames, settings.direction, tuple(anchors), settings.start
        )
        plans += changed_runs(whole, records) if settings.only_changed else [whole]
    if not has_anchors:
        raise PromptError(_nothing(settings, axis, frames))
    return plans


def corrections_to_segment(
    records: Records, plans: Iterable[RunPlan]
) -> dict[Position, list[int]]:
    """Frames of runs whose corrections the labels do not show yet, with the objects."""
    found: dict[Position, list[int]] = {}
    for plan in plans:
        for obj_id in plan.first_frames():
            for position, record in records.prompts.of(obj_id).items():
                scores = records.scores.get(obj_id, position)
                is_shown = scores is not None and scores.prompts_key == record.key
                is_locked = records.locks.get(obj_id, position)
                if record.corrected is None or is_shown or is_locked:
                    continue
                if position in plan.line and plan.line.frame(position) in plan.frames:
                    found.setdefault(position, []).append(obj_id)
    return dict(sorted(found.items()))


def _check_start(start: int | None, frames: range, axis: str) -> None:
    if start is not None and start not in frames:
        msg = (
            f"start={start} lies outside the frames {axis}={frames.start} to "
            f"{frames.stop - 1} of this run."
        )
        raise PromptError(msg)


def _lines(
    stack: SessionStack,
    records: Records,
    axis: str,
    settings: RunSettings,
    obj_ids: Sequence[int],
) -> list[Line]:
    if settings.at is not None:
        return [stack.line(stack.position(settings.at), axis)]
    if len(stack.axes.leading) == 1:
        return [stack.line((0,), axis)]
    tables: list[Table[Any]] = [records.prompts, records.locks]
    if settings.start is not None:
        tables.append(records.scores)
    lines = {
        stack.line(position, axis)
        for obj_id in obj_ids
        for table in tables
        for position in table.of(obj_id)
    }
    return sorted(lines, key=lambda line: line.origin)


def _anchors(
    records: Records,
    labels: LabelStore,
    line: Line,
    frames: range,
    settings: RunSettings,
    obj_id: int,
) -> list[Anchor]:
    """Anchors of an object that takes part; none if it has nothing to start from."""
    anchors = find_anchors(records, labels, line, frames, obj_id)
    start = settings.start
    if start is not None and all(anchor.frame != start for anchor in anchors):
        new = seed(labels, line, start, obj_id)
        anchors = [] if new is None else [*anchors, new]
    if anchors and all(anchor.mask is None for anchor in anchors):
        check_positive(a.clicks for a in anchors if a.clicks is not None)
    return anchors


def _nothing(settings: RunSettings, axis: str, frames: range) -> str:
    where = f"{axis}={frames.start} to {frames.stop - 1}"
    if settings.at is not None:
        where += f" of the line through {settings.at}"
    if settings.start is not None:
        return (
            f"The labels show none of the objects at {axis}={settings.start}; prompt "
            "and segment them there first."
        )
    return (
        f"No object has a prompt or a locked frame on {where}; add a point, a box or a "
        "mask there."
    )
