"""Objects followed through one series of frames: prompts in, masks out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.geometry import box_to_sam_xyxy, data_yx_to_sam_xy
from napari_hqsam2.predictors.prompt_inputs import new_clicks
from napari_hqsam2.predictors.session import ObjectState
from napari_hqsam2.segmentation.composition import (
    CroppedObjects,
    GridObjects,
    ObjectScores,
    compose_masks,
)
from napari_hqsam2.segmentation.masks import FrameResult
from napari_hqsam2.segmentation.stack_view import FrameRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_hqsam2._types import HW
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import Clicks, VideoSession
    from napari_hqsam2.predictors.video_predictor import (
        FrameLogits,
        SAM2VideoPredictor,
    )
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.prompt_groups import FrameSpan, PromptGroup


def to_clicks(prompt: FramePrompts, hw: HW, input_size: int) -> Clicks:
    """Points and box of a prompt on an (H, W) image, as the predictors take them."""
    points = labels = box = None
    if prompt.points:
        points = data_yx_to_sam_xy([(p.y, p.x) for p in prompt.points], hw, input_size)
        labels = [int(p.positive) for p in prompt.points]
    if prompt.box is not None:
        box = box_to_sam_xyxy(prompt.box, hw, input_size)
    return new_clicks(points, labels, box, hw, input_size, normalize=True)


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

    def results(self) -> Iterator[FrameResult]:
        """Follow all objects, forward, then backward."""
        session = self._prompted_session()
        again = _with_prompts_alone(session) if self.span.backward else None
        kept: dict[int, CroppedObjects] = {}
        if self.span.forward:
            for frame, objects in self._pass(session, reverse=False):
                if frame in self.span.backward:
                    kept[frame] = CroppedObjects.of(objects)
                yield self._result(frame, objects)
        del session
        if again is not None:
            for frame, objects in self._backward_pass(again):
                yield self._result(frame, self._joined(frame, objects, kept))

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
        predictor.predict_clicks(session, frame, prompt.obj_id, clicks)

    def _pass(
        self, session: VideoSession, *, reverse: bool
    ) -> Iterator[tuple[int, GridObjects]]:
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
            yield logits.frame + self.frames.start, _objects(logits)

    def _backward_pass(
        self, session: VideoSession
    ) -> Iterator[tuple[int, GridObjects]]:
        if self.span.backward.start == self.frames.start and not self.span.forward:
            # SAM 2 has nothing to do backward from frame 0; its result is also that of
            # the first step forward.
            yield from islice(self._pass(session, reverse=False), 1)
            return
        for frame, objects in self._pass(session, reverse=True):
            if frame in self.span.backward:
                yield frame, objects

    def _joined(
        self, frame: int, objects: GridObjects, kept: dict[int, CroppedObjects]
    ) -> GridObjects:
        """All objects of a frame: those of the forward pass, and what is new."""
        if not self.span.forward:
            return objects
        firsts = self.group.first_frames()
        # objects first prompted here were reported by the forward pass
        is_new = [firsts[scores.obj_id] != frame for scores in objects.scores]
        objects = objects.only(is_new)
        if frame not in kept:
            return objects
        both = kept.pop(frame).and_also(CroppedObjects.of(objects))
        return both.restored(self.predictor.device)

    def _result(self, frame: int, objects: GridObjects) -> FrameResult:
        masks = compose_masks(objects, self.source.hw, self.group.masks_on(frame))
        return FrameResult(self.group.position(frame), masks)


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
