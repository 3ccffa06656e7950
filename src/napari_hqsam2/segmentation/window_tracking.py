"""Objects of large frames, each prompted and followed in a window of its own.

What an object remembers lies in its window. Where the window moves, what it has been
tracked through moves along, so that it stays where it was on the frame; memories of
prompts stay in place, since they say what the object looks like.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from napari_hqsam2.geometry import to_window
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.feature_loader import FeatureLoader
from napari_hqsam2.predictors.frame_tracker import FrameTracker
from napari_hqsam2.predictors.prompt_inputs import to_model_mask
from napari_hqsam2.predictors.session import FORWARD
from napari_hqsam2.segmentation.clicks import answer_clicks, to_clicks
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.frame_objects import (
    FrameObjects,
    WindowObjects,
    pixel_box,
)
from napari_hqsam2.segmentation.run_states import Followed
from napari_hqsam2.segmentation.window_frames import SharedFeatures, WindowFrames
from napari_hqsam2.segmentation.windows import MOST_WINDOWS, joined_box, prompt_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_hqsam2._types import BoolArray
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.feature_cache import FeatureCache
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.memory_bank import FrameOutput
    from napari_hqsam2.predictors.session import ObjectState, VideoSession
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.crops import Crop
    from napari_hqsam2.segmentation.windows import PixelBox, WindowRule


@dataclass(frozen=True, slots=True, eq=False)
class WindowOutput:
    """Result and memory of prompts, and the windows that they belong to."""

    output: FrameOutput
    """What is remembered."""
    crop: Crop
    """Window of the memory, in which the object is followed at first."""
    shown: FrameOutput
    """The result."""
    seen: Crop
    """Window of the result."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What prompts correct on a frame: a mask that is there already."""

    mask: BoolArray
    """(H, W) of the frame."""
    memories: Mapping[int, WindowOutput]
    """Prompts of the object on other frames."""


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What the model says to prompts in a window."""

    session: VideoSession
    """With the object and the result in it."""
    crop: Crop
    box: PixelBox | None = None
    """Where the object is on the frame; None if nowhere, or if a mask was given."""
    score: float = 1.0
    """Predicted IoU."""


class WindowTracker:
    """The verbs of a video predictor, with a window for each object and frame.

    Parameters
    ----------
    predictor
        The model.
    frames
        Frames along the propagation axis.
    rule
        Where objects are looked for.
    limits
        Intensities that the model sees as black and white.
    hq
        Use of the high-quality mask.
    features
        Where image features are kept, for all windows.
    numbers
        Number of each frame in the cache; by default its index.
    """

    def __init__(
        self,
        predictor: SAM2VideoPredictor,
        frames: FrameSource,
        rule: WindowRule,
        limits: IntensityLimits | None,
        hq: HqMode,
        features: FeatureCache,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._predictor = predictor
        self._frames = frames
        self._limits = limits
        self._hq = hq
        self._features = features
        self._numbers = range(len(frames)) if numbers is None else numbers
        model = predictor.model
        # objects fill their windows, so there is nothing to gain by looking closer
        config = replace(predictor.config, tracking="exact")
        self.rule = rule
        self.tracker = FrameTracker(model, config, FeatureLoader(model))
        self.sizes = BatchSizes(model, config.max_batch)

    def view(self, crop: Crop) -> VideoSession:
        """The frames seen in a window; no object is known there."""
        frames = WindowFrames(self._frames, crop)
        session = self._predictor.init_state(frames, contrast_limits=self._limits)
        seen = None if crop == self.rule.whole else crop
        session.features = SharedFeatures(self._features, self._numbers, seen)
        session.hq = self._hq
        return session

    def answer(
        self, frame: int, prompt: FramePrompts, correction: Correction | None = None
    ) -> WindowObjects:
        """What the model says to the prompts of an object."""
        session, crop = self._asked(frame, prompt, correction)
        pending = session.objects[prompt.obj_id].pending[frame]
        return WindowObjects(_on_grid({prompt.obj_id: pending.output}), crop)

    def remember(self, frame: int, prompt: FramePrompts) -> WindowOutput:
        """Result and memory of the prompts of an object."""
        obj_id, whole = prompt.obj_id, self.rule.whole
        session, seen = self._asked(frame, prompt, None)
        shown, crop = session.objects[obj_id].pending[frame].output, seen
        found = WindowObjects(_on_grid({obj_id: shown}), seen)
        box = found.pixel_boxes()[obj_id]
        if seen != whole and box is not None and self.rule.is_followed_whole(box):
            session, crop = self.view(whole), whole
            mask = self._whole_mask(found) if prompt.mask is None else prompt.mask
            self._predictor.predict_mask(session, frame, obj_id, mask)
        self.tracker.remember_prompts(session, self.sizes)
        return WindowOutput(session.objects[obj_id].bank[frame], crop, shown, seen)

    def _whole_mask(self, found: WindowObjects) -> BoolArray:
        """(H, W) mask of a single object."""
        full = np.zeros(self.rule.hw, dtype=bool)
        (mask,) = FrameObjects((found,)).masks(self.rule.hw)
        full[mask.window] = mask.mask
        return full

    def _asked(
        self, frame: int, prompt: FramePrompts, correction: Correction | None
    ) -> tuple[VideoSession, Crop]:
        """Prompt an object, in wider windows until its mask fits in."""
        own_box, crops = prompt_box(prompt), self.rule.first(prompt)
        if correction is not None:
            shown = replace(prompt, points=(), box=None, mask=correction.mask)
            own_box = joined_box(own_box, prompt_box(shown))
            crops = (self._corrected_in(own_box, correction),)
        answers = [self._prompted(frame, prompt, crop, correction) for crop in crops]
        best = max(answers, key=lambda answer: answer.score)
        for _ in range(MOST_WINDOWS - 1):
            if best.box is None:
                break
            fitting = self.rule.fitting(best.crop, joined_box(best.box, own_box))
            if fitting == best.crop:
                break
            best = self._prompted(frame, prompt, fitting, correction)
        return best.session, best.crop

    def _corrected_in(self, box: PixelBox, correction: Correction) -> Crop:
        """Window to correct an object; whole if that is all that it remembers."""
        rule = self.rule
        known = {remembered.crop for remembered in correction.memories.values()}
        is_whole = known == {rule.whole} and not rule.is_large
        return rule.whole if is_whole else rule.around(box)

    def _prompted(
        self,
        frame: int,
        asked: FramePrompts,
        crop: Crop,
        correction: Correction | None,
    ) -> _Answer:
        """What prompts say in a window."""
        predictor, obj_id, session = self._predictor, asked.obj_id, self.view(crop)
        prompt = to_window(asked, crop.window)
        if prompt.mask is not None:
            predictor.predict_mask(session, frame, obj_id, prompt.mask)
            return _Answer(session, crop)
        if correction is not None:
            state = session.add_object(obj_id)
            for other, remembered in correction.memories.items():
                state.bank.add_conditioning(other, remembered.output)
            shown = correction.mask[crop.window]
            low_res = to_model_mask(shown, predictor.image_size // 4)[0, 0].bool()
            state.bank.archive.put(frame, low_res.numpy())
            state.directions[frame] = FORWARD
        clicks = to_clicks(prompt, session.hw, predictor.image_size)
        result = answer_clicks(predictor, session, frame, obj_id, clicks)
        box = pixel_box(result.low_res[0, 0], crop)
        return _Answer(session, crop, box, result.iou_scores[0])


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
            obj_id: Followed(dict(each.state.bank.tracked), each.crop, each.box)
            for obj_id, each in self._objects.items()
        }

    def restore(self, followed: Mapping[int, Followed]) -> None:
        """Go on with what was followed elsewhere, instead of the prompts alone."""
        for obj_id, saved in followed.items():
            each = self._objects[obj_id]
            each.state.bank.tracked.update(saved.tracked)
            each.crop, each.box = saved.crop or each.crop, saved.box

    def results(
        self, frames: range, firsts: Mapping[int, int]
    ) -> Iterator[tuple[int, FrameObjects]]:
        """Objects on frames, in their order.

        Parameters
        ----------
        frames
            Ascending or descending. Each object is prompted on the first one that it
            takes part in.
        firsts
            That frame, by object.
        """
        is_reverse = frames.step < 0
        for frame in frames:
            here = {
                obj_id: followed
                for obj_id, followed in self._objects.items()
                if (frame <= firsts[obj_id] if is_reverse else frame >= firsts[obj_id])
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
                followed.crop = item.crop
                parts.append(WindowObjects(_on_grid({obj_id: item.shown}), item.seen))
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
        states = {obj_id: followed.state for obj_id, followed in objects.items()}
        outputs = tracker.tracker.track(
            view, states, frame, tracker.sizes, self._is_cancelled, reverse=reverse
        )
        # windows move before the next frame, and memories with them
        tracker.tracker.remember_tracked(view, states.values(), None, tracker.sizes)
        return None if outputs is None else WindowObjects(_on_grid(outputs), crop)

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
        if output.memory is not None:
            tracked[frame] = replace(output, memory=_moved(output.memory, old, crop))


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


def _on_grid(outputs: Mapping[int, FrameOutput]) -> GridObjects:
    """Objects with their scores."""
    low_res = [
        output.low_res for output in outputs.values() if output.low_res is not None
    ]
    scores = torch.cat(
        [torch.cat((o.object_score[:, 0], o.iou_score)) for o in outputs.values()]
    )
    pairs = scores.reshape(-1, 2).tolist()
    return GridObjects.of(
        [
            ObjectScores(obj_id, *pair)
            for obj_id, pair in zip(outputs, pairs, strict=True)
        ],
        torch.cat(low_res)[:, 0],
    )
