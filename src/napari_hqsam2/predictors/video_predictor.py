"""Objects through a video, with SAM 2's verbs; upstream ``SAM2VideoPredictor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F

from napari_hqsam2.errors import PromptError
from napari_hqsam2.modeling.hqsam2 import OUT_OF_VIEW_LOGIT
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.feature_cache import (
    DEFAULT_BUDGET,
    DEFAULT_FRAMES,
    FeatureCache,
)
from napari_hqsam2.predictors.feature_loader import FeatureLoader
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.frame_tracker import FrameTracker
from napari_hqsam2.predictors.intensity import estimate_limits
from napari_hqsam2.predictors.object_tracker import ObjectTracker
from napari_hqsam2.predictors.postprocess import keep_largest_logit
from napari_hqsam2.predictors.precision import compute_dtype
from napari_hqsam2.predictors.prompt_inputs import joined, new_clicks, to_model_mask
from napari_hqsam2.predictors.propagation import FrameLogits, Propagation
from napari_hqsam2.predictors.session import NOT_TRACKED, VideoSession
from napari_hqsam2.predictors.tracking_config import TrackingConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.feature_store import FeatureStore
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import Clicks

__all__ = ["FrameLogits", "SAM2VideoPredictor"]


class SAM2VideoPredictor:
    """Prompt objects on any frame of a video and track them through it.

    Every object has its own prompts, conditioning frames and memories: objects may be
    added and removed at any time, and N objects together give what N single runs give.

    Parameters
    ----------
    model : HqSam2
        Plain or HQ; made by `build_sam2_video_predictor`.
    config : TrackingConfig, optional
        How the video is tracked.
    hq : {"add", "only", "off"}
        Use of the high-quality mask in new sessions; models without it ignore this.
    store : FeatureStore, optional
        Where image features are kept on the disk, from one session to the next.
    """

    def __init__(
        self,
        model: HqSam2,
        config: TrackingConfig | None = None,
        hq: HqMode = "add",
        store: FeatureStore | None = None,
    ) -> None:
        self.model = model
        self.config = config or TrackingConfig()
        self.loader = loader = FeatureLoader(model, store)
        self._prompter = ObjectTracker(model, self.config, loader)
        self._tracker = FrameTracker(model, self.config, loader)
        self.hq: HqMode = hq

    @property
    def device(self) -> torch.device:
        """Device that the model computes on."""
        return self.model.device

    @property
    def image_size(self) -> int:
        """S, side in pixels of the model's square input."""
        return self.model.image_size

    def to(self, device: str | torch.device) -> Self:
        """Move the model; sessions made before must be made anew."""
        self.model.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters of the model, by their official names."""
        return self.model.state_dict()

    def load_state_dict(
        self, state_dict: dict[str, Tensor], *, strict: bool = True
    ) -> Any:
        """Load parameters by their official names."""
        self.loader.store = None  # what it holds was computed with others
        return self.model.load_state_dict(state_dict, strict=strict)

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
        *,
        contrast_limits: IntensityLimits | None = None,
        hq_token_only: bool = False,
        feature_cache_bytes: int | None = None,
    ) -> VideoSession:
        """Start work on a video; nothing is read but a few frames for the contrast.

        Parameters
        ----------
        video_path : array, path or FrameSource
            (T, H, W) or (T, H, W, C) array (NumPy, Dask, Zarr), a folder of images, a
            multi-page TIFF, a video file, or any `FrameSource`.
        offload_video_to_cpu, async_loading_frames : bool
            Accepted for SAM 2's callers; frames are always read one at a time and
            never kept.
        offload_state_to_cpu : bool
            Keep memories in host memory.
        contrast_limits : tuple, optional
            Intensities shown as black and white, or one pair for each channel. Without
            it: the full range for uint8, else percentiles of the stack.
        hq_token_only : bool
            Use the high-quality mask alone.
        feature_cache_bytes : int, optional
            Budget for image features of recent frames; by default those of 8 frames,
            at most 128 MiB.

        Raises
        ------
        StackError
            If the video cannot be read or has an unusable shape or dtype.
        """
        del offload_video_to_cpu, async_loading_frames
        frames = open_frames(video_path)
        if contrast_limits is None:
            contrast_limits = estimate_limits(frames)
        features = (
            FeatureCache(DEFAULT_BUDGET, DEFAULT_FRAMES)
            if feature_cache_bytes is None
            else FeatureCache(feature_cache_bytes)
        )
        return VideoSession(
            frames=frames,
            image_size=self.image_size,
            contrast_limits=contrast_limits,
            hq="only" if hq_token_only else self.hq,
            storage_device=torch.device("cpu") if offload_state_to_cpu else self.device,
            memory_dtype=compute_dtype(self.device),
            features=features,
            moves_masks=self.config.moves_masks,
        )

    def add_new_points_or_box(
        self,
        inference_state: VideoSession,
        frame_idx: int,
        obj_id: int,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: npt.ArrayLike | None = None,
    ) -> tuple[int, list[int], Tensor]:
        """Prompt an object on a frame; a new id adds the object.

        Parameters
        ----------
        inference_state : VideoSession
            From `init_state`.
        frame_idx : int
            Frame to prompt on.
        obj_id : int
            The object.
        points, labels : array_like, optional
            (P, 2) points (x, y) in pixels, and (P,) labels, 1 positive or 0 negative.
        clear_old_points : bool
            Replace the object's points on this frame instead of adding to them.
        normalize_coords : bool
            Coordinates are in pixels; if False, already divided by width and height.
        box : array_like, optional
            (x0, y0, x1, y1) in pixels; only together with `clear_old_points`.

        Returns
        -------
        frame_idx : int
            The frame.
        obj_ids : list of int
            All objects.
        masks : Tensor
            (N, 1, H, W) float32 logits of all objects here; -1024 without result.
        """
        if box is not None and not clear_old_points:
            msg = "A box replaces old points: pass clear_old_points=True with a box."
            raise PromptError(msg)
        clicks = new_clicks(
            points,
            labels,
            box,
            inference_state.hw,
            self.image_size,
            normalize=normalize_coords,
        )
        self.predict_clicks(
            inference_state, frame_idx, obj_id, clicks, keep_old=not clear_old_points
        )
        return self._all_objects(inference_state, frame_idx)

    def add_new_mask(
        self,
        inference_state: VideoSession,
        frame_idx: int,
        obj_id: int,
        mask: npt.ArrayLike,
    ) -> tuple[int, list[int], Tensor]:
        """Take a mask as the object itself on a frame.

        Parameters
        ----------
        inference_state : VideoSession
            From `init_state`.
        frame_idx, obj_id : int
            Frame and object.
        mask : array_like
            (H, W) boolean, of the frame's size or any other.

        Returns
        -------
        tuple
            As `add_new_points_or_box`.
        """
        self.predict_mask(inference_state, frame_idx, obj_id, mask)
        return self._all_objects(inference_state, frame_idx)

    def encode_frame(self, session: VideoSession, frame: int) -> None:
        """Compute the image features of a frame, unless the session has them."""
        session.check_frame(frame)
        self._tracker.loader.features(session, frame)

    def predict_clicks(
        self,
        session: VideoSession,
        frame: int,
        obj_id: int,
        clicks: Clicks,
        *,
        keep_old: bool = False,
    ) -> FrameLogits:
        """`add_new_points_or_box` without the work for other objects."""
        session.check_frame(frame)
        state = session.objects.get(obj_id)
        old = state.clicks.get(frame) if state and keep_old else None
        clicks = joined(old, clicks, self.device)
        output = self._prompter.prompt_clicks(session, obj_id, frame, clicks)
        return FrameLogits.of(frame, {obj_id: output}, self.device)

    def predict_mask(
        self, session: VideoSession, frame: int, obj_id: int, mask: npt.ArrayLike
    ) -> FrameLogits:
        """`add_new_mask` without the work for other objects."""
        session.check_frame(frame)
        model_mask = to_model_mask(mask, self.image_size).to(self.device)
        output = self._prompter.prompt_mask(session, obj_id, frame, model_mask)
        return FrameLogits.of(frame, {obj_id: output}, self.device)

    def propagate_in_video(
        self,
        inference_state: VideoSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """Track all objects frame by frame.

        Parameters
        ----------
        inference_state : VideoSession
            From `init_state`, with prompts.
        start_frame_idx : int, optional
            First frame; the earliest prompted one without it.
        max_frame_num_to_track : int, optional
            Exactly so many frames at most, the first one included.
        reverse : bool
            Towards frame 0.

        Yields
        ------
        frame_idx : int
            The frame.
        obj_ids : list of int
            All objects.
        masks : Tensor
            (N, 1, H, W) float32 logits.
        """
        for result in self.propagate(
            inference_state,
            start_frame_idx=start_frame_idx,
            max_frame_num_to_track=max_frame_num_to_track,
            reverse=reverse,
        ):
            masks = self._to_frame_size(inference_state, result.low_res)
            yield result.frame, list(result.obj_ids), masks

    def propagate(
        self,
        session: VideoSession,
        *,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        is_cancelled: Callable[[], bool] | None = None,
        spans: Mapping[int, range] | None = None,
    ) -> Iterator[FrameLogits]:
        """`propagate_in_video` at the resolution of the network.

        Parameters
        ----------
        session, start_frame_idx, max_frame_num_to_track, reverse
            As in `propagate_in_video`.
        is_cancelled : callable, optional
            Asked before every batch of objects. Once it is true the run ends, and a
            frame that is not complete leaves no trace.
        spans : mapping, optional
            Frames, ascending, that each object takes part in; objects that are not
            named take part in all. With it, a run in reverse may begin on frame 0.

        Yields
        ------
        FrameLogits
            Only objects that were processed. Objects that are added or removed between
            two frames count from the next frame on.
        """
        run = Propagation(
            tracker=self._tracker,
            session=session,
            start=start_frame_idx,
            count=max_frame_num_to_track,
            is_reverse=reverse,
            is_cancelled=is_cancelled or _never,
            spans=spans,
        )
        yield from run.results()

    def remember(self, session: VideoSession) -> None:
        """Encode all memories that wait for it: of new prompts, of the last frame."""
        sizes = BatchSizes(self.model, self.config.max_batch)
        self._tracker.remember_prompts(session, sizes)
        states = session.objects.values()
        self._tracker.remember_tracked(session, states, None, sizes)

    def clear_all_prompts_in_frame(
        self,
        inference_state: VideoSession,
        frame_idx: int,
        obj_id: int,
        need_output: bool = True,
    ) -> tuple[int, list[int], Tensor] | None:
        """Remove an object's prompts from a frame; its result stays as a tracked one.

        Raises
        ------
        KeyError
            If there is no such object.
        """
        state = inference_state.require_object(obj_id)
        state.clicks.pop(frame_idx, None)
        state.masked.discard(frame_idx)
        state.pending.pop(frame_idx, None)
        if state.bank.demote_conditioning(frame_idx):
            state.directions[frame_idx] = NOT_TRACKED
        return self._all_objects(inference_state, frame_idx) if need_output else None

    def remove_object(
        self,
        inference_state: VideoSession,
        obj_id: int,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[int], list[tuple[int, Tensor]]]:
        """Forget an object; all others keep what they have.

        Returns
        -------
        obj_ids : list of int
            The objects that are left.
        updated : list of (int, Tensor)
            Frames that the object was prompted on, with the (N, 1, H, W) logits of
            the others.

        Raises
        ------
        KeyError
            With `strict`, if there is no such object.
        """
        if strict:
            inference_state.require_object(obj_id)
        state = inference_state.objects.pop(obj_id, None)
        if state is None or not need_output or not inference_state.objects:
            return inference_state.obj_ids, []
        updated = [
            (frame, self._all_objects(inference_state, frame)[2])
            for frame in sorted(state.prompted_frames)
        ]
        return inference_state.obj_ids, updated

    def reset_state(self, inference_state: VideoSession) -> None:
        """Forget all objects; image features stay."""
        inference_state.objects.clear()

    def _all_objects(
        self, session: VideoSession, frame: int
    ) -> tuple[int, list[int], Tensor]:
        side = self.image_size // 4
        nothing = torch.full((1, 1, side, side), OUT_OF_VIEW_LOGIT, device=self.device)
        rows = []
        for state in session.objects.values():
            low_res = state.low_res(frame)
            rows.append(nothing if low_res is None else low_res.to(self.device))
        if not rows:
            return frame, [], nothing[:0]
        return frame, session.obj_ids, self._to_frame_size(session, torch.cat(rows))

    def _to_frame_size(self, session: VideoSession, low_res: Tensor) -> Tensor:
        masks = F.interpolate(low_res, size=session.hw, mode="bilinear")
        return keep_largest_logit(masks) if self.config.non_overlap_masks else masks


def _never() -> bool:
    return False
