"""Talks with a predictor about several objects of one image at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_hqsam2.geometry import data_yx_to_sam_xy
from napari_hqsam2.predictors.batch_size import BatchSizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import HW, AnyArray, BoolArray
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

MaskMode = Literal["auto", "single", "multi"]
"""Single mask, best of three candidates by predicted IoU, or as SAM does: candidates
for a single click, the single mask for everything else."""
PIXELS = 2**26
"""At most about so many pixels of candidate masks exist at once."""

Click = tuple[int, int, bool]
"""Row, column, and whether the click is positive."""
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 of the extreme pixels."""


def batch_size(predictor: SAM2ImagePredictor, hw: HW) -> int:
    """Objects of an (H, W) image that are worked on at once."""
    cells = (predictor.model.image_size // 16) ** 2
    fitting = max(PIXELS // (3 * hw[0] * hw[1]), 1)
    return min(BatchSizes(predictor.model).most(cells, tokens=0), fitting)


@dataclass
class Conversation:
    """What was said of N objects of the image that was set, and what came back."""

    predictor: SAM2ImagePredictor
    hw: HW
    mode: MaskMode
    points: AnyArray
    """(N, P, 2) clicks (x, y) as the predictor takes them."""
    labels: AnyArray
    """(N, P) 1 for positive clicks, 0 for negative ones."""
    boxes: AnyArray | None = None
    """(N, 4) boxes (x0, y0, x1, y1) as the predictor takes them."""
    low_res: AnyArray | None = None
    """(N, 1, h, w) logits of the masks that were chosen last."""

    @classmethod
    def about(
        cls,
        predictor: SAM2ImagePredictor,
        hw: HW,
        mode: MaskMode,
        *,
        clicks: Sequence[Click] = (),
        boxes: Sequence[Box] = (),
    ) -> Conversation:
        """Begin with one click, or one box, for each object."""
        count = len(clicks) or len(boxes)
        talk = cls(
            predictor, hw, mode, np.zeros((count, 0, 2)), np.zeros((count, 0), int)
        )
        if clicks:
            talk.click(clicks)
        if boxes:
            corners = [corner for box in boxes for corner in (box[1::-1], box[:1:-1])]
            talk.boxes = talk._to_xy(corners).reshape(-1, 4)
        return talk

    def click(self, clicks: Sequence[Click]) -> None:
        """Add one click for each object."""
        xy = self._to_xy([(row, column) for row, column, _ in clicks])
        labels = np.array([[int(positive)] for *_, positive in clicks])
        self.points = np.concatenate((self.points, xy[:, None]), axis=1)
        self.labels = np.concatenate((self.labels, labels), axis=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these objects only."""
        chosen = list(rows)
        self.points, self.labels = self.points[chosen], self.labels[chosen]
        self.boxes = None if self.boxes is None else self.boxes[chosen]
        self.low_res = None if self.low_res is None else self.low_res[chosen]

    def masks(self) -> BoolArray:
        """(N, H, W) masks for all that was said."""
        count, num_points = self.labels.shape
        is_one_click = self.boxes is None and num_points == 1
        masks, scores, low_res = self.predictor.predict(
            point_coords=self.points if num_points else None,
            point_labels=self.labels if num_points else None,
            box=self.boxes,
            mask_input=self.low_res,
            multimask_output=self.mode == "multi"
            or (self.mode == "auto" and is_one_click),
        )
        masks = masks.reshape(count, -1, *self.hw)
        low_res = low_res.reshape(count, -1, *low_res.shape[-2:])
        # with HQ alone there is one mask for all candidate scores
        best = scores.reshape(count, -1).argmax(1).clip(max=masks.shape[1] - 1)
        row = np.arange(count)
        self.low_res = low_res[row, best][:, None]
        chosen: BoolArray = masks[row, best]
        return chosen

    def _to_xy(self, yx: Sequence[Sequence[int]]) -> AnyArray:
        return data_yx_to_sam_xy(yx, self.hw, self.predictor.model.image_size)
