"""Objects of a single image: prompts in, masks out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.transforms import to_model_image
from napari_hqsam2.segmentation.composition import (
    GridObjects,
    ObjectScores,
    compose_masks,
)
from napari_hqsam2.segmentation.prompt_groups import check_positive
from napari_hqsam2.segmentation.tracking import to_clicks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_hqsam2._types import AnyArray
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode, ImageFeatures
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.session import Clicks
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.masks import ObjectMask

IN_VIEW_SCORE = float("inf")
"""Object score in still images, whose objects are there: somebody points at them."""


def segment_frame(
    model: HqSam2,
    frame: AnyArray,
    prompts: Sequence[FramePrompts],
    limits: IntensityLimits,
    hq: HqMode,
) -> tuple[ObjectMask, ...]:
    """Masks of the prompted objects, without overlaps.

    One click takes the best of three candidates; a box or more clicks the single mask.

    Parameters
    ----------
    model
        Plain or HQ.
    frame
        (H, W) or (H, W, C) pixels.
    prompts
        Checked prompts, one per object.
    limits
        Intensities that the model sees as black and white.
    hq
        Use of the high-quality mask.

    Returns
    -------
    tuple of ObjectMask
        Sorted by object id.
    """
    check_positive(prompts)
    hw = (frame.shape[0], frame.shape[1])
    given = {
        prompt.obj_id: prompt.mask for prompt in prompts if prompt.mask is not None
    }
    scores = [ObjectScores(obj_id, IN_VIEW_SCORE, 1.0) for obj_id in given]
    side = model.image_size // 4
    low_res = [torch.zeros(len(given), side, side, device=model.device)]
    with inference(model.device):
        if len(given) < len(prompts):
            image = to_model_image(
                to_unit_rgb(frame, limits), model.image_size, model.device, "bilinear"
            )
            features = model.encode_image(image)
            for batch in _batches(model, prompts, hw):
                ious, logits = _predict(model, features, list(batch.values()), hq)
                low_res.append(logits)
                scores += [
                    ObjectScores(obj_id, IN_VIEW_SCORE, iou)
                    for obj_id, iou in zip(batch, ious, strict=True)
                ]
        return compose_masks(GridObjects.of(scores, torch.cat(low_res)), hw, given)


def _batches(
    model: HqSam2, prompts: Sequence[FramePrompts], hw: tuple[int, int]
) -> Iterator[dict[int, Clicks]]:
    """Clicks by object id; those of a batch have as many points, box corners too."""
    alike: defaultdict[int, dict[int, Clicks]] = defaultdict(dict)
    for prompt in prompts:
        if prompt.mask is None:
            clicks = to_clicks(prompt, hw, model.image_size)
            alike[clicks.labels.shape[1]][prompt.obj_id] = clicks
    most = BatchSizes(model).most((model.image_size // 16) ** 2, tokens=0)
    for group in alike.values():
        items = list(group.items())
        for start in range(0, len(items), most):
            yield dict(items[start : start + most])


def _predict(
    model: HqSam2, features: ImageFeatures, clicks: Sequence[Clicks], hq: HqMode
) -> tuple[list[float], Tensor]:
    """Predicted IoU and (N, 4h, 4w) logits of the best mask of each object."""
    coords = torch.cat([each.coords_norm for each in clicks]).to(model.device)
    labels = torch.cat([each.labels for each in clicks]).to(model.device)
    prediction = model.predict_masks(
        model.without_memory(features.embedding),
        features.high_res,
        ModelPrompts(coords, labels),
        multimask=labels.shape[1] == 1,
        hq=hq,
    )
    ious = prediction.iou_scores.float()
    best = ious.argmax(dim=1)
    # with HQ alone there is one mask for all candidate scores
    masks = prediction.masks.float().expand(-1, ious.shape[1], -1, -1)
    row = torch.arange(len(best), device=best.device)
    return ious[row, best].tolist(), masks[row, best]
