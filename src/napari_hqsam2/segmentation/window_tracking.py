"""Objects of large frames, each followed in a window of its own.

What an object remembers lies in its window. Where the window moves, what it has been
tracked through moves along, so that it stays where it was on the frame; memories of
prompts stay in place, since they say what the object looks like.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects
from napari_hqsam2.segmentation.run_states import Followed
from napari_hqsam2.segmentation.window_prompting import on_grid
from napari_hqsam2.segmentation.windows import MOST_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch import Tensor

    from napari_hqsam2.predictors.session import ObjectState
    from napari_hqsam2.segmentation.crops import Crop
    from napari_hqsam2.segmentation.window_prompting import WindowOutput, WindowTracker
    from napari_hqsam2.segmentation.windows import PixelBox


@dataclass(slots=True, eq=False)
class _Followed:
    """One object on its way."""

    state: ObjectState
    crop: Crop
    """Where it is looked for next."""
    box: PixelBox | None = None
    """Where it was seen last."""
    prompted: dict[int, WindowOutput] = field(default_factory=dict)
    """By the frames on which it is prompted."""


_ByWindow: TypeAlias = defaultdict["Crop", dict[int, _Followed]]
"""Objects by the window in which they are looked for."""


class WindowRun:
    """Objects followed through frames in one direction.

    Parameters
    ----------
    tracker
        The model and the frames.
    remembered
        Results of all prompts, by object and frame.
    is_cancelled
        Asked before every batch of objects.
    """

    def __init__(
        self,
        tracker: WindowTracker,
        remembered: Mapping[tuple[int, int], WindowOutput],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._tracker = tracker
        self._is_cancelled = is_cancelled
        self._objects: dict[int, _Followed] = {}
        blank = tracker.view(tracker.rule.whole)
        for (obj_id, frame), item in remembered.items():
            if obj_id not in self._objects:
                self._objects[obj_id] = _Followed(blank.add_object(obj_id), item.crop)
            followed = self._objects[obj_id]
            followed.state.bank.add_conditioning(frame, item.output)
            followed.prompted[frame] = item

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Objects that are followed still."""
        return tuple(self._objects)

    def leave(self, obj_id: int) -> None:
        """Follow an object no further."""
        del self._objects[obj_id]

    def followed(self) -> dict[int, Followed]:
        """What the objects take to the next frame."""
        return {
            obj_id: Followed(
                dict(each.state.bank.tracked),
                each.crop,
                each.box,
                is_paused=each.state.is_paused,
            )
            for obj_id, each in self._objects.items()
        }

    def restore(self, followed: Mapping[int, Followed]) -> None:
        """Go on with what was followed elsewhere, instead of the prompts alone."""
        for obj_id, saved in followed.items():
            each = self._objects[obj_id]
            each.state.bank.tracked.update(saved.tracked)
            each.state.is_paused = saved.is_paused
            each.crop, each.box = saved.crop or each.crop, saved.box

    def results(
        self, frames: range, spans: Mapping[int, range]
    ) -> Iterator[tuple[int, FrameObjects]]:
        """Objects on frames, in their order.

        Parameters
        ----------
        frames
            Ascending or descending. Each object is prompted on the first one that it
            takes part in.
        spans
            Frames, ascending, that each object takes part in.
        """
        is_reverse = frames.step < 0
        for frame in frames:
            here = {
                obj_id: followed
                for obj_id, followed in self._objects.items()
                if frame in spans[obj_id]
                and (not followed.state.is_paused or frame in followed.prompted)
            }
            if not here:
                continue
            parts = self._frame(frame, here, reverse=is_reverse)
            if parts is None:
                return
            self._look_ahead(here, parts)
            yield frame, FrameObjects(tuple(parts))

    def _frame(
        self, frame: int, here: Mapping[int, _Followed], *, reverse: bool
    ) -> list[WindowObjects] | None:
        """Objects on one frame; None if cancelled."""
        parts, waiting = self._prompted(frame, here)
        for attempt in range(MOST_WINDOWS):
            again: _ByWindow = defaultdict(dict)
            for crop, objects in waiting.items():
                found = self._track(frame, crop, objects, reverse=reverse)
                if found is None:
                    return None
                wider = self._leaving(found) if attempt + 1 < MOST_WINDOWS else {}
                for obj_id, window in wider.items():
                    _move(objects[obj_id], window)
                    again[window][obj_id] = objects[obj_id]
                stays = [each.obj_id not in wider for each in found.objects.scores]
                parts.append(replace(found, objects=found.objects.only(stays)))
            waiting = again
        return [part for part in parts if part.objects.scores]

    def _prompted(
        self, frame: int, here: Mapping[int, _Followed]
    ) -> tuple[list[WindowObjects], _ByWindow]:
        """What prompts gave on a frame, and the objects to be looked for."""
        parts: list[WindowObjects] = []
        others: _ByWindow = defaultdict(dict)
        for obj_id, followed in here.items():
            if frame in followed.prompted:
                item = followed.prompted[frame]
                followed.state.is_paused = False
                followed.crop = item.crop
                parts.append(WindowObjects(on_grid({obj_id: item.shown}), item.seen))
            else:
                others[followed.crop][obj_id] = followed
        return parts, others

    def _track(
        self,
        frame: int,
        crop: Crop,
        objects: Mapping[int, _Followed],
        *,
        reverse: bool,
    ) -> WindowObjects | None:
        """Objects that are looked for in one window; None if cancelled."""
        tracker, view = self._tracker, self._tracker.view(crop)
        before = frame + (1 if reverse else -1)
        for followed in objects.values():
            followed.state.prompted_before = _prompted(followed, before, crop)
        states = {obj_id: followed.state for obj_id, followed in objects.items()}
        outputs = tracker.tracker.track(
            view, states, frame, tracker.sizes, self._is_cancelled, reverse=reverse
        )
        # windows move before the next frame, and memories with them
        tracker.tracker.remember_tracked(view, states.values(), None, tracker.sizes)
        return None if outputs is None else WindowObjects(on_grid(outputs), crop)

    def _leaving(self, found: WindowObjects) -> dict[int, Crop]:
        """Wider windows for objects that leave the one they have."""
        wider = {}
        for obj_id, box in found.pixel_boxes().items():
            window = box and self._tracker.rule.wider(found.crop, box)
            if window:
                wider[obj_id] = window
        return wider

    def _look_ahead(
        self, here: Mapping[int, _Followed], parts: Iterable[WindowObjects]
    ) -> None:
        """Move windows to where the objects were found."""
        rule = self._tracker.rule
        for part in parts:
            for obj_id, box in part.pixel_boxes().items():
                followed = here[obj_id]
                followed.box = box or followed.box
                if followed.box is None:
                    continue
                if box is None:
                    _move(followed, rule.lost(followed.crop, followed.box))
                else:
                    _move(followed, rule.following(followed.crop, box))


def _move(followed: _Followed, crop: Crop) -> None:
    """Look for an object in another window, with what it remembers of the scene."""
    old, followed.crop = followed.crop, crop
    if old == crop:
        return
    tracked = followed.state.bank.tracked
    for frame, output in tracked.items():
        memory, low_res = (
            None if part is None else _moved(part, old, crop)
            for part in (output.memory, output.low_res)
        )
        tracked[frame] = replace(output, memory=memory, low_res=low_res)


def _prompted(followed: _Followed, frame: int, crop: Crop) -> Tensor | None:
    """Logits that prompts gave on a frame, as they are in a window."""
    item = followed.prompted.get(frame)
    if item is None or item.output.low_res is None:
        return None
    return _moved(item.output.low_res, item.crop, crop)


def _moved(memory: Tensor, old: Crop, new: Crop) -> Tensor:
    """(1, C, h, w) features of a window as those of another; borders are continued."""
    height, width = memory.shape[-2:]
    rows = _cells(height, (old.top, old.height), (new.top, new.height))
    columns = _cells(width, (old.left, old.width), (new.left, new.width))
    return memory[..., rows.to(memory.device)[:, None], columns.to(memory.device)]


def _cells(count: int, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """For each of the cells along one axis of a window, that of another there."""
    (old_start, old_length), (new_start, new_length) = old, new
    middles = new_start + (torch.arange(count) + 0.5) * (new_length / count)
    cells = ((middles - old_start) * (count / old_length)).floor()
    return cells.long().clamp(0, count - 1)
