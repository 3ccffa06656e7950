"""Two passes over the same frames, and what both have found as one."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F

from napari_hqsam2.modeling.image_motion import LARGEST_LOGIT
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.frame_objects import (
    FrameObjects,
    KeptObjects,
    WindowObjects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from napari_hqsam2.segmentation.courses import Courses
    from napari_hqsam2.segmentation.crops import Crop


Frames: TypeAlias = "Iterator[tuple[int, FrameObjects]]"
"""Frames in the order of processing, and the objects there."""


@dataclass(frozen=True, slots=True, eq=False)
class BothSides:
    """The pass forward of a run, and the one backward that completes it.

    Both start from what is known of the objects: what the one has found is not
    remembered in the other, so neither depends on the other.
    """

    courses: Courses
    """Ways of the objects."""
    device: torch.device
    """Where masks are computed."""
    kept: dict[int, KeptObjects] = field(default_factory=dict)
    """Results of the pass forward that the other will complete, by frame."""

    def forward(self, found: Frames) -> Frames:
        """What is told of frames that the pass forward visits."""
        again = self.courses.told(reverse=True)
        for frame, visited in found:
            objects = self._told(frame, visited, reverse=False)
            if not objects.parts:
                continue
            if frame in again:
                self.kept[frame] = KeptObjects.of(objects)
            yield frame, objects

    def backward(self, found: Frames) -> Frames:
        """What is told of frames that the pass backward visits, of all objects."""
        for frame, visited in found:
            objects = self._told(frame, visited, reverse=True)
            if not objects.parts:
                continue
            if frame in self.kept:
                before = self.kept.pop(frame).restored(self.device)
                share = partial(self.courses.backward_share, frame=frame)
                objects = joined(before, objects, share)
            yield frame, objects

    def _told(
        self, frame: int, objects: FrameObjects, *, reverse: bool
    ) -> FrameObjects:
        return objects.only(
            lambda obj_id: self.courses.tells(obj_id, frame, reverse=reverse)
        )


class _Place(NamedTuple):
    """Where an object is among those of a frame."""

    part: WindowObjects
    row: int

    @property
    def scores(self) -> ObjectScores:
        return self.part.objects.scores[self.row]

    @property
    def low_res(self) -> Tensor:
        return self.part.objects.low_res[self.row]


class _Pair(NamedTuple):
    """One object from both sides."""

    forward: _Place
    backward: _Place
    share: float
    """Of what was found backward."""

    @property
    def crop(self) -> Crop:
        """The window in which both are seen: that of the surer side."""
        return (self.backward if self.share > 0.5 else self.forward).part.crop


def joined(
    forward: FrameObjects, backward: FrameObjects, share: Callable[[int], float]
) -> FrameObjects:
    """Objects of one frame that were found by two passes.

    Parameters
    ----------
    forward, backward
        What each pass has found.
    share
        Weight of the backward pass by object, 0 to 1, for those that both have found:
        their logits and scores are mixed.
    """
    before, after = _places(forward), _places(backward)
    both = before.keys() & after.keys()
    pairs = [_pair(before[obj_id], after[obj_id], share(obj_id)) for obj_id in both]
    mixed = FrameObjects(tuple(_mixed(pairs)))
    return forward.without(both).and_also(backward.without(both)).and_also(mixed)


def _places(objects: FrameObjects) -> dict[int, _Place]:
    return {
        scores.obj_id: _Place(part, row)
        for part in objects.parts
        for row, scores in enumerate(part.objects.scores)
    }


def _pair(forward: _Place, backward: _Place, share: float) -> _Pair:
    """Both sides with their weight; one without numbers has none."""
    if math.isnan(backward.scores.object_score):
        share = 0.0
    elif math.isnan(forward.scores.object_score):
        share = 1.0
    return _Pair(forward, backward, share)


def _mixed(pairs: Sequence[_Pair]) -> Iterator[WindowObjects]:
    by_window: defaultdict[Crop, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        by_window[pair.crop].append(pair)
    for crop, some in by_window.items():
        scores = [_mixed_scores(pair) for pair in some]
        low_res = torch.stack([_mixed_logits(pair) for pair in some])
        yield WindowObjects(GridObjects.of(scores, low_res), crop)


def _mixed_scores(pair: _Pair) -> ObjectScores:
    one, other, share = pair.forward.scores, pair.backward.scores, pair.share
    if share in (0, 1):
        return other if share else one
    return ObjectScores(
        one.obj_id,
        (1 - share) * one.object_score + share * other.object_score,
        (1 - share) * one.iou_score + share * other.iou_score,
    )


def _mixed_logits(pair: _Pair) -> Tensor:
    """(h, w) logits of an object over the window of the pair."""
    if pair.share in (0, 1):
        return (pair.backward if pair.share else pair.forward).low_res
    one, other = (
        _seen_in(place.low_res, place.part.crop, pair.crop)
        for place in (pair.forward, pair.backward)
    )
    return torch.lerp(one, other, pair.share)


def _seen_in(low_res: Tensor, old: Crop, new: Crop) -> Tensor:
    """(h, w) logits over a window as those over another; outside is no object."""
    limited = low_res.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    if old == new:
        return limited
    height, width = low_res.shape
    rows = _places_in(height, (old.top, old.height), (new.top, new.height))
    columns = _places_in(width, (old.left, old.width), (new.left, new.width))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    moved = F.grid_sample(
        limited[None, None] + LARGEST_LOGIT,
        grid[None].to(limited),
        padding_mode="zeros",
        align_corners=False,
    )
    return moved[0, 0] - LARGEST_LOGIT


def _places_in(count: int, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Where cells of a window lie on another, -1 to 1 from one of its sides on."""
    (old_start, old_length), (new_start, new_length) = old, new
    middles = new_start + (torch.arange(count) + 0.5) * (new_length / count)
    return (middles - old_start) * (2 / old_length) - 1
