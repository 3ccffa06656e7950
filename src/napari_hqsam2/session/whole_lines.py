"""A line of a session whose objects are looked for on whole frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from napari_hqsam2.segmentation.clicks import answer_clicks, to_clicks
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.corrections import answer_correction
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects
from napari_hqsam2.session.stacks import LineFeatures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.feature_cache import FeatureCache
    from napari_hqsam2.predictors.memory_bank import FrameOutput
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import (
        FrameLogits,
        SAM2VideoPredictor,
    )
    from napari_hqsam2.session.anchors import Anchor, RunPlan
    from napari_hqsam2.session.memories import ConditioningMemories, MemoryKey
    from napari_hqsam2.session.records import PlacedPrompts
    from napari_hqsam2.session.stacks import Line, SessionStack

Remembered: TypeAlias = dict[tuple[int, int], "FrameOutput"]
"""Conditioning memories by object and frame of a line."""


class WholeLine:
    """Some frames of a line, seen whole.

    Parameters
    ----------
    predictor
        The model.
    stack, line, frames
        What is looked at.
    hq
        Use of the high-quality mask.
    features, memories
        What is kept between calls.
    """

    def __init__(
        self,
        predictor: SAM2VideoPredictor,
        stack: SessionStack,
        line: Line,
        frames: range,
        hq: HqMode,
        features: FeatureCache,
        memories: ConditioningMemories[FrameOutput],
    ) -> None:
        self._predictor = predictor
        self._stack = stack
        self._line = line
        self._frames = frames
        self._hq: HqMode = hq
        self._features = features
        self._memories = memories

    def prepare(self, frame: int) -> None:
        """Compute the image features of a frame, unless they are kept."""
        self._predictor.encode_frame(self._session({}), self._index(frame))

    def remembered(self, anchors: Iterable[Anchor]) -> Remembered:
        """Results and memories of conditioning frames, computed or kept."""
        predictor, hw = self._predictor, self._stack.axes.hw
        found: Remembered = {}
        keys: dict[tuple[int, int], MemoryKey] = {}
        session = self._session({})
        for anchor in sorted(anchors, key=lambda anchor: (anchor.frame, anchor.obj_id)):
            place, index = (anchor.obj_id, anchor.frame), self._index(anchor.frame)
            number = self._stack.number(self._line.position(anchor.frame))
            keys[place] = (number, anchor.key, self._hq)
            kept = self._memories.get(keys[place])
            if kept is not None:
                found[place] = kept
            elif anchor.clicks is not None:
                clicks = to_clicks(anchor.clicks, hw, predictor.image_size)
                answer_clicks(predictor, session, index, anchor.obj_id, clicks)
            elif anchor.mask is not None:
                mask = anchor.mask.unpacked()
                predictor.predict_mask(session, index, anchor.obj_id, mask)
        if session.objects:
            _remember_prompts(predictor, session)
        for obj_id, state in session.objects.items():
            for index, output in state.bank.conditioning.items():
                place = (obj_id, index + self._frames.start)
                found[place] = output
                self._memories.put(keys[place], output)
        return found

    def answers(
        self, prompts: Iterable[PlacedPrompts], memories: Iterable[Anchor]
    ) -> Iterator[WindowObjects]:
        """What the model says to the prompts of each object on a frame."""
        predictor, hw = self._predictor, self._stack.axes.hw
        session = self._session(self.remembered(memories))
        for record in prompts:
            obj_id = record.obj_id
            index = self._index(self._line.frame(record.position))
            clicks = to_clicks(record.clicks(), hw, predictor.image_size)
            if record.corrected is None:
                logits = answer_clicks(predictor, session, index, obj_id, clicks)
            else:
                mask = record.corrected.unpacked()
                logits = answer_correction(
                    predictor, session, index, obj_id, clicks, mask
                )
            yield WindowObjects(_objects(logits), Crop(0, 0, *hw))

    def follow(
        self,
        plan: RunPlan,
        remembered: Remembered,
        is_cancelled: Callable[[], bool],
        left: Callable[[FrameObjects], Iterable[int]],
        *,
        reverse: bool,
    ) -> Iterator[tuple[int, FrameObjects]]:
        """One pass of a run; arguments as of `WindowLine.follow`.

        `remembered` holds the results of the plan's anchors.
        """
        session = self._session(remembered)
        order = plan.courses.order(reverse=reverse)
        if not order:
            return
        for logits in self._predictor.propagate(
            session,
            start_frame_idx=self._index(order[0]),
            max_frame_num_to_track=len(order),
            reverse=reverse,
            spans=plan.courses.shifted(self._frames.start, reverse=reverse),
            is_cancelled=is_cancelled,
        ):
            frame = logits.frame + self._frames.start
            objects = FrameObjects.whole(_objects(logits), session.hw)
            yield frame, objects
            for obj_id in left(objects):
                del session.objects[obj_id]
            if not session.objects:
                return

    def _index(self, frame: int) -> int:
        return frame - self._frames.start

    def _session(self, outputs: Remembered) -> VideoSession:
        """A session in which objects have their conditioning memories."""
        stack, line = self._stack, self._line
        session = self._predictor.init_state(
            stack.frames(line, self._frames), contrast_limits=stack.limits
        )
        session.hq = self._hq
        numbers = [stack.number(line.position(frame)) for frame in self._frames]
        session.features = LineFeatures(self._features, numbers)
        for (obj_id, frame), output in outputs.items():
            state = session.add_object(obj_id)
            state.bank.add_conditioning(self._index(frame), output)
        return session


def _remember_prompts(predictor: SAM2VideoPredictor, session: VideoSession) -> None:
    """Turn results of prompts into memories, and track nothing."""
    run = predictor.propagate(session, start_frame_idx=0, max_frame_num_to_track=0)
    for _ in run:
        pass


def _objects(logits: FrameLogits) -> GridObjects:
    values = zip(logits.obj_ids, logits.object_scores, logits.iou_scores, strict=True)
    scores = [ObjectScores(*each) for each in values]
    return GridObjects.of(scores, logits.low_res[:, 0])
