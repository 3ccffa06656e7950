"""Where a track may be wrong, from scores and sizes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_hqsam2.session.records import FrameScores, Position

Reason: TypeAlias = Literal["no numbers", "lost", "jump", "leak", "shrunk", "low score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtLimits:
    """From where on a frame is doubtful."""

    object_score: float = 0.0
    """Logits below this count as a low score: the object may not be in view."""
    iou_score: float = 0.5
    """Predicted IoU below this counts as a low score."""
    jump: float = 1.0
    """Jumps of the centroid above this many diameters of the object, taken as a disc,
    may be another object."""
    growth: float = 2.0
    """An area so many times as large as on the frame before may be a leak."""
    share: float = 0.4
    """An area above this share of the frame may be a leak, however slowly it has grown;
    not of objects that were prompted at such a size."""
    shrinkage: float = 0.4
    """An area below this share of the one before may be a part of the object."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A frame to look at."""

    position: Position
    obj_id: int
    reason: Reason
    value: float
    """What exceeds its limit: the score, the jump in diameters, the ratio of areas, the
    share of the frame; 0 pixels where the object was lost; NaN where the model gave no
    numbers, and followed the object no further."""


def with_changes(
    scores: Mapping[Position, FrameScores], letters: str, default_axis: str
) -> tuple[FrameScores, ...]:
    """Scores of one object with jump and area ratio, sorted by position.

    Parameters
    ----------
    scores
        Of one object, by position.
    letters
        Leading axes of the stack.
    default_axis
        Axis along which frames are compared that no run has reached; may be empty.
    """
    done = []
    for position in sorted(scores):
        item = scores[position]
        before = _before(item, scores, letters, default_axis)
        done.append(item if before is None else _compared(item, before))
    return tuple(done)


def find_doubts(
    scores: Iterable[FrameScores],
    letters: str,
    default_axis: str,
    limits: DoubtLimits,
    pixels: int,
) -> tuple[Doubt, ...]:
    """Doubts about one object, sorted by position.

    Where the same doubt goes on from frame to frame, only the first frame is reported.
    Results of prompts were seen by the user and are not doubted; given masks only if
    the model that made them was not sure.

    Parameters
    ----------
    scores
        Of one object, as `with_changes` gives them.
    letters, default_axis
        As in `with_changes`.
    limits
        What is doubtful.
    pixels
        Of a frame.
    """
    by_position = {item.position: item for item in scores}
    most = limits.share * pixels
    seen = (item.area for item in by_position.values() if item.source != "tracked")
    if max(seen, default=0) > most:
        most = pixels
    found = {
        position: doubt
        for position, item in by_position.items()
        if item.source != "prompt"
        and (doubt := next(_doubts(item, limits, most, pixels), None)) is not None
    }
    return tuple(
        doubt
        for position, doubt in sorted(found.items())
        if not _goes_on(by_position[position], doubt, found, letters, default_axis)
    )


def _doubts(
    item: FrameScores, limits: DoubtLimits, most: float, pixels: int
) -> Iterator[Doubt]:
    """Doubts about one frame, the gravest first; more than `most` pixels are a leak."""
    if item.source == "tracked":
        yield from _doubts_about_size(item, limits, most, pixels)
    reasons: tuple[tuple[bool, Reason, float], ...] = (
        (item.object_score < limits.object_score, "low score", item.object_score),
        (item.iou_score < limits.iou_score, "low score", item.iou_score),
    )
    for holds, reason, value in reasons:
        if holds:
            yield Doubt(item.position, item.obj_id, reason, value)


def _doubts_about_size(
    item: FrameScores, limits: DoubtLimits, most: float, pixels: int
) -> Iterator[Doubt]:
    """Those of a frame that a run gave, from its size and place."""
    ratio = item.area_ratio
    if math.isnan(item.object_score):
        yield Doubt(item.position, item.obj_id, "no numbers", math.nan)
    if not item.area:
        yield Doubt(item.position, item.obj_id, "lost", 0.0)
    if item.jump is not None and item.area:
        diameters = item.jump / (2 * math.sqrt(item.area / math.pi))
        if diameters > limits.jump:
            yield Doubt(item.position, item.obj_id, "jump", diameters)
    reasons: tuple[tuple[bool, Reason, float | None], ...] = (
        (ratio is not None and ratio > limits.growth, "leak", ratio),
        (item.area > most, "leak", item.area / pixels),
        (ratio is not None and ratio < limits.shrinkage, "shrunk", ratio),
    )
    for holds, reason, value in reasons:
        if holds and value is not None:
            yield Doubt(item.position, item.obj_id, reason, value)


def _goes_on(
    item: FrameScores,
    doubt: Doubt,
    found: Mapping[Position, Doubt],
    letters: str,
    default_axis: str,
) -> bool:
    before = found.get(_position_before(item, letters, default_axis))
    return before is not None and before.reason == doubt.reason


def _before(
    item: FrameScores,
    scores: Mapping[Position, FrameScores],
    letters: str,
    default_axis: str,
) -> FrameScores | None:
    return scores.get(_position_before(item, letters, default_axis))


def _position_before(item: FrameScores, letters: str, default_axis: str) -> Position:
    """Position of the frame before; one that does not exist at the first frame."""
    axis = item.axis or default_axis
    if not axis:
        return (-1,)
    position = list(item.position)
    position[letters.index(axis)] -= 1
    return tuple(position)


def _compared(item: FrameScores, before: FrameScores) -> FrameScores:
    if item.centroid is None or before.centroid is None:
        return item
    return replace(
        item,
        jump=math.dist(item.centroid, before.centroid),
        area_ratio=item.area / before.area,
    )
