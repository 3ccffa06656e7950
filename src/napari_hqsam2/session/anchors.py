"""What a run through a line starts from, and which frames it is to visit."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from napari_hqsam2.segmentation.courses import Course, Courses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from napari_hqsam2._types import Direction
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.session.label_store import LabelStore
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import PlacedPrompts, Records
    from napari_hqsam2.session.stacks import Line


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """A conditioning frame of one object: clicks, or a mask that holds as it is."""

    obj_id: int
    frame: int
    """Index along the line."""
    key: str
    """Digest of the clicks or the mask."""
    clicks: FramePrompts | None = None
    mask: PackedMask | None = None
    is_locked: bool = False
    prompts_key: str = ""
    """`PlacedPrompts.key` of the prompts on the frame; empty if there are none."""


def find_anchors(
    records: Records, labels: LabelStore, line: Line, frames: range, obj_id: int
) -> list[Anchor]:
    """Anchors of an object on some frames of a line, sorted by frame.

    Locked frames and corrected ones count with the mask that the labels show; where
    that is empty, they are none.
    """
    prompts, locks = records.prompts.of(obj_id), records.locks.of(obj_id)
    anchors = []
    for position in sorted(prompts.keys() | locks.keys()):
        frame = line.frame(position)
        if position not in line or frame not in frames:
            continue
        record = prompts.get(position)
        if position in locks or record is None or record.corrected is not None:
            key = "" if record is None else record.key
            anchor = seed(labels, line, frame, obj_id, key, is_locked=position in locks)
        else:
            anchor = _of_prompts(record, frame)
        if anchor is not None:
            anchors.append(anchor)
    return anchors


def seed(
    labels: LabelStore,
    line: Line,
    frame: int,
    obj_id: int,
    prompts_key: str = "",
    *,
    is_locked: bool = False,
) -> Anchor | None:
    """What the labels show of an object on a frame; None if that is nothing."""
    mask = labels.packed(line.position(frame), obj_id)
    if not mask:
        return None
    return Anchor(
        obj_id, frame, mask.key, None, mask, is_locked, prompts_key=prompts_key
    )


def _of_prompts(record: PlacedPrompts, frame: int) -> Anchor:
    if record.is_given:
        return Anchor(
            record.obj_id, frame, record.key, None, record.mask, prompts_key=record.key
        )
    return Anchor(
        record.obj_id, frame, record.key, record.clicks(), prompts_key=record.key
    )


def is_changed(anchor: Anchor, records: Records, line: Line) -> bool:
    """Whether no run along the line has taken an anchor into account as it is now."""
    scores = records.scores.get(anchor.obj_id, line.position(anchor.frame))
    if scores is None or line.axis not in scores.followed:
        return True
    if anchor.is_locked:
        return scores.mask_key != anchor.key
    return scores.prompts_key != anchor.prompts_key


@dataclass(frozen=True, eq=False)
class RunPlan:
    """One run along a line."""

    line: Line
    frames: range
    """Frames that may be looked at; all anchors lie on them."""
    direction: Direction
    anchors: tuple[Anchor, ...]
    """Of all objects of the run, at least one for each."""
    start: int | None = None
    """Frame on which all objects start; None starts each at its first anchor."""
    spans: Mapping[int, range] | None = None
    """Frames to visit by object; None is all of `frames`."""
    two_sided: bool = False
    """Whether objects are followed between two anchors from both of them."""

    def of_objects(self, obj_ids: Collection[int]) -> RunPlan:
        """The same run with some of its objects."""
        spans = self.spans
        if spans is not None:
            spans = {obj_id: spans[obj_id] for obj_id in spans if obj_id in obj_ids}
        anchors = tuple(a for a in self.anchors if a.obj_id in obj_ids)
        return replace(self, anchors=anchors, spans=spans)

    def first_frames(self) -> dict[int, int]:
        """Frame on which each object starts."""
        firsts: dict[int, int] = {}
        for anchor in self.anchors:
            first = min(firsts.get(anchor.obj_id, anchor.frame), anchor.frame)
            firsts[anchor.obj_id] = first if self.start is None else self.start
        return firsts

    @cached_property
    def courses(self) -> Courses:
        """The way of each object."""
        known: defaultdict[int, list[int]] = defaultdict(list)
        for anchor in self.anchors:
            known[anchor.obj_id].append(anchor.frame)
        spans = self.spans or {}
        return Courses(
            {
                obj_id: Course.of(
                    spans.get(obj_id, self.frames),
                    first,
                    known[obj_id],
                    self.direction,
                    two_sided=self.two_sided,
                )
                for obj_id, first in self.first_frames().items()
            }
        )

    def forward(self) -> range:
        """Frames that the forward pass tells of, in its order."""
        return self.courses.told(reverse=False)

    def backward(self) -> range:
        """Frames that the backward pass tells of, in its order: descending."""
        return self.courses.told(reverse=True)

    @property
    def num_steps(self) -> int:
        """Number of frames that will be reported, if no object is left early."""
        return self.courses.num_steps


def full_run(
    line: Line, frames: range, direction: Direction, anchors: Iterable[Anchor]
) -> RunPlan:
    """Every object from its own first anchor."""
    return RunPlan(line, frames, direction, tuple(anchors))


def changed_runs(whole: RunPlan, records: Records) -> Iterator[RunPlan]:
    """The parts of a full run that changed anchors make necessary.

    Objects that were never followed along the line run in full. The others start at
    each changed anchor and go on to the next anchor on either side, which stays.
    """
    by_object: defaultdict[int, list[Anchor]] = defaultdict(list)
    for anchor in whole.anchors:
        by_object[anchor.obj_id].append(anchor)
    new: list[Anchor] = []
    spans: defaultdict[int, dict[int, range]] = defaultdict(dict)
    for obj_id, anchors in by_object.items():
        changed = [a for a in anchors if is_changed(a, records, whole.line)]
        if len(changed) == len(anchors):
            new += anchors
            continue
        for anchor in changed:
            spans[anchor.frame][obj_id] = _span(anchor, anchors, whole.frames)
    if new:
        yield full_run(whole.line, whole.frames, whole.direction, new)
    for frame, objects in sorted(spans.items()):
        taking_part = [a for obj_id in objects for a in by_object[obj_id]]
        yield RunPlan(
            whole.line,
            whole.frames,
            whole.direction,
            tuple(taking_part),
            start=frame,
            spans=objects,
        )


def _span(anchor: Anchor, anchors: Sequence[Anchor], frames: range) -> range:
    """Frames from the anchor before to the one after, both left out."""
    before = [a.frame + 1 for a in anchors if a.frame < anchor.frame]
    after = [a.frame for a in anchors if a.frame > anchor.frame]
    return range(max(before, default=frames.start), min(after, default=frames.stop))
