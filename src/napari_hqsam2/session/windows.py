"""A line of a session whose objects are looked for in windows of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.prompts import FramePrompts
from napari_hqsam2.segmentation.window_prompting import (
    Correction,
    WindowOutput,
    WindowTracker,
)
from napari_hqsam2.segmentation.window_tracking import WindowRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.feature_cache import FeatureCache
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects
    from napari_hqsam2.segmentation.windows import WindowRule
    from napari_hqsam2.session.anchors import Anchor, RunPlan
    from napari_hqsam2.session.memories import ConditioningMemories
    from napari_hqsam2.session.records import PlacedPrompts
    from napari_hqsam2.session.stacks import Line, SessionStack

Remembered = dict[tuple[int, int], WindowOutput]
"""Conditioning memories by object and index of the frame within a line's frames."""


class WindowLine:
    """Some frames of a line, seen through windows.

    Parameters
    ----------
    predictor, rule
        The model, and where it looks.
    stack, line, frames
        What is looked at.
    features, memories
        What is kept between calls.
    """

    def __init__(
        self,
        predictor: SAM2VideoPredictor,
        rule: WindowRule,
        stack: SessionStack,
        line: Line,
        frames: range,
        hq: HqMode,
        features: FeatureCache,
        memories: ConditioningMemories[WindowOutput],
    ) -> None:
        self._frames = frames
        self._numbers = [stack.number(line.position(frame)) for frame in frames]
        self._hq: HqMode = hq
        self._memories = memories
        self._tracker = WindowTracker(
            predictor,
            stack.frames(line, frames),
            rule,
            stack.limits,
            hq,
            features,
            self._numbers,
        )

    def are_needed(self, prompts: Iterable[FramePrompts]) -> bool:
        """Whether any of these objects would be looked at in less than the frame."""
        return self._tracker.rule.is_needed(prompts)

    def remembered(self, anchors: Iterable[Anchor]) -> Remembered:
        """Results and memories of conditioning frames, computed or kept."""
        found: Remembered = {}
        for anchor in anchors:
            index = anchor.frame - self._frames.start
            key = (self._numbers[index], anchor.key, self._hq)
            output = self._memories.get(key)
            if output is None:
                output = self._tracker.remember(index, as_prompt(anchor))
                self._memories.put(key, output)
            found[anchor.obj_id, index] = output
        return found

    def answer(
        self, record: PlacedPrompts, frame: int, memories: Sequence[Anchor]
    ) -> WindowObjects:
        """What the model says to the prompts of one object on a frame."""
        index, prompt = frame - self._frames.start, record.clicks()
        if record.corrected is None:
            return self._tracker.answer(index, prompt)
        own = self.remembered(a for a in memories if a.obj_id == record.obj_id)
        correction = Correction(
            record.corrected.unpacked(),
            {other: output for (_, other), output in own.items()},
        )
        return self._tracker.answer(index, prompt, correction)

    def follow(
        self,
        plan: RunPlan,
        is_cancelled: Callable[[], bool],
        left: Callable[[FrameObjects], Iterable[int]],
        *,
        reverse: bool,
    ) -> Iterator[tuple[int, FrameObjects]]:
        """One pass of a run.

        Parameters
        ----------
        plan
            The run.
        is_cancelled
            Asked before every batch of objects.
        left
            Told what was found on a frame; says which objects are followed no further.
        reverse
            Towards frame 0.
        """
        offset, order = self._frames.start, plan.courses.order(reverse=reverse)
        indices = range(order.start - offset, order.stop - offset, order.step)
        spans = plan.courses.shifted(offset, reverse=reverse)
        run = WindowRun(self._tracker, self.remembered(plan.anchors), is_cancelled)
        for index, objects in run.results(indices, spans):
            yield index + offset, objects
            for obj_id in left(objects):
                run.leave(obj_id)
            if not run.obj_ids:
                return


def as_prompt(anchor: Anchor) -> FramePrompts:
    """What an anchor says of its object."""
    if anchor.clicks is not None:
        return anchor.clicks
    mask = None if anchor.mask is None else anchor.mask.unpacked()
    return FramePrompts((), anchor.obj_id, mask=mask)
