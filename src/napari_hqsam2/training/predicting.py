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

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
    from napari_hqsam2.training.litemedsam import LiteMedSam
    from napari_hqsam2.training.sources import Frame

BASELINES = "baselines"


def evaluate_predictor(
    predictor: SAM2ImagePredictor,
    frames: Sequence[Frame],
    *,
    objects: int = 6,
    clicks: int = 3,
    hq: Sequence[HqMode] = ("add",),
    litemedsam: LiteMedSam | None = None,
) -> dict[str, Scores]:
    """Score clicks with corrections, boxes, and what needs no network.

    Every image is encoded once.

    Parameters
    ----------
    predictor : SAM2ImagePredictor
        The model under test.
    frames : sequence of Frame
        Images with labels.
    objects : int
        At most this many objects per image, evenly spread over its labels.
    clicks : int
        The first in the middle of the object, the others in the largest error.
    hq : sequence of {"add", "off", "only"}
        Uses of the HQ mask.
    litemedsam : LiteMedSam, optional
        Measured among the baselines, in the same boxes.

    Returns
    -------
    dict
        Scores by use of the HQ mask, and of the baselines as "baselines".
    """
    scores = {name: Scores() for name in (*hq, BASELINES)}
    protocol = Protocol(clicks=clicks, box_and_click=False)
    for frame in frames:
        masks = pick_objects(frame, objects)
        if not masks:
            continue
        predictor.set_image(frame.image)
        for mode in hq:
            predictor.hq = mode
            for guess in prompted_masks(predictor, masks, protocol):
                scores[mode].add(guess.prompt, guess.mask, masks[guess.index])
        rgb = to_rgb(frame.image)
        for guess in baseline_masks(otsu_watershed(rgb), masks):
            scores[BASELINES].add(guess.prompt, guess.mask, masks[guess.index])
        found = () if litemedsam is None else litemedsam.boxed(rgb, masks)
        for mask, truth in zip(found, masks, strict=False):
            scores[BASELINES].add("litemedsam_box", mask, truth)
    return scores
