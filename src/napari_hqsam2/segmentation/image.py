"""Objects of a single image: prompts in, masks out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.geometry import to_window
from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.frame_source import read_seen
from napari_hqsam2.predictors.image_predictor import PREVIOUS_LOGIT_LIMIT
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.predictors.postprocess import keep_largest_piece
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.transforms import to_model_image
from napari_hqsam2.segmentation.clicks import in_steps, to_clicks
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import FrameObjects, WindowObjects
from napari_hqsam2.segmentation.prompt_groups import check_positive
from napari_hqsam2.segmentation.windows import (
    MOST_WINDOWS,
    joined_box,
    prompt_box,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
        model = self.model
        frame = read_seen(frames, 0, crop.window, model.image_size)
        image = to_model_image(
            to_unit_rgb(frame, self.limits), model.image_size, model.device, "bilinear"
        )
        features = model.encode_image(image)
        scores, low_res = [], []
        for batch in _batches(model, prompts, (crop.height, crop.width)):
            ious, logits = _predict(model, features, list(batch.values()), self.hq)
            if self.one_piece:
                logits = keep_largest_piece(logits[:, None])[:, 0]
            low_res.append(logits)
            scores += [
                ObjectScores(obj_id, IN_VIEW_SCORE, iou)
                for obj_id, iou in zip(batch, ious, strict=True)
            ]
        return GridObjects.of(scores, torch.cat(low_res))


def _in_windows(
    still: StillModel,
    frames: FrameSource,
    prompts: Sequence[FramePrompts],
    rule: WindowRule,
) -> Iterable[WindowObjects]:
    """Objects in windows of their own, which get wider until their masks fit in."""
    by_id = {prompt.obj_id: prompt for prompt in prompts}
    asked = [(crop, prompt) for prompt in prompts for crop in rule.first(prompt)]
    best: dict[int, WindowObjects] = {}
    for obj_id, found in _asked(still, frames, asked):
        if obj_id not in best or _score(found) > _score(best[obj_id]):
            best[obj_id] = found
    again = dict(best)
    for _ in range(MOST_WINDOWS - 1):
        moved = []
        for obj_id, found in again.items():
            prompt, box = by_id[obj_id], found.pixel_boxes()[obj_id]
            if box is not None:
                fitting = rule.fitting(found.crop, joined_box(box, prompt_box(prompt)))
                if fitting != found.crop:
                    moved.append((fitting, prompt))
        again = dict(_asked(still, frames, moved))
        best |= again
    return best.values()


def _asked(
    still: StillModel,
    frames: FrameSource,
    prompts: Iterable[tuple[Crop, FramePrompts]],
) -> Iterator[tuple[int, WindowObjects]]:
    """Each object in the window it is asked for; every window is looked at once."""
    by_window: defaultdict[Crop, list[FramePrompts]] = defaultdict(list)
    for crop, prompt in prompts:
        by_window[crop].append(to_window(prompt, crop.window))
    for crop, group in by_window.items():
        objects = still.objects(frames, crop, group)
        ids = [scores.obj_id for scores in objects.scores]
        for obj_id in ids:
            alone = objects.only([each == obj_id for each in ids])
            yield obj_id, WindowObjects(alone, crop)


def _score(found: WindowObjects) -> float:
    """Predicted IoU of a single object."""
    return found.objects.scores[0].iou_score


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


def _predict(
    model: HqSam2, features: ImageFeatures, clicks: Sequence[Clicks], hq: HqMode
) -> tuple[list[float], Tensor]:
    """Predicted IoU and (N, 4h, 4w) logits of the best mask of each object."""
    first, *others = zip(*map(in_steps, clicks), strict=True)
    scores, masks = _best_masks(model, features, first, None, hq)
    for step in others:
        scores, masks = _best_masks(model, features, step, masks, hq)
    return scores.tolist(), masks


def _best_masks(
    model: HqSam2,
    features: ImageFeatures,
    clicks: Sequence[Clicks],
    seen: Tensor | None,
    hq: HqMode,
) -> tuple[Tensor, Tensor]:
    """(N,) predicted IoU and (N, 4h, 4w) logits; `seen` are logits to be corrected."""
    labels = torch.cat([each.labels for each in clicks]).to(model.device)
    limit = PREVIOUS_LOGIT_LIMIT
    prediction = model.predict_masks(
        model.without_memory(features.embedding),
        features.high_res,
        ModelPrompts(
            torch.cat([each.coords_norm for each in clicks]).to(model.device),
            labels,
            None if seen is None else seen[:, None].clamp(-limit, limit),
        ),
        multimask=labels.shape[1] == 1,
        hq=hq,
    )
    ious = prediction.iou_scores.float()
    best = ious.argmax(dim=1)
    # with HQ alone there is one mask for all candidate scores
    masks = prediction.masks.float().expand(-1, ious.shape[1], -1, -1)
    row = torch.arange(len(best), device=best.device)
    return ious[row, best], masks[row, best]
