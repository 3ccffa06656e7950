"""Measure a model through the predictor that users call, beside the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.evaluation.baselines import otsu_watershed
from napari_hqsam2.evaluation.measures import Scores
from napari_hqsam2.evaluation.protocol import (
    Protocol,
    baseline_masks,
    prompted_masks,
)
from napari_hqsam2.training.augment import to_rgb
from napari_hqsam2.training.evaluate import pick_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
    from napari_hqsam2.training.sources import Frame


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
    protocol = Protocol(clicks=clicks, box_and_click=False)
    for frame in frames:
        masks = pick_objects(frame, objects)
        if not masks:
            continue
        predictor.set_image(frame.image)
        plain = otsu_watershed(to_rgb(frame.image))
        for found in (
            prompted_masks(predictor, masks, protocol),
            baseline_masks(plain, masks),
        ):
            for guess in found:
                scores.add(guess.prompt, guess.mask, masks[guess.index])
    return scores
