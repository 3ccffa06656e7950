"""Prompts of one object on one frame of a session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch

from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.predictors.batch_network import BatchNetwork
from napari_hqsam2.predictors.device_errors import no_numbers, with_room
from napari_hqsam2.predictors.frame_tracker import memory_reach
from napari_hqsam2.predictors.image_predictor import PREVIOUS_LOGIT_LIMIT
from napari_hqsam2.predictors.memory_bank import FrameOutput
from napari_hqsam2.predictors.object_batch import read_bank, to_memories, to_pointers
from napari_hqsam2.predictors.postprocess import fill_holes, keep_largest_piece
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.session import NOT_TRACKED, REVERSE, PendingOutput

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import ImageFeatures, ObjectPrediction
    from napari_hqsam2.predictors.feature_loader import FeatureLoader
    from napari_hqsam2.predictors.session import Clicks, ObjectState, VideoSession
    from napari_hqsam2.predictors.tracking_config import TrackingConfig


@dataclass(frozen=True)
class ObjectTracker:
    """Predicts what prompts mean; other objects cost nothing.

    Upstream ``_run_single_frame_inference``, for frames with prompts.
    """

    model: HqSam2
    config: TrackingConfig
    loader: FeatureLoader

    def prompt_clicks(
        self, session: VideoSession, obj_id: int, frame: int, clicks: Clicks
    ) -> FrameOutput:
        """Result of points and boxes; tracked frames are corrected with memories."""
        self.loader.features(session, frame)  # nothing has changed if that fails
        state = session.add_object(obj_id)
        state.clicks[frame] = clicks
        state.masked.discard(frame)

        def predict(features: ImageFeatures, *, single: bool) -> ObjectPrediction:
            if _is_first(state, frame):
                fused = self.model.without_memory(features.embedding)
            else:
                embedding = features.embedding
                fused = self._fuse(session, obj_id, frame, embedding, single=single)
            prompts = ModelPrompts(
                clicks.coords_norm, clicks.labels, self._previous_logits(state, frame)
            )
            prediction = self.model.predict_objects(
                fused,
                features.high_res,
                prompts,
                multimask=clicks.labels.shape[1] <= 1,
                hq=session.hq,
            )
            low_res = self.model.refine_masks(
                prediction.low_res, features.picture, prompts, session.hq
            )
            is_in_view = (prediction.object_score > 0)[..., None, None]
            low_res = torch.where(is_in_view, low_res, prediction.low_res)
            return replace(prediction, low_res=low_res)

        return self._answer(session, obj_id, frame, predict)

    def prompt_mask(
        self, session: VideoSession, obj_id: int, frame: int, mask: Tensor
    ) -> FrameOutput:
        """Result of a (1, 1, S, S) mask, which is taken as it is."""
        self.loader.features(session, frame)  # nothing has changed if that fails
        state = session.add_object(obj_id)
        state.masked.add(frame)
        state.clicks.pop(frame, None)

        def adopt(features: ImageFeatures, *, single: bool) -> ObjectPrediction:
            del single
            return self.model.adopt_masks(features, mask)

        return self._answer(session, obj_id, frame, adopt)

    def _answer(
        self, session: VideoSession, obj_id: int, frame: int, predict: _Predict
    ) -> FrameOutput:
        """Answer to prompts, in float32 if there are no numbers else."""

        def attempt(*, single: bool) -> FrameOutput | None:
            features_of = (
                self.loader.single_features if single else self.loader.features
            )
            features = features_of(session, frame)
            with inference(self.model.device, single=single):
                prediction = predict(features, single=single)
                if not prediction.is_finite.all():
                    return None
                state = session.objects[obj_id]
                return self._add_pending(session, state, frame, prediction)

        for single in (False, True):
            trial = partial(attempt, single=single)
            answer = with_room(session.features, self.model.device, trial)
            if answer is not None:
                return answer
        raise no_numbers(obj_id)

    def _fuse(
        self,
        session: VideoSession,
        obj_id: int,
        frame: int,
        embedding: Tensor,
        *,
        single: bool,
    ) -> Tensor:
        state, device = session.objects[obj_id], self.model.device
        network = BatchNetwork(self.model, self.config, session)
        for t in state.bank.unencoded(frame):
            (state.bank.tracked[t],) = network.encode([state.bank.tracked[t]])
        reach = memory_reach(self.model, self.config, session)
        is_reverse = bool(state.directions[frame] == REVERSE)
        reading = read_bank(obj_id, state.bank, frame, reach, reverse=is_reverse)
        height, width = embedding.shape[-2:]
        return self.model.fuse_memory(
            self.model.attend_frame(embedding),
            to_memories([reading], (height, width), device),
            to_pointers(
                [reading],
                max(reach.pointer, 1),
                device,
                torch.float32 if single else None,
            ),
        )

    def _previous_logits(self, state: ObjectState, frame: int) -> Tensor | None:
        logits = state.low_res(frame)
        limit = PREVIOUS_LOGIT_LIMIT
        if logits is None:
            return None
        # those of old frames are read from an archive, which has no precision
        dtype = self.model.no_mem_embed.dtype
        return logits.to(self.model.device, dtype).clamp(-limit, limit)

    def _add_pending(
        self,
        session: VideoSession,
        state: ObjectState,
        frame: int,
        prediction: ObjectPrediction,
    ) -> FrameOutput:
        low_res = prediction.low_res
        if self.config.one_piece:
            low_res = keep_largest_piece(low_res)
        low_res = fill_holes(low_res, self.config.fill_hole_area)
        output = FrameOutput(
            low_res=low_res.to(session.storage_device),
            pointer=prediction.pointer,
            object_score=prediction.object_score,
            iou_score=prediction.iou_score,
        )
        is_conditioning = (
            _is_first(state, frame) or self.config.add_all_frames_to_correct_as_cond
        )
        state.pending[frame] = PendingOutput(output, is_conditioning)
        return output


class _Predict(Protocol):
    """What the model says, given features of a frame."""

    def __call__(self, features: ImageFeatures, *, single: bool) -> ObjectPrediction:
        """Predict one object."""


def _is_first(state: ObjectState, frame: int) -> bool:
    """Whether prompts say what the object is, not how its track is to be corrected."""
    is_tracked = state.directions[frame] != NOT_TRACKED
    return not (is_tracked and state.bank.conditioning)
