"""Objects followed through one series of frames: prompts in, masks out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.predictors.session import ObjectState
from napari_hqsam2.segmentation.both_sides import BothSides
from napari_hqsam2.segmentation.clicks import answer_clicks, to_clicks
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.frame_objects import FrameObjects
from napari_hqsam2.segmentation.masks import FrameResult
from napari_hqsam2.segmentation.run_states import Followed, RunState, RunStep
from napari_hqsam2.segmentation.stack_view import FrameRange
from napari_hqsam2.segmentation.window_prompting import WindowOutput, WindowTracker
from napari_hqsam2.segmentation.window_tracking import WindowRun

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import (
        FrameLogits,
        SAM2VideoPredictor,
    )
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.both_sides import Frames
    from napari_hqsam2.segmentation.courses import Courses
    from napari_hqsam2.segmentation.frame_objects import KeptObjects
    from napari_hqsam2.segmentation.prompt_groups import PromptGroup
    from napari_hqsam2.segmentation.windows import WindowRule


@dataclass(frozen=True, slots=True, eq=False)
class GroupRun:
    """One group of prompts, ready to be followed."""

    predictor: SAM2VideoPredictor
    source: FrameSource
    """Frames along the propagation axis."""
    group: PromptGroup
    number: int
    """Of the group in its stack."""
    frames: range
    """Frames that may be looked at; all prompts lie on them."""
    courses: Courses
    limits: IntensityLimits
    hq: HqMode
    is_cancelled: Callable[[], bool]
    rule: WindowRule | None = None
    """Where objects are looked for; None is on the whole frame."""

    def results(self, after: RunState | None = None) -> Generator[RunStep, None, None]:
        """Follow all objects, forward, then backward; or go on after a state."""
        rule = self.rule
        if rule is not None and rule.is_needed(self.group.prompts):
            forward, backward = self._window_passes(rule)
        else:
            forward, backward = self._whole_passes()
        kept = {} if after is None else dict(after.kept)
        sides = BothSides(self.courses, self.predictor.device, kept)
        is_back = after is not None and after.is_reverse
        if not is_back:
            for frame, objects in sides.forward(forward.frames(after)):
                yield self._step(frame, objects, forward, kept)
        for frame, objects in sides.backward(
            backward.frames(after if is_back else None)
        ):
            yield self._step(frame, objects, backward, kept)

    def _step(
        self,
        frame: int,
        objects: FrameObjects,
        following: _Pass,
        kept: Mapping[int, KeptObjects],
    ) -> RunStep:
        def state() -> RunState:
            return RunState(
                self.number,
                following.is_reverse,
                frame,
                following.followed(),
                dict(kept),
            )

        masks = objects.masks(self.source.hw, self.group.masks_on(frame))
        return RunStep(FrameResult(self.group.position(frame), masks), state)

    def _window_passes(self, rule: WindowRule) -> tuple[_Pass, _Pass]:
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
            _WindowPass(self, tracker, remembered, is_reverse=False),
            _WindowPass(self, tracker, remembered, is_reverse=True),
        )

    def _whole_passes(self) -> tuple[_Pass, _Pass]:
        """Both passes on whole frames."""
        session = self._prompted_session()
        again = _with_prompts_alone(session)
        return (
            _WholePass(self, session, is_reverse=False),
            _WholePass(self, again, is_reverse=True),
        )

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


class _Pass(Protocol):
    """All objects of a group in one direction."""

    is_reverse: bool

    def frames(self, after: RunState | None) -> Frames:
        """Follow the objects, from their prompts on or after a state."""

    def followed(self) -> dict[int, Followed]:
        """What the objects take to the next frame."""


@dataclass(slots=True, eq=False)
class _WholePass:
    """A pass on whole frames."""

    run: GroupRun
    session: VideoSession
    """With prompts that are not remembered yet."""
    is_reverse: bool

    def frames(self, after: RunState | None) -> Frames:
        run, session = self.run, self.session
        order = _left(run.courses.order(reverse=self.is_reverse), after)
        if run.is_cancelled() or not order:
            return
        if after is not None:
            run.predictor.remember(session)
            for obj_id, followed in after.objects.items():
                state = session.objects[obj_id]
                state.bank.tracked.update(followed.tracked)
                state.is_paused = followed.is_paused
        offset = run.frames.start
        for logits in run.predictor.propagate(
            session,
            start_frame_idx=order[0] - offset,
            max_frame_num_to_track=len(order),
            reverse=self.is_reverse,
            spans=run.courses.shifted(offset, reverse=self.is_reverse),
            is_cancelled=run.is_cancelled,
        ):
            objects = FrameObjects.whole(_objects(logits), session.hw)
            yield logits.frame + offset, objects

    def followed(self) -> dict[int, Followed]:
        self.run.predictor.remember(self.session)
        return {
            obj_id: Followed(dict(state.bank.tracked), is_paused=state.is_paused)
            for obj_id, state in self.session.objects.items()
        }


class _WindowPass:
    """A pass with each object in a window."""

    def __init__(
        self,
        run: GroupRun,
        tracker: WindowTracker,
        remembered: Mapping[tuple[int, int], WindowOutput],
        *,
        is_reverse: bool,
    ) -> None:
        self.is_reverse = is_reverse
        self._run = run
        self._following = WindowRun(tracker, remembered, run.is_cancelled)

    def frames(self, after: RunState | None) -> Frames:
        run, offset = self._run, self._run.frames.start
        order = _left(run.courses.order(reverse=self.is_reverse), after)
        if run.is_cancelled() or not order:
            return
        if after is not None:
            self._following.restore(after.objects)
        indices = range(order.start - offset, order.stop - offset, order.step)
        spans = run.courses.shifted(offset, reverse=self.is_reverse)
        for frame, objects in self._following.results(indices, spans):
            yield frame + offset, objects

    def followed(self) -> dict[int, Followed]:
        return self._following.followed()


def _left(order: range, after: RunState | None) -> range:
    """What is left of the frames of a pass."""
    return order if after is None else order[order.index(after.frame) + 1 :]


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
