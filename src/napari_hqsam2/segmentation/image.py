"""Objects of a single image: prompts in, masks out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.geometry import to_window
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.frame_source import read_seen
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.predictors.postprocess import keep_largest_piece
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.transforms import to_model_image
from napari_hqsam2.segmentation.clicks import in_steps, to_clicks
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects
from napari_hqsam2.segmentation.guesses import (
    Guess,
    most_agreed,
    predict_candidates,
)
from napari_hqsam2.segmentation.prompt_groups import check_positive
from napari_hqsam2.segmentation.windows import (
    MOST_WINDOWS,
    prompt_box,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode, ImageFeatures
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import Clicks
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.masks import ObjectMask
    from napari_hqsam2.segmentation.windows import WindowRule

IN_VIEW_SCORE = float("inf")
"""Object score in still images, whose objects are there: somebody points at them."""


def segment_frame(
    still: StillModel,
    frames: FrameSource,
    prompts: Sequence[FramePrompts],
    rule: WindowRule | None = None,
) -> tuple[ObjectMask, ...]:
    """Masks of the prompted objects of an image, without overlaps.

    One click takes the best of three candidates; a box the single mask, as do more
    clicks, which correct what those before them gave.

    Parameters
    ----------
    still
        The model.
    frames
        The image, as a source of one frame.
    prompts
        Checked prompts, one per object.
    rule
        Where objects are looked for; None is on the whole image.

    Returns
    -------
    tuple of ObjectMask
        Sorted by object id.
    """
    check_positive(prompts)
    hw = frames.hw
    given = {
        prompt.obj_id: prompt.mask for prompt in prompts if prompt.mask is not None
    }
    scores = [ObjectScores(obj_id, IN_VIEW_SCORE, 1.0) for obj_id in given]
    side = still.model.image_size // 4
    nothing = torch.zeros(len(given), side, side, device=still.model.device)
    whole = Crop(0, 0, *hw)
    parts = [WindowObjects(GridObjects.of(scores, nothing), whole)]
    asked = [prompt for prompt in prompts if prompt.mask is None]
    with inference(still.model.device):
        if asked and rule is None:
            parts.append(WindowObjects(still.objects(frames, whole, asked), whole))
        elif rule is not None:
            parts += _in_windows(still, frames, asked, rule)
        return FrameObjects(tuple(parts)).masks(hw, given)


@dataclass(frozen=True, slots=True, eq=False)
class StillModel:
    """A model that is asked about still images."""

    model: HqSam2
    encode: Callable[[Tensor], ImageFeatures]
    """Makes features of (1, 3, S, S) images, as `FeatureLoader.encode`."""
    limits: IntensityLimits
    """Intensities that it sees as black and white."""
    hq: HqMode
    """Use of the high-quality mask."""
    one_piece: bool = False
    """Keep the largest piece of each mask only."""

    def objects(
        self, frames: FrameSource, crop: Crop, prompts: Sequence[FramePrompts]
    ) -> GridObjects:
        """Objects in a part of the first frame, from their clicks and boxes there."""
        guesses = self.guesses(frames, crop, prompts)
        return self._best(list(guesses.items()))

    def found(self, obj_id: int, guess: Guess) -> WindowObjects:
        """A single object, as its best candidate has it."""
        return WindowObjects(self._best([(obj_id, guess)]), guess.crop)

    def _best(self, guesses: Sequence[tuple[int, Guess]]) -> GridObjects:
        low_res = torch.stack([guess.low_res for _, guess in guesses])
        if self.one_piece:
            low_res = keep_largest_piece(low_res[:, None])[:, 0]
        scores = [
            ObjectScores(obj_id, IN_VIEW_SCORE, max(guess.scores))
            for obj_id, guess in guesses
        ]
        return GridObjects.of(scores, low_res)

    def guesses(
        self, frames: FrameSource, crop: Crop, prompts: Sequence[FramePrompts]
    ) -> dict[int, Guess]:
        """Candidates for objects in a part of the first frame, by id."""
        model = self.model
        frame = read_seen(frames, 0, crop.window, model.image_size)
        image = to_model_image(
            to_unit_rgb(frame, self.limits), model.image_size, model.device, "bilinear"
        )
        features = self.encode(image)
        found = {}
        for batch in _batches(model, prompts, (crop.height, crop.width)):
            clicks = list(batch.values())
            scores, masks = predict_candidates(model, features, clicks, self.hq)
            for row, obj_id in enumerate(batch):
                found[obj_id] = Guess.of(crop, scores[row], masks[row])
        return found


def _in_windows(
    still: StillModel,
    frames: FrameSource,
    prompts: Sequence[FramePrompts],
    rule: WindowRule,
) -> Iterable[WindowObjects]:
    """Objects in windows of their own, which get wider until their masks fit in."""
    by_id = {prompt.obj_id: prompt for prompt in prompts}
    asked = [(crop, prompt) for prompt in prompts for crop in rule.first(prompt)]
    guesses: defaultdict[int, list[Guess]] = defaultdict(list)
    for obj_id, guess in _asked(still, frames, asked):
        guesses[obj_id].append(guess)
    best = {
        obj_id: still.found(obj_id, some[most_agreed(some, rule.hw)])
        for obj_id, some in guesses.items()
    }
    again = dict(best)
    for _ in range(MOST_WINDOWS - 1):
        moved = []
        for obj_id, found in again.items():
            prompt, box = by_id[obj_id], found.pixel_boxes()[obj_id]
            fitting = rule.fitting(found.crop, box, prompt_box(prompt))
            if fitting != found.crop:
                moved.append((fitting, prompt))
        again = {
            obj_id: still.found(obj_id, guess)
            for obj_id, guess in _asked(still, frames, moved)
        }
        best |= again
    return best.values()


def _asked(
    still: StillModel,
    frames: FrameSource,
    prompts: Iterable[tuple[Crop, FramePrompts]],
) -> Iterator[tuple[int, Guess]]:
    """Each object in the window it is asked for; every window is looked at once."""
    by_window: defaultdict[Crop, list[FramePrompts]] = defaultdict(list)
    for crop, prompt in prompts:
        by_window[crop].append(to_window(prompt, crop.window))
    for crop, group in by_window.items():
        yield from still.guesses(frames, crop, group).items()


def _batches(
    model: HqSam2, prompts: Sequence[FramePrompts], hw: tuple[int, int]
) -> Iterator[dict[int, Clicks]]:
    """Clicks by object id; those of a batch are asked for in the same steps."""
    alike: defaultdict[tuple[int, ...], dict[int, Clicks]] = defaultdict(dict)
    for prompt in prompts:
        clicks = to_clicks(prompt, hw, model.image_size)
        steps = tuple(step.labels.shape[1] for step in in_steps(clicks))
        alike[steps][prompt.obj_id] = clicks
    most = BatchSizes(model).most((model.image_size // 16) ** 2, tokens=0)
    for group in alike.values():
        items = list(group.items())
        for start in range(0, len(items), most):
            yield dict(items[start : start + most])
