"""Objects followed through one series of frames: prompts in, masks out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.predictors.session import ObjectState
from napari_hqsam2.segmentation.clicks import answer_clicks, to_clicks
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.frame_objects import FrameObjects, KeptObjects
from napari_hqsam2.segmentation.masks import FrameResult
from napari_hqsam2.segmentation.stack_view import FrameRange
from napari_hqsam2.segmentation.window_tracking import (
    WindowOutput,
    WindowRun,
    WindowTracker,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import (
        FrameLogits,
        SAM2VideoPredictor,
    )
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.prompt_groups import FrameSpan, PromptGroup
    from napari_hqsam2.segmentation.windows import WindowRule


@dataclass(frozen=True, slots=True, eq=False)
class GroupRun:
    """One group of prompts, ready to be followed.

    Both directions start from the prompts alone: what the forward pass found is not
    remembered in the backward pass, so neither depends on the other.
    """

    predictor: SAM2VideoPredictor
    source: FrameSource
    """Frames along the propagation axis."""
    group: PromptGroup
    frames: range
    """Frames that may be looked at; all prompts lie on them."""
    span: FrameSpan
    limits: IntensityLimits
    hq: HqMode
    is_cancelled: Callable[[], bool]
    rule: WindowRule | None = None
    """Where objects are looked for; None is on the whole frame."""

    def results(self) -> Generator[FrameResult, None, None]:
        """Follow all objects, forward, then backward."""
        rule = self.rule
        if rule is not None and rule.is_needed(self.group.prompts):
            forward, backward = self._window_passes(rule)
        else:
            forward, backward = self._whole_passes()
        kept: dict[int, KeptObjects] = {}
        if self.span.forward:
            for frame, objects in forward:
                if frame in self.span.backward:
                    kept[frame] = KeptObjects.of(objects)
                yield self._result(frame, objects)
        if self.span.backward:
            for frame, objects in backward:
                yield self._result(frame, self._joined(frame, objects, kept))

    def _window_passes(self, rule: WindowRule) -> tuple[_Frames, _Frames]:
        """Both passes, with each object seen in a window of its own."""
        frames = FrameRange(self.source, self.frames)
        tracker = WindowTracker(
            self.predictor, frames, rule, self.limits, self.hq, FeatureCache()
        )
        remembered = {}
        for prompt in self.group.prompts:
            if self.is_cancelled():
                break
            frame = self.group.frame(prompt) - self.frames.start
            remembered[prompt.obj_id, frame] = tracker.remember(frame, prompt)
        return (
            self._window_pass(tracker, remembered, reverse=False),
            self._window_pass(tracker, remembered, reverse=True),
        )

    def _window_pass(
        self,
        tracker: WindowTracker,
        remembered: Mapping[tuple[int, int], WindowOutput],
        *,
        reverse: bool,
    ) -> _Frames:
        if self.is_cancelled():
            return
        offset = self.frames.start
        firsts = {k: v - offset for k, v in self.group.first_frames().items()}
        order = range(min(firsts.values()), len(self.frames))
        if reverse:
            order = range(max(firsts.values()), -1, -1)
        run = WindowRun(tracker, remembered, self.is_cancelled)
        for frame, objects in run.results(order, firsts):
            if not reverse or frame + offset in self.span.backward:
                yield frame + offset, objects

    def _whole_passes(self) -> tuple[_Frames, _Frames]:
        """Both passes on whole frames."""
        session = self._prompted_session()
        again = _with_prompts_alone(session)
        return self._pass(session, reverse=False), self._backward_pass(again)

    def _prompted_session(self) -> VideoSession:
        frames = FrameRange(self.source, self.frames)
        session = self.predictor.init_state(frames, contrast_limits=self.limits)
        session.hq = self.hq
        for prompt in self.group.prompts:
            if self.is_cancelled():
                break
            self._add_prompt(session, prompt)
        return session

    def _add_prompt(self, session: VideoSession, prompt: FramePrompts) -> None:
        frame = self.group.frame(prompt) - self.frames.start
        predictor = self.predictor
        if prompt.mask is not None:
            predictor.predict_mask(session, frame, prompt.obj_id, prompt.mask)
            return
        clicks = to_clicks(prompt, session.hw, predictor.image_size)
        answer_clicks(predictor, session, frame, prompt.obj_id, clicks)

    def _pass(self, session: VideoSession, *, reverse: bool) -> _Frames:
        if self.is_cancelled():
            return
        firsts = self.group.first_frames().values()
        start = max(firsts) if reverse else min(firsts)
        for logits in self.predictor.propagate(
            session,
            start_frame_idx=start - self.frames.start,
            reverse=reverse,
            from_own_prompts=True,
            is_cancelled=self.is_cancelled,
        ):
            objects = FrameObjects.whole(_objects(logits), session.hw)
            yield logits.frame + self.frames.start, objects

    def _backward_pass(self, session: VideoSession) -> _Frames:
        if self.span.backward.start == self.frames.start and not self.span.forward:
            # SAM 2 has nothing to do backward from frame 0; its result is also that of
            # the first step forward.
            yield from islice(self._pass(session, reverse=False), 1)
            return
        for frame, objects in self._pass(session, reverse=True):
            if frame in self.span.backward:
                yield frame, objects

    def _joined(
        self, frame: int, objects: FrameObjects, kept: dict[int, KeptObjects]
    ) -> FrameObjects:
        """All objects of a frame: those of the forward pass, and what is new."""
        if not self.span.forward:
            return objects
        firsts = self.group.first_frames()
        # objects first prompted here were reported by the forward pass
        objects = objects.only(lambda obj_id: firsts[obj_id] != frame)
        if frame not in kept:
            return objects
        return kept.pop(frame).restored(self.predictor.device).and_also(objects)

    def _result(self, frame: int, objects: FrameObjects) -> FrameResult:
        masks = objects.masks(self.source.hw, self.group.masks_on(frame))
        return FrameResult(self.group.position(frame), masks)


_Frames: TypeAlias = "Iterator[tuple[int, FrameObjects]]"
"""Frames in the order of processing, and the objects there."""


def _objects(logits: FrameLogits) -> GridObjects:
    values = zip(logits.obj_ids, logits.object_scores, logits.iou_scores, strict=True)
    return GridObjects.of(
        [ObjectScores(*each) for each in values], logits.low_res[:, 0]
    )


def _with_prompts_alone(session: VideoSession) -> VideoSession:
    """A session with the same prompts and image features, and no track yet."""
    objects = {
        obj_id: ObjectState(
            directions=np.zeros_like(state.directions),
            clicks=dict(state.clicks),
            masked=set(state.masked),
            pending=dict(state.pending),
        )
        for obj_id, state in session.objects.items()
    }
    return replace(session, objects=objects)
