"""Points and boxes of a prompt as the predictors take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.geometry import box_to_sam_xyxy, data_yx_to_sam_xy
from napari_hqsam2.predictors.prompt_inputs import new_clicks

if TYPE_CHECKING:
    from napari_hqsam2._types import HW
    from napari_hqsam2.predictors.session import Clicks
    from napari_hqsam2.prompts import FramePrompts


def to_clicks(prompt: FramePrompts, hw: HW, input_size: int) -> Clicks:
    """Points and box of a prompt on an (H, W) image, as the predictors take them."""
    points = labels = box = None
    if prompt.points:
        points = data_yx_to_sam_xy([(p.y, p.x) for p in prompt.points], hw, input_size)
        labels = [int(p.positive) for p in prompt.points]
    if prompt.box is not None:
        box = box_to_sam_xyxy(prompt.box, hw, input_size)
    return new_clicks(points, labels, box, hw, input_size, normalize=True)
