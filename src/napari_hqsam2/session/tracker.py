"""The model at work for a session: one frame, or a run along a line.

Nothing of a run is carried over to the next but image features and conditioning
memories, which depend on pixels and prompts alone. So what a call gives depends on
what can be seen - prompts, locks, labels - and not on what was called before.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch

from napari_hqsam2.api import load_model
from napari_hqsam2.build import with_settings
from napari_hqsam2.predictors.compilation import compile_model
from napari_hqsam2.predictors.device_errors import device_errors_told
from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.segmentation.both_sides import BothSides
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects
from napari_hqsam2.segmentation.image import IN_VIEW_SCORE
from napari_hqsam2.segmentation.prompt_groups import check_positive
from napari_hqsam2.segmentation.window_frames import SharedFeatures
from napari_hqsam2.segmentation.windows import joined_box, prompt_box
from napari_hqsam2.session.memories import ConditioningMemories
from napari_hqsam2.session.model_view import ModelView
from napari_hqsam2.session.passes import Watch, side_by_side
from napari_hqsam2.session.whole_lines import WholeLine
from napari_hqsam2.session.windows import WindowLine, as_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.memory_bank import FrameOutput
    from napari_hqsam2.predictors.video_predictor import (
        SAM2VideoPredictor,
    )
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.both_sides import Frames
    from napari_hqsam2.segmentation.masks import ObjectMask
    from napari_hqsam2.segmentation.options import StackSettings
    from napari_hqsam2.segmentation.window_prompting import WindowOutput
    from napari_hqsam2.segmentation.windows import PixelBox, WindowRule
    from napari_hqsam2.session.anchors import Anchor, RunPlan
    from napari_hqsam2.session.records import PlacedPrompts
    from napari_hqsam2.session.stacks import Line, SessionStack

FEATURE_BYTES = 256 * 2**20
"""Room for image features of recent frames."""
MEMORY_BYTES = 256 * 2**20
"""Room for memories of conditioning frames between runs."""


class Tracker:
    """The model of a session, loaded when it is first needed.

    Parameters
    ----------
    stack
        What is segmented.
    settings
        Model, device, resolution, tracking.
    """

    def __init__(self, stack: SessionStack, settings: StackSettings) -> None:
        self._stack = stack
        self._settings = settings
        self._loaded: SAM2VideoPredictor | None
        self._predictor: SAM2VideoPredictor | None
        self._features = FeatureCache(FEATURE_BYTES)
        self._memories: ConditioningMemories[FrameOutput]
        self._window_memories: ConditioningMemories[WindowOutput]
        self.release()

    def predictor(self) -> SAM2VideoPredictor:
        """The model with the settings of the session."""
        if self._predictor is None:
            settings = self._settings
            if self._loaded is None:
                model = settings.model
                if isinstance(model, str):
                    model = load_model(
                        model, checkpoint=settings.checkpoint, device=settings.device
                    )
                if settings.compile:
                    compile_model(model.model)
                self._loaded = model
            self._predictor = with_settings(
                self._loaded,
                tracking=settings.tracking,
                resolution=settings.resolution,
                one_piece=settings.one_piece or None,
            )
        return self._predictor

    @property
    def is_two_sided(self) -> bool:
        """Whether objects are followed between two anchors from both of them."""
        return self.predictor().config.moves_masks

    def use(self, model: SAM2VideoPredictor) -> None:
        """Take a model that is loaded already."""
        self.release()
        self._loaded = model

    def configure(self, settings: StackSettings) -> None:
        """Go on with other settings; what was computed with the old ones is dropped."""
        old, self._settings = self._settings, settings
        loaded = self._loaded
        if replace(settings, hq_mode=old.hq_mode) != old:
            self.release()
        names = ("model", "checkpoint", "device", "compile")
        if all(getattr(settings, name) == getattr(old, name) for name in names):
            self._loaded = loaded

    def release(self) -> None:
        """Let go of the model and of what it has computed."""
        self._loaded = self._predictor = None
        self._features.clear()
        self._memories = ConditioningMemories(MEMORY_BYTES)
        self._window_memories = ConditioningMemories(MEMORY_BYTES)

    def prepare(self, line: Line, frame: int) -> None:
        """Compute the image features of a frame, unless they are kept.

        In windows there is nothing to compute before an object is pointed at.
        """
        rule = self._rule()
        if rule is not None and rule.is_large:
            return
        whole = range(self._stack.length(line))
        self._whole(line, whole, self._settings.hq_mode).prepare(frame)

    def has_features(self, record: PlacedPrompts) -> bool:
        """Whether the image features are kept that an answer to prompts begins with."""
        rule, clicks = self._rule(), record.clicks()
        whole = Crop(0, 0, *self._stack.axes.hw)
        crops: tuple[Crop, ...] = (whole,)
        if rule is not None and record.corrected is not None:
            box = joined_box(record.corrected.box, prompt_box(clicks))
            crops = (rule.around(box),)
        elif rule is not None:
            crops = rule.first(clicks)
        numbers = [self._stack.number(record.position)]
        seen = (None if crop == whole else crop for crop in crops)
        return all(0 in SharedFeatures(self._features, numbers, crop) for crop in seen)

    def view(
        self, line: Line, frame: int, prompt: FramePrompts | None, box: PixelBox | None
    ) -> ModelView:
        """What the model is given of a frame.

        Parameters
        ----------
        line, frame
            The frame.
        prompt, box
            What was said of an object there and where it was found, if it was; the
            latter counts.
        """
        rule, crop = self._rule(), Crop(0, 0, *self._stack.axes.hw)
        if rule is not None and box is not None:
            crop = rule.around(box)
        elif rule is not None and prompt is not None:
            crop = rule.first(prompt)[-1]
        source = self._stack.frames(line, range(self._stack.length(line)))
        side = self.predictor().image_size
        return ModelView.of(source, frame, self._stack.limits, crop, side)

    def segment(
        self,
        prompts: Sequence[tuple[Line, PlacedPrompts]],
        memories: Mapping[Line, Sequence[Anchor]],
        modes: HqModes,
    ) -> tuple[ObjectMask, ...]:
        """Masks of objects on one frame, from the prompts there.

        Parameters
        ----------
        prompts
            For each object, all of which lie on one frame; with the line along which
            it was followed, if prompts correct that.
        memories
            Other conditioning frames of objects that are corrected.
        modes
            Use of the high-quality mask.

        Raises
        ------
        PromptError
            An object has negative points only and nothing that they correct.
        """
        records = [record for _, record in prompts]
        check_positive(
            r.clicks() for r in records if not r.is_given and r.corrected is None
        )
        given = {r.obj_id: r.mask.unpacked() for r in records if r.is_given and r.mask}
        scores = [ObjectScores(obj_id, IN_VIEW_SCORE, 1.0) for obj_id in given]
        asked: dict[tuple[Line, HqMode], list[PlacedPrompts]] = {}
        for line, record in prompts:
            if not record.is_given:
                asked.setdefault((line, modes[record.obj_id]), []).append(record)
        side = self.predictor().image_size // 4 if asked else 1
        device = self.predictor().device if asked else torch.device("cpu")
        hw = self._stack.axes.hw
        with device_errors_told(device):
            nothing = torch.zeros(len(given), side, side, device=device)
            parts = [WindowObjects(GridObjects.of(scores, nothing), Crop(0, 0, *hw))]
            for (line, hq), some in asked.items():
                ids = {record.obj_id for record in some}
                own = [a for a in memories.get(line, ()) if a.obj_id in ids]
                parts += self._answers(line, some, own, hq)
            return FrameObjects(tuple(parts)).masks(hw, given)

    def _answers(
        self,
        line: Line,
        prompts: Sequence[PlacedPrompts],
        memories: Sequence[Anchor],
        hq: HqMode,
    ) -> Iterator[WindowObjects]:
        """What the model says to the prompts of each object on a frame of a line."""
        whole = range(self._stack.length(line))
        asked = (record.clicks() for record in prompts if record.corrected is None)
        is_corrected = any(record.corrected is not None for record in prompts)
        windows = self._windows(line, whole, hq)
        if windows is None or not (is_corrected or windows.are_needed(asked)):
            yield from self._whole(line, whole, hq).answers(prompts, memories)
            return
        for record in prompts:
            yield windows.answer(record, line.frame(record.position), memories)

    def follow(
        self,
        plan: RunPlan,
        modes: HqModes,
        stop_after_empty: int | None,
        is_cancelled: Callable[[], bool],
    ) -> Iterator[tuple[int, tuple[ObjectMask, ...]]]:
        """Frames of a run and the masks of the objects there, in order of processing.

        Objects that are locked on a frame are left out of its masks.
        """
        watch, hw = Watch(stop_after_empty), self._stack.axes.hw
        # what fails on a GPU shows at any later place
        with device_errors_told(self.predictor().device):
            for frame, objects in self._passes(plan, modes, watch, is_cancelled):
                here = [anchor for anchor in plan.anchors if anchor.frame == frame]
                locked = [anchor.obj_id for anchor in here if anchor.is_locked]
                given = {
                    a.obj_id: a.mask.unpacked()
                    for a in here
                    if a.mask is not None and not a.is_locked
                }
                yield frame, objects.without(locked).masks(hw, given)

    def _passes(
        self,
        plan: RunPlan,
        modes: HqModes,
        watch: Watch,
        is_cancelled: Callable[[], bool],
    ) -> Frames:
        run = self._runner(plan, modes, watch, is_cancelled)
        sides = BothSides(plan.courses, self.predictor().device)
        watch.restart()
        yield from sides.forward(run(reverse=False))
        if is_cancelled():
            return
        watch.restart()
        yield from sides.backward(run(reverse=True))

    def _runner(
        self,
        plan: RunPlan,
        modes: HqModes,
        watch: Watch,
        is_cancelled: Callable[[], bool],
    ) -> Callable[..., Frames]:
        """What does a pass of a run, from its anchors alone."""
        by_mode: dict[HqMode, set[int]] = {}
        for obj_id in plan.first_frames():
            by_mode.setdefault(modes[obj_id], set()).add(obj_id)
        runs = [
            self._runner_of_one_mode(plan.of_objects(ids), hq, watch, is_cancelled)
            for hq, ids in by_mode.items()
        ]
        return partial(side_by_side, runs)

    def _runner_of_one_mode(
        self,
        plan: RunPlan,
        hq: HqMode,
        watch: Watch,
        is_cancelled: Callable[[], bool],
    ) -> Callable[..., Frames]:
        """The same of objects whose masks are made alike."""
        windows = self._windows(plan.line, plan.frames, hq)
        if windows is not None and windows.are_needed(map(as_prompt, plan.anchors)):
            return partial(windows.follow, plan, is_cancelled, watch.left)
        whole = self._whole(plan.line, plan.frames, hq)
        remembered = whole.remembered(plan.anchors)
        return partial(whole.follow, plan, remembered, is_cancelled, watch.left)

    def _rule(self) -> WindowRule | None:
        """Where objects are looked for; None is on whole frames."""
        return self._settings.window_rule(self._stack.axes.hw, self.predictor())

    def _whole(self, line: Line, frames: range, hq: HqMode) -> WholeLine:
        """Frames of a line as they are."""
        return WholeLine(
            self.predictor(),
            self._stack,
            line,
            frames,
            hq,
            self._features,
            self._memories,
        )

    def _windows(self, line: Line, frames: range, hq: HqMode) -> WindowLine | None:
        """Frames of a line as windows show them; None if they are shown whole."""
        rule = self._rule()
        if rule is None:
            return None
        return WindowLine(
            self.predictor(),
            rule,
            self._stack,
            line,
            frames,
            hq,
            self._features,
            self._window_memories,
        )


HqModes: TypeAlias = "Mapping[int, HqMode]"
"""Use of the high-quality mask by object."""
