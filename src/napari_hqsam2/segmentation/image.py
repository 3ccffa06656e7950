"""Objects of a single image: prompts in, masks out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.segmentation.masks import compose_masks, crop_logits
from napari_hqsam2.segmentation.prompt_groups import check_positive
from napari_hqsam2.segmentation.tracking import to_sam_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import AnyArray
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.masks import LowResPatch, ObjectMask

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
    predictor = SAM2ImagePredictor(model, hq=hq)
    predictor.set_image(to_unit_rgb(frame, limits), contrast_limits=(0.0, 1.0))
    side = model.image_size // 4
    hw = (frame.shape[0], frame.shape[1])
    return compose_masks(
        [_predict(predictor, prompt, hw) for prompt in prompts],
        low_hw=(side, side),
        hw=hw,
        given={
            prompt.obj_id: prompt.mask for prompt in prompts if prompt.mask is not None
        },
    )


def _predict(
    predictor: SAM2ImagePredictor, prompt: FramePrompts, hw: tuple[int, int]
) -> LowResPatch:
    """Best mask of one object; nothing to predict if its mask is given."""
    if prompt.mask is not None:
        nothing = np.zeros((1, 1, 1), dtype=np.float32)
        return crop_logits([prompt.obj_id], nothing, [IN_VIEW_SCORE], [1.0])[0]
    sam = to_sam_prompt(prompt, hw, predictor.model.image_size)
    _, scores, low_res = predictor.predict(
        point_coords=sam.points_xy,
        point_labels=sam.labels,
        box=sam.box_xyxy,
        multimask_output=prompt.box is None and len(prompt.points) == 1,
    )
    best = int(scores.argmax())
    # with HQ alone there is one mask for all candidate scores
    logits = low_res[min(best, len(low_res) - 1)][np.newaxis]
    return crop_logits([prompt.obj_id], logits, [IN_VIEW_SCORE], [scores[best]])[0]
