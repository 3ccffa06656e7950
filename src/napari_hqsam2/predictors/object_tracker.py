"""The network applied to one object on one frame of a session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.hqsam2 import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.predictors.image_predictor import PREVIOUS_LOGIT_LIMIT
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.predictors.memory_bank import (
    FrameOutput,
    MemoryReach,
    select_memory_frames,
)
from napari_hqsam2.predictors.postprocess import fill_holes
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.session import (
    FORWARD,
    NOT_TRACKED,
    REVERSE,
    Clicks,
    ObjectState,
    PendingOutput,
    VideoSession,
)
from napari_hqsam2.predictors.transforms import to_model_image

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import ImageFeatures, ObjectPrediction
    from napari_hqsam2.predictors.tracking_config import TrackingConfig


@dataclass(frozen=True)
class ObjectTracker:
    """Prompt, track and remember single objects.

    Upstream ``_run_single_frame_inference``.
    """

    model: HqSam2
    config: TrackingConfig

    def features(self, session: VideoSession, frame: int) -> ImageFeatures:
        """Image features of a frame, from the session's cache if they are there."""
        features = session.features.get(frame)
        if features is None:
            rgb = to_unit_rgb(session.frames.read(frame), session.contrast_limits)
            image = to_model_image(
                rgb, self.model.image_size, self.model.device, "bicubic"
            )
            with inference(self.model.device):
                features = self.model.encode_image(image)
            session.features.put(frame, features)
        return features

    def prompt_clicks(
        self, session: VideoSession, state: ObjectState, frame: int, clicks: Clicks
    ) -> FrameOutput:
        """Result of points and boxes; tracked frames are corrected with memories."""
        features = self.features(session, frame)
        state.clicks[frame] = clicks
        state.masks.pop(frame, None)
        direction = state.directions[frame]
        with inference(self.model.device):
            if direction == NOT_TRACKED:
                fused = self.model.without_memory(features.embedding)
            else:
                fused = self._fuse(session, state, frame, reverse=direction == REVERSE)
            prediction = self.model.predict_objects(
                fused,
                features.high_res,
                ModelPrompts(
                    clicks.coords_norm,
                    clicks.labels,
                    self._previous_logits(state, frame),
                ),
                multimask=clicks.labels.shape[1] <= 1,
                hq=session.hq,
            )
        return self._add_pending(session, state, frame, prediction)

    def prompt_mask(
        self, session: VideoSession, state: ObjectState, frame: int, mask: Tensor
    ) -> FrameOutput:
        """Result of a (1, 1, S, S) mask, which is taken as it is."""
        features = self.features(session, frame)
        state.masks[frame] = mask
        state.clicks.pop(frame, None)
        with inference(self.model.device):
            prediction = self.model.adopt_masks(features, mask)
        return self._add_pending(session, state, frame, prediction)

    def remember_prompts(self, session: VideoSession, state: ObjectState) -> None:
        """Turn results of new prompts into memories.

        Upstream ``propagate_in_video_preflight``.
        """
        bank = state.bank
        for frame, pending in state.pending.items():
            with inference(self.model.device):
                memory = self._encode_memory(
                    session, frame, pending.low_res, pending.output, is_prompted=True
                )
            output = replace(pending.output, memory=memory)
            if pending.is_conditioning:
                bank.conditioning[frame] = output
                bank.tracked.pop(frame, None)
                bank.archive.pop(frame, None)
            else:
                bank.add_tracked(frame, output)
            if self.config.clear_non_cond_mem_around_input:
                bank.clear_around(frame, self.model.num_memories)
        state.pending.clear()

    def track(
        self, session: VideoSession, state: ObjectState, frame: int, *, reverse: bool
    ) -> FrameOutput:
        """Result on a frame; prompted frames keep what their prompts gave."""
        output = state.bank.conditioning.get(frame)
        if output is None:
            output = self._track_by_memory(session, state, frame, reverse=reverse)
            state.bank.add_tracked(frame, output)
            state.bank.forget_out_of_reach(frame, self._reach(session))
        state.directions[frame] = REVERSE if reverse else FORWARD
        return output

    def _track_by_memory(
        self, session: VideoSession, state: ObjectState, frame: int, *, reverse: bool
    ) -> FrameOutput:
        features = self.features(session, frame)
        device = self.model.device
        no_point = torch.full((1, 1), -1, dtype=torch.int32, device=device)
        with inference(device):
            prediction = self.model.predict_objects(
                self._fuse(session, state, frame, reverse=reverse),
                features.high_res,
                ModelPrompts(torch.zeros(1, 1, 2, device=device), no_point),
                multimask=True,
                hq=session.hq,
            )
            output = self._to_output(session, prediction)
            # the memory is made before holes are filled, as upstream does
            memory = self._encode_memory(
                session, frame, prediction.low_res, output, is_prompted=False
            )
        return replace(output, memory=memory)

    def _reach(self, session: VideoSession) -> MemoryReach:
        return MemoryReach(
            num_memories=self.model.num_memories,
            max_pointers=min(session.num_frames, self.config.max_object_pointers),
            max_conditioning=self.config.max_cond_frames_in_attn,
        )

    def _fuse(
        self, session: VideoSession, state: ObjectState, frame: int, *, reverse: bool
    ) -> Tensor:
        bank = state.bank
        reach = self._reach(session)
        selection = select_memory_frames(
            frame, bank.conditioning, bank.tracked, reach, reverse=reverse
        )
        memories = [
            SpatialMemory(slot, memory.to(self.model.device))
            for slot, t in selection.spatial
            if (memory := bank[t].memory) is not None
        ]
        span = max(reach.pointer, 1)
        pointers = [
            PointerMemory(distance / span, bank[t].pointer)
            for distance, t in selection.pointers
        ]
        embedding = self.features(session, frame).embedding
        return self.model.fuse_memory(embedding, memories, pointers)

    def _previous_logits(self, state: ObjectState, frame: int) -> Tensor | None:
        pending = state.pending.get(frame)
        logits = pending.low_res if pending else state.bank.previous_logits(frame)
        limit = PREVIOUS_LOGIT_LIMIT
        if logits is None:
            return None
        return logits.to(self.model.device).clamp(-limit, limit)

    def _to_output(
        self, session: VideoSession, prediction: ObjectPrediction
    ) -> FrameOutput:
        low_res = fill_holes(prediction.low_res, self.config.fill_hole_area)
        return FrameOutput(
            low_res=low_res.to(session.storage_device),
            pointer=prediction.pointer,
            object_score=prediction.object_score,
            iou_score=prediction.iou_score,
        )

    def _add_pending(
        self,
        session: VideoSession,
        state: ObjectState,
        frame: int,
        prediction: ObjectPrediction,
    ) -> FrameOutput:
        with inference(self.model.device):
            output = self._to_output(session, prediction)
        is_conditioning = (
            state.directions[frame] == NOT_TRACKED
            or self.config.add_all_frames_to_correct_as_cond
        )
        state.pending[frame] = PendingOutput(output, is_conditioning)
        return output

    def _encode_memory(
        self,
        session: VideoSession,
        frame: int,
        low_res: Tensor,
        output: FrameOutput,
        *,
        is_prompted: bool,
    ) -> Tensor:
        memory = self.model.encode_memory(
            self.features(session, frame).embedding,
            low_res.to(self.model.device),
            output.object_score,
            binarize=is_prompted and self.config.binarize_mask_from_pts_for_mem_enc,
        )
        return memory.to(session.storage_device, session.memory_dtype)
