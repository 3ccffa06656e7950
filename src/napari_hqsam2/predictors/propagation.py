"""One run through the frames of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.batch_size import BatchSizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_hqsam2.predictors.frame_tracker import FrameTracker
    from napari_hqsam2.predictors.memory_bank import FrameOutput
    from napari_hqsam2.predictors.session import ObjectState, VideoSession


@dataclass(frozen=True)
class FrameLogits:
    """Results of one frame, at the resolution of the network."""

    frame: int
    """Index of the frame."""
    obj_ids: tuple[int, ...]
    """The N objects that were processed, in the order in which they were added."""
    low_res: Tensor
    """(N, 1, 4h, 4w) float32 mask logits, on the compute device."""
    object_scores: tuple[float, ...]
    """Logit that each object is in view."""
    iou_scores: tuple[float, ...]
    """Predicted IoU of each mask."""

    @classmethod
    def of(
        cls, frame: int, outputs: Mapping[int, FrameOutput], device: torch.device
    ) -> FrameLogits:
        """Results of N objects, with one transfer for each kind of score."""
        results = outputs.values()
        low_res = [output.low_res for output in results if output.low_res is not None]
        object_scores = torch.cat([output.object_score[:, 0] for output in results])
        iou_scores = torch.cat([output.iou_score for output in results])
        return cls(
            frame=frame,
            obj_ids=tuple(outputs),
            low_res=torch.cat(low_res).to(device),
            object_scores=tuple(object_scores.tolist()),
            iou_scores=tuple(iou_scores.tolist()),
        )


@dataclass(frozen=True)
class Propagation:
    """All objects of a session through some of its frames.

    Objects that are added, prompted or removed between two frames count from the next
    frame on.
    """

    tracker: FrameTracker
    session: VideoSession
    start: int | None
    """First frame; the earliest prompted one without it."""
    count: int | None
    """Most frames; None for all of them."""
    is_reverse: bool
    """Towards frame 0."""
    is_cancelled: Callable[[], bool]
    """Asked before every batch of objects."""
    spans: Mapping[int, range] | None = None
    """Frames, ascending, that objects take part in; those without a span are on all."""

    def results(self) -> Iterator[FrameLogits]:
        """Track frame by frame; ends early, between two frames, once cancelled.

        Raises
        ------
        PromptError
            If an object has no prompt.
        StackError
            If a frame cannot be read, when its turn has come.
        """
        tracker, session = self.tracker, self.session
        sizes = BatchSizes(tracker.model, tracker.config.max_batch)
        self._remember_prompts(sizes)
        order = self._order()
        with tracker.loader.prefetcher(
            session, order, tracker.config.prefetch, self._needs_features
        ) as ahead:
            for position, frame in enumerate(order):
                if any(state.pending for state in session.objects.values()):
                    self._remember_prompts(sizes)
                loaded = ahead.arrive(position)
                if loaded is not None:
                    tracker.loader.accept(session, frame, loaded)
                outputs = tracker.track(
                    session,
                    self._reached(frame),
                    frame,
                    sizes,
                    self.is_cancelled,
                    reverse=self.is_reverse,
                )
                if outputs is None:
                    return
                if outputs:
                    yield FrameLogits.of(frame, outputs, tracker.model.device)

    def _remember_prompts(self, sizes: BatchSizes) -> None:
        session = self.session
        if not session.objects:
            msg = "Nothing to track yet; add points, a box or a mask first."
            raise PromptError(msg)
        self.tracker.remember_prompts(session, sizes)
        for obj_id, state in session.objects.items():
            if not state.bank.conditioning:
                msg = (
                    f"Object {obj_id} has no prompt left; add one or remove the object."
                )
                raise PromptError(msg)

    def _order(self) -> Sequence[int]:
        session, start = self.session, self.start
        if start is None:
            states = session.objects.values()
            start = min(min(state.bank.conditioning) for state in states)
        session.check_frame(start)
        if self.is_reverse:
            # SAM 2 has nothing to do in reverse from frame 0
            is_nothing = start == 0 and self.spans is None
            order = range(0) if is_nothing else range(start, -1, -1)
        else:
            order = range(start, session.num_frames)
        return order if self.count is None else order[: self.count]

    def _reached(self, frame: int) -> dict[int, ObjectState]:
        """Objects that take part on a frame."""
        return {
            obj_id: state
            for obj_id, state in self.session.objects.items()
            if self._takes_part(obj_id, state, frame)
        }

    def _takes_part(self, obj_id: int, state: ObjectState, frame: int) -> bool:
        if state.is_paused and frame not in state.bank.conditioning:
            return False
        span = None if self.spans is None else self.spans.get(obj_id)
        return span is None or frame in span

    def _needs_features(self, frame: int) -> bool:
        """Whether a frame is to be read, as far as the prompts up to now say."""
        return frame not in self.session.features and any(
            frame not in state.bank.conditioning
            for state in self._reached(frame).values()
        )
