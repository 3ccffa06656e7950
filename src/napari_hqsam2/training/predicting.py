"""Measure a model through the predictor that users call, beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.training.baselines import (
    box_mask,
    ellipse_mask,
    look_up,
    otsu_watershed,
)
from napari_hqsam2.training.evaluate import pick_objects
from napari_hqsam2.training.measures import Scores
from napari_hqsam2.training.prompts import interior_point, largest_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import AnyArray, BoolArray
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
    from napari_hqsam2.training.sources import Frame

Box = tuple[int, int, int, int]


def box_of(mask: BoolArray) -> Box:
    """(x0, y0, x1, y1) of the extreme pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


@dataclass(frozen=True)
class Asker:
    """Asks a predictor about the image that was set."""

    predictor: SAM2ImagePredictor
    size: int
    """Side of the model's input, which pixel centres depend on."""
    shape: tuple[int, int]

    def xy(self, row: float, column: float) -> tuple[float, float]:
        """Predictor coordinates of a pixel centre."""
        height, width = self.shape
        return (
            column + 0.5 - 0.5 * width / self.size,
            row + 0.5 - 0.5 * height / self.size,
        )

    def clicks(
        self, points: Sequence[tuple[int, int, bool]], low_res: AnyArray | None
    ) -> tuple[BoolArray, AnyArray]:
        """Mask for clicks (row, column, positive), and logits to feed back."""
        masks, scores, logits = self.predictor.predict(
            point_coords=np.array([self.xy(row, column) for row, column, _ in points]),
            point_labels=np.array([int(positive) for *_, positive in points]),
            mask_input=low_res,
            multimask_output=len(points) == 1,
        )
        best = int(scores.argmax()) if len(masks) > 1 else 0
        return masks[best] > 0, logits[best : best + 1]

    def box(self, box: Box) -> BoolArray:
        """Mask for a box."""
        x0, y0, x1, y1 = box
        masks, _, _ = self.predictor.predict(
            box=np.array([*self.xy(y0, x0), *self.xy(y1, x1)]),
            multimask_output=False,
        )
        mask: BoolArray = masks[0] > 0
        return mask


def evaluate_predictor(
    predictor: SAM2ImagePredictor,
    frames: Sequence[Frame],
    *,
    objects: int = 6,
    clicks: int = 3,
) -> Scores:
    """Score clicks with corrections, boxes, and what needs no network.

    Parameters
    ----------
    predictor : SAM2ImagePredictor
        The model under test, with its use of the HQ mask.
    frames : sequence of Frame
        Images with labels.
    objects : int
        At most this many objects per image, evenly spread over its labels.
    clicks : int
        The first in the middle of the object, the others in the largest error.
    """
    scores = Scores()
    for frame in frames:
        masks = pick_objects(frame, objects)
        if not masks:
            continue
        predictor.set_image(frame.image)
        height, width = frame.labels.shape
        asker = Asker(predictor, predictor.model.image_size, (height, width))
        plain = otsu_watershed(frame.image)
        for truth in masks:
            _score_clicks(asker, scores, truth, clicks)
            box = box_of(truth)
            scores.add("box", asker.box(box), truth)
            scores.add("box_filled", box_mask((height, width), box), truth)
            scores.add("box_ellipse", ellipse_mask((height, width), box), truth)
            scores.add("otsu_watershed", look_up(plain, *interior_point(truth)), truth)
    return scores


def _score_clicks(asker: Asker, scores: Scores, truth: BoolArray, count: int) -> None:
    points: list[tuple[int, int, bool]] = [(*interior_point(truth), True)]
    low_res: AnyArray | None = None
    for number in range(1, count + 1):
        guess, low_res = asker.clicks(points, low_res)
        scores.add(f"click_{number}", guess, truth)
        points.append(largest_error(guess, truth))
