"""Objects followed through one series of frames: prompts in, masks out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_hqsam2.geometry import box_to_sam_xyxy, data_yx_to_sam_xy
from napari_hqsam2.predictors.prompt_inputs import new_clicks
from napari_hqsam2.segmentation.masks import FrameResult, compose_masks, crop_logits
from napari_hqsam2.segmentation.stack_view import FrameRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from napari_hqsam2._types import HW
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import (
        FrameLogits,
        SAM2VideoPredictor,
    )
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.masks import LowResPatch
    from napari_hqsam2.segmentation.prompt_groups import FrameSpan, PromptGroup


@dataclass(frozen=True, slots=True, eq=False)
class SamPrompt:
    """Points and box of a prompt as the predictors take them."""

    points_xy: npt.NDArray[Any] | None
    """(P, 2) in SAM space."""
    labels: list[int] | None
    """(P,) 1 positive, 0 negative."""
    box_xyxy: npt.NDArray[Any] | None
    """(4,) in SAM space."""


def to_sam_prompt(prompt: FramePrompts, hw: HW, input_size: int) -> SamPrompt:
    """Points and box of a prompt in SAM space, for an (H, W) image."""
    points = labels = box = None
    if prompt.points:
        points = data_yx_to_sam_xy([(p.y, p.x) for p in prompt.points], hw, input_size)
        labels = [int(p.positive) for p in prompt.points]
    if prompt.box is not None:
        box = box_to_sam_xyxy(prompt.box, hw, input_size)
    return SamPrompt(points, labels, box)


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
        kept: dict[int, tuple[LowResPatch, ...]] = {}
        session = None
        if self.span.forward:
            session = self._prompted_session(None)
            for frame, logits in self._pass(session, reverse=False):
                patches = _patches(logits)
                if frame in self.span.backward:
                    kept[frame] = patches
                yield self._result(frame, patches, logits)
        if self.span.backward and not self.is_cancelled():
            session = self._prompted_session(session)
            for frame, logits in self._backward_pass(session):
                patches = (*kept.pop(frame, ()), *self._new(frame, _patches(logits)))
                yield self._result(frame, patches, logits)

    def _prompted_session(self, earlier: VideoSession | None) -> VideoSession:
        frames = FrameRange(self.source, self.frames)
        session = self.predictor.init_state(frames, contrast_limits=self.limits)
        session.hq = self.hq
        if earlier is not None:
            session.features = earlier.features
        for prompt in self.group.prompts:
            if self.is_cancelled():
                break
            self._add_prompt(session, prompt)
        return session

    def _add_prompt(self, session: VideoSession, prompt: FramePrompts) -> None:
        frame = self.group.frame(prompt) - self.frames.start
        predictor, size = self.predictor, self.predictor.image_size
        if prompt.mask is not None:
            predictor.predict_mask(session, frame, prompt.obj_id, prompt.mask)
            return
        sam = to_sam_prompt(prompt, session.hw, size)
        clicks = new_clicks(
            sam.points_xy, sam.labels, sam.box_xyxy, session.hw, size, normalize=True
        )
        predictor.predict_clicks(session, frame, prompt.obj_id, clicks)

    def _pass(
        self, session: VideoSession, *, reverse: bool
    ) -> Iterator[tuple[int, FrameLogits]]:
        if self.is_cancelled():
            return
        firsts = self.group.first_frames().values()
        start = max(firsts) if reverse else min(firsts)
        for logits in self.predictor.propagate(
            session,
            start_frame_idx=start - self.frames.start,
            reverse=reverse,
            from_own_prompts=True,
        ):
            yield logits.frame + self.frames.start, logits

    def _backward_pass(
        self, session: VideoSession
    ) -> Iterator[tuple[int, FrameLogits]]:
        if self.span.backward.start == self.frames.start and not self.span.forward:
            # SAM 2 has nothing to do backward from frame 0; its result is also that of
            # the first step forward.
            yield from islice(self._pass(session, reverse=False), 1)
            return
        for frame, logits in self._pass(session, reverse=True):
            if frame in self.span.backward:
                yield frame, logits

    def _new(
        self, frame: int, patches: tuple[LowResPatch, ...]
    ) -> tuple[LowResPatch, ...]:
        """Leave out what the forward pass has reported: objects first prompted here."""
        if not self.span.forward:
            return patches
        firsts = self.group.first_frames()
        return tuple(patch for patch in patches if firsts[patch.obj_id] != frame)

    def _result(
        self, frame: int, patches: tuple[LowResPatch, ...], logits: FrameLogits
    ) -> FrameResult:
        height, width = logits.low_res.shape[-2:]
        masks = compose_masks(
            patches,
            low_hw=(height, width),
            hw=self.source.hw,
            given=self.group.masks_on(frame),
        )
        return FrameResult(self.group.position(frame), masks)


def _patches(logits: FrameLogits) -> tuple[LowResPatch, ...]:
    return crop_logits(
        logits.obj_ids,
        logits.low_res[:, 0].float().cpu().numpy(),
        logits.object_scores,
        logits.iou_scores,
    )
