"""From a session to what the widget shows of it; in the thread of the session."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.plugin.label_areas import LabelAreas, is_of_labels
from napari_hqsam2.plugin.rows import ObjectRow, Timeline, TimelineFrame
from napari_hqsam2.plugin.saving import SavingNews
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.prompt_values import Pair, PairPrompts
    from napari_hqsam2.session.disputes import Dispute
    from napari_hqsam2.session.doubts import Doubt
    from napari_hqsam2.session.records import FrameScores, Position, TrackedObject
    from napari_hqsam2.session.session import Session

DOUBTS = {
    "no numbers": "the model gave no numbers, and follows it no further",
    "lost": "the object is gone",
    "jump": "it jumps to another place",
    "leak": "it grows suddenly",
    "shrunk": "it shrinks suddenly",
    "low score": "the model is not sure",
}
BUDGET = 0.03
"""Seconds for rows before other tasks may come first."""
NOTHING = TimelineFrame()
_GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Line:
    """Frames of a timeline."""

    obj_id: int
    axis: str
    position: Position
    """Place along all other axes; 0 along the axis itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """What has changed in a session."""

    rows: Mapping[int, ObjectRow | None] = field(default_factory=dict)
    """Rows by object, their colours still grey; None for objects that are gone."""
    line: Line | None = None
    """What the timeline is of."""
    timeline: Timeline | None = None
    position: Position | None = None
    """The frame on show when this was asked for."""
    scores: tuple[FrameScores, ...] = ()
    """Of all objects on that frame."""
    disputes: tuple[Dispute, ...] = ()
    """Pixels that wait for somebody to say whose they are."""
    whereabouts: str = ""
    """Where the model computes, and the memory there."""
    oddity: str = ""
    """What is odd about that frame, as of `Session.oddity`."""
    undo_name: str = ""
    redo_name: str = ""
    is_complete: bool = True
    """Whether nothing else has changed."""
    saving: str = ""
    """What must be told of a folder that every change is saved in."""
    refused: Mapping[Pair, PairPrompts | None] = field(default_factory=dict)
    """Prompts that hold where others were drawn in vain; None for no prompts."""


class Reporter:
    """Follows a session and puts into rows what has changed, a little at a time.

    Parameters
    ----------
    session
        Followed as long as it lives.
    axes
        Of its stack.
    """

    def __init__(self, session: Session, axes: NamedAxes) -> None:
        self._session = session
        self._saving = SavingNews(session)
        self._axes = axes
        self._dirty: set[int] = set(session.obj_ids)
        self._areas = LabelAreas(session)
        self._locked: dict[int, set[Position]] = {}
        """Accepted frames by object, as far as they have changed."""
        self._line: Line | None = None
        self._timeline: Timeline | None = None
        self._disputes: tuple[Dispute, ...] = ()
        session.events.history.connect(self._on_step)
        for signal in ("objects", "prompts", "scores"):
            getattr(session.events, signal).connect(self._on_changed)
        session.events.prompts.connect(self._on_prompts)

    def report(self, line: Line | None, position: Position | None = None) -> Report:
        """Say what has changed, the object of `line` first; in a short time.

        Parameters
        ----------
        line
            Frames of the timeline.
        position
            A frame whose scores are told.
        """
        session, until = self._session, time.monotonic() + BUDGET
        is_same = line == self._line and self._timeline is not None
        if line is not None and not (is_same and line.obj_id not in self._dirty):
            is_known = line.obj_id in session.obj_ids
            self._timeline = self._make_timeline(line) if is_known else None
        self._line = line
        items = {item.obj_id: item for item in session.objects()}
        rows: dict[int, ObjectRow | None] = {}
        current = -1 if line is None else line.obj_id
        for obj_id in sorted(self._dirty, key=lambda i: (i != current, i)):
            rows[obj_id] = self._row(items[obj_id]) if obj_id in items else None
            if time.monotonic() > until:
                break
        self._dirty -= rows.keys()
        if not self._dirty:
            self._dirty |= self._areas.count(until) & items.keys()
        undo, redo = session.undo_names, session.redo_names
        return Report(
            rows,
            line,
            None if line is None else self._timeline,
            position,
            () if position is None else session.scores_on(position),
            self._disputes,
            oddity="" if position is None else session.oddity(position),
            undo_name=undo[0] if undo else "",
            redo_name=redo[0] if redo else "",
            is_complete=not self._dirty and self._areas.is_complete,
            saving=self._saving.take(),
        )

    def _on_step(self) -> None:
        self._disputes = self._session.disputes()

    def _on_changed(self, obj_ids: tuple[int, ...]) -> None:
        self._dirty.update(obj_ids)

    def _on_prompts(self, obj_ids: tuple[int, ...]) -> None:
        """Count again what was painted and accepted, or is so no more."""
        known = set(self._session.obj_ids)
        for obj_id in obj_ids:
            now = set(self._session.locked(obj_id)) if obj_id in known else set()
            for position in now ^ self._locked.pop(obj_id, set()):
                self._areas.forget(position)
            if now:
                self._locked[obj_id] = now

    def _row(self, item: TrackedObject) -> ObjectRow:
        session, obj_id = self._session, item.obj_id
        if is_of_labels(session, obj_id):
            self._areas.need(np.ndindex(*self._axes.stack.leading_shape))
        seen = [scores for scores in session.scores(obj_id) if scores.area]
        placed = session.prompts(obj_id)
        places = [scores.position for scores in seen]
        places += self._elsewhere(obj_id)
        return ObjectRow(
            obj_id,
            item.name,
            _GREY,
            _span(self._axes, places),
            len(places),
            tuple(
                sorted(
                    (d.position, DOUBTS[d.reason]) for d in session.doubtful([obj_id])
                )
            ),
            len(session.locked(obj_id)),
            item.is_hidden,
            (
                sum(len(each.points) for each in placed),
                sum(each.box is not None for each in placed),
                sum(each.mask is not None for each in placed),
            ),
            fmean(map(_confidence, seen)) if seen else None,
            item.hq_mode,
            frozenset((*(each.position for each in placed), *session.locked(obj_id))),
            frozenset(self._changed(obj_id)),
        )

    def _changed(self, obj_id: int) -> Iterator[tuple[str, Position]]:
        """Axes and starts that no run has taken into account, as of `ObjectRow`."""
        session = self._session
        known = {item.position: item for item in session.scores(obj_id)}
        keys = {item.position: item.key for item in session.prompts(obj_id)}
        locked = set(session.locked(obj_id))
        for place in keys.keys() | locked:
            item, followed = known.get(place), ""
            if item is not None and place in locked:
                pixels = session.labels[place] == obj_id
                is_same = item.mask_key == PackedMask.of(pixels).key
                followed = item.followed if is_same else ""
            elif item is not None and item.prompts_key == keys[place]:
                followed = item.followed
            for letter in self._axes.stack.leading:
                if letter not in followed:
                    yield letter, place

    def _elsewhere(self, obj_id: int) -> dict[Position, int]:
        """Frames that show an object without a result of it, with its pixels there.

        It was painted and accepted, or was in the labels before.
        """
        session = self._session
        known = {item.position for item in session.scores(obj_id)}
        areas = dict(self._areas.of(obj_id))
        for place in set(session.locked(obj_id)) - known:
            areas[place] = int((session.labels[place] == obj_id).sum())
        return {p: area for p, area in areas.items() if area and p not in known}

    def _make_timeline(self, line: Line) -> Timeline | None:
        letters = self._axes.stack.leading
        if line.axis not in tuple(letters):
            return None
        index, session = letters.index(line.axis), self._session
        frames = [NOTHING] * self._axes.stack.length(line.axis)

        def is_here(place: Position) -> bool:
            others = (*place[:index], *place[index + 1 :])
            return others == (*line.position[:index], *line.position[index + 1 :])

        locked = set(filter(is_here, session.locked(line.obj_id)))
        doubts = {d.position: d for d in session.doubtful([line.obj_id])}
        for item in session.scores(line.obj_id):
            if is_here(item.position):
                place = item.position
                frames[place[index]] = _frame(item, doubts.get(place), place in locked)
        for place, area in self._elsewhere(line.obj_id).items():
            if is_here(place):
                frames[place[index]] = _painted(area, place in locked)
        if all(frame is NOTHING for frame in frames):
            return None
        return Timeline(line.axis, line.position[index], tuple(frames))


def _confidence(item: FrameScores) -> float:
    """How sure the model is that the object is in view and its mask right, 0 to 1."""
    in_view = 1 / (1 + math.exp(-max(-50.0, min(item.object_score, 50.0))))
    return max(0.0, min(1.0, in_view * item.iou_score))


def _frame(item: FrameScores, doubt: Doubt | None, is_locked: bool) -> TimelineFrame:
    return TimelineFrame(
        item.area,
        _confidence(item),
        item.source,
        is_locked,
        DOUBTS[doubt.reason] if doubt is not None else "",
    )


def _painted(area: int, is_locked: bool) -> TimelineFrame:
    """A frame that no result is known of."""
    if is_locked:
        return TimelineFrame(area, 1.0, "mask", is_locked=True)
    return TimelineFrame(area, None, "label")


def _span(axes: NamedAxes, places: Iterable[Position]) -> str:
    """Frames in words: "T 3 to 41", of each axis."""
    words = []
    columns = zip(*places, strict=True)
    for letter, column in zip(axes.stack.leading, columns, strict=False):
        first, last = min(column), max(column)
        end = "" if first == last else f" to {last}"
        words.append(axes.with_value(letter, f"{first}{end}"))
    return ", ".join(words)
