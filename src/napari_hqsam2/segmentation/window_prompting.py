"""Objects of large frames, each prompted in a window of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hqsam2.geometry import to_window
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.feature_loader import FeatureLoader
from napari_hqsam2.predictors.frame_tracker import FrameTracker
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.segmentation.clicks import (
    answer_clicks,
    to_clicks,
)
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.corrections import answer_correction
from napari_hqsam2.segmentation.frame_objects import (
    FrameObjects,
    WindowObjects,
    pixel_box,
)
from napari_hqsam2.segmentation.guesses import (
    Guess,
    most_agreed,
    predict_candidates,
)
from napari_hqsam2.segmentation.window_frames import SharedFeatures, WindowFrames
from napari_hqsam2.segmentation.windows import MOST_WINDOWS, joined_box, prompt_box

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hqsam2._types import BoolArray
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.feature_cache import FeatureCache
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.memory_bank import FrameOutput
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.crops import Crop
    from napari_hqsam2.segmentation.windows import PixelBox, WindowRule


@dataclass(frozen=True, slots=True, eq=False)
class WindowOutput:
    """Result and memory of prompts, and the windows that they belong to."""

    output: FrameOutput
    """What is remembered."""
    crop: Crop
    """Window of the memory, in which the object is followed at first."""
    shown: FrameOutput
    """The result."""
    seen: Crop
    """Window of the result."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What prompts correct on a frame: a mask that is there already."""

    mask: BoolArray
    """(H, W) of the frame."""
    memories: Mapping[int, WindowOutput]
    """Prompts of the object on other frames."""


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What the model says to prompts in a window."""

    session: VideoSession
    """With the object and the result in it."""
    crop: Crop
    box: PixelBox | None = None
    """Where the object is on the frame; None if nowhere, or if a mask was given."""


class WindowTracker:
    """The verbs of a video predictor, with a window for each object and frame.

    Parameters
    ----------
    predictor
        The model.
    frames
        Frames along the propagation axis.
    rule
        Where objects are looked for.
    limits
        Intensities that the model sees as black and white.
    hq
        Use of the high-quality mask.
    features
        Where image features are kept, for all windows.
    numbers
        Number of each frame in the cache; by default its index.
    """

    def __init__(
        self,
        predictor: SAM2VideoPredictor,
        frames: FrameSource,
        rule: WindowRule,
        limits: IntensityLimits | None,
        hq: HqMode,
        features: FeatureCache,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._predictor = predictor
        self._frames = frames
        self._limits = limits
        self._hq = hq
        self._features = features
        self._numbers = range(len(frames)) if numbers is None else numbers
        model = predictor.model
        # objects fill their windows, so there is nothing to gain by looking closer
        config = replace(predictor.config, tracking="exact")
        self.rule = rule
        self.tracker = FrameTracker(
            model, config, FeatureLoader(model, predictor.loader.store)
        )
        self.sizes = BatchSizes(model, config.max_batch)

    def view(self, crop: Crop) -> VideoSession:
        """The frames seen in a window; no object is known there."""
        frames = WindowFrames(self._frames, crop)
        session = self._predictor.init_state(frames, contrast_limits=self._limits)
        seen = None if crop == self.rule.whole else crop
        session.features = SharedFeatures(self._features, self._numbers, seen)
        session.hq = self._hq
        return session

    def answer(
        self, frame: int, prompt: FramePrompts, correction: Correction | None = None
    ) -> WindowObjects:
        """What the model says to the prompts of an object."""
        session, crop = self._asked(frame, prompt, correction)
        pending = session.objects[prompt.obj_id].pending[frame]
        return WindowObjects(on_grid({prompt.obj_id: pending.output}), crop)

    def remember(self, frame: int, prompt: FramePrompts) -> WindowOutput:
        """Result and memory of the prompts of an object."""
        obj_id, whole = prompt.obj_id, self.rule.whole
        session, seen = self._asked(frame, prompt, None)
        shown, crop = session.objects[obj_id].pending[frame].output, seen
        found = WindowObjects(on_grid({obj_id: shown}), seen)
        box = found.pixel_boxes()[obj_id]
        if seen != whole and box is not None and self.rule.is_followed_whole(box):
            session, crop = self.view(whole), whole
            mask = self._whole_mask(found) if prompt.mask is None else prompt.mask
            self._predictor.predict_mask(session, frame, obj_id, mask)
        self.tracker.remember_prompts(session, self.sizes)
        return WindowOutput(session.objects[obj_id].bank[frame], crop, shown, seen)

    def _whole_mask(self, found: WindowObjects) -> BoolArray:
        """(H, W) mask of a single object."""
        full = np.zeros(self.rule.hw, dtype=bool)
        (mask,) = FrameObjects((found,)).masks(self.rule.hw)
        full[mask.window] = mask.mask
        return full

    def _asked(
        self, frame: int, prompt: FramePrompts, correction: Correction | None
    ) -> tuple[VideoSession, Crop]:
        """Prompt an object, in other windows until its mask fits in."""
        said = prompt_box(prompt)
        if correction is not None:
            shown = replace(prompt, points=(), box=None, mask=correction.mask)
            said = joined_box(said, prompt_box(shown))
            crop = self._corrected_in(said, correction)
        else:
            crop = self._agreed(frame, prompt)
        answer = self._prompted(frame, prompt, crop, correction)
        for _ in range(MOST_WINDOWS - 1):
            fitting = self.rule.fitting(answer.crop, answer.box, said)
            if fitting == answer.crop:
                break
            answer = self._prompted(frame, prompt, fitting, correction)
        return answer.session, answer.crop

    def _agreed(self, frame: int, prompt: FramePrompts) -> Crop:
        """Window that shows best what prompts mean."""
        model, crops = self._predictor.model, self.rule.first(prompt)
        if len(crops) == 1:
            return crops[0]
        guesses = []
        for crop in crops:
            session = self.view(crop)
            features = self.tracker.loader.features(session, frame)
            shown = to_window(prompt, crop.window)
            clicks = [to_clicks(shown, session.hw, model.image_size)]
            with inference(model.device):
                scores, masks = predict_candidates(model, features, clicks, self._hq)
            guesses.append(Guess.of(crop, scores[0], masks[0]))
        return crops[most_agreed(guesses, self.rule.hw)]

    def _corrected_in(self, box: PixelBox, correction: Correction) -> Crop:
        """Window to correct an object; whole if that is all that it remembers."""
        rule = self.rule
        known = {remembered.crop for remembered in correction.memories.values()}
        is_whole = known == {rule.whole} and not rule.is_large
        return rule.whole if is_whole else rule.around(box)

    def _prompted(
        self,
        frame: int,
        asked: FramePrompts,
        crop: Crop,
        correction: Correction | None,
    ) -> _Answer:
        """What prompts say in a window."""
        predictor, obj_id, session = self._predictor, asked.obj_id, self.view(crop)
        prompt = to_window(asked, crop.window)
        if prompt.mask is not None:
            predictor.predict_mask(session, frame, obj_id, prompt.mask)
            return _Answer(session, crop)
        clicks = to_clicks(prompt, session.hw, predictor.image_size)
        if correction is None:
            result = answer_clicks(predictor, session, frame, obj_id, clicks)
        else:
            state = session.add_object(obj_id)
            for other, remembered in correction.memories.items():
                state.bank.add_conditioning(other, remembered.output)
            shown = correction.mask[crop.window]
            result = answer_correction(predictor, session, frame, obj_id, clicks, shown)
        box = pixel_box(result.low_res[0, 0], crop)
        return _Answer(session, crop, box)


def on_grid(outputs: Mapping[int, FrameOutput]) -> GridObjects:
    """Objects with their scores."""
    low_res = [
        output.low_res for output in outputs.values() if output.low_res is not None
    ]
    scores = torch.cat(
        [torch.cat((o.object_score[:, 0], o.iou_score)) for o in outputs.values()]
    )
    pairs = scores.reshape(-1, 2).tolist()
    return GridObjects.of(
        [
            ObjectScores(obj_id, *pair)
            for obj_id, pair in zip(outputs, pairs, strict=True)
        ],
        torch.cat(low_res)[:, 0],
    )
