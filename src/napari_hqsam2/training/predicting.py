"""Measure a model through the predictor that users call, beside the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.evaluation.baselines import otsu_watershed
from napari_hqsam2.evaluation.clicks import interior_point, largest_error
from napari_hqsam2.evaluation.measures import Scores
from napari_hqsam2.evaluation.protocol import (
    Protocol,
    baseline_masks,
    prompted_masks,
)
from napari_hqsam2.geometry import mask_to_box
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import estimate_limits
from napari_hqsam2.prompts import FramePrompts, PointPrompt
from napari_hqsam2.segmentation.image import StillModel, segment_frame
from napari_hqsam2.segmentation.masks import paint
from napari_hqsam2.segmentation.options import ImageSettings
from napari_hqsam2.training.augment import to_rgb
from napari_hqsam2.training.evaluate import pick_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import BoolArray
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
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


def evaluate_segmenting(
    predictor: SAM2VideoPredictor,
    frames: Sequence[Frame],
    *,
    objects: int = 6,
    clicks: int = 3,
) -> Scores:
    """Score what `segment_image` makes of clicks with corrections, and of boxes.

    All objects of an image are asked for at once, with the defaults that users have:
    small objects are looked at in windows, and objects do not overlap.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test.
    frames, objects, clicks
        As in `evaluate_predictor`.
    """
    scores = Scores()
    for frame in frames:
        truths = pick_objects(frame, objects)
        if not truths:
            continue
        boxes = [
            FramePrompts((), obj_id, box=mask_to_box(truth))
            for obj_id, truth in enumerate(truths, 1)
        ]
        for guess, truth in zip(_segment(predictor, frame, boxes), truths, strict=True):
            scores.add("box", guess, truth)
        points = [[PointPrompt(*interior_point(truth))] for truth in truths]
        for number in range(1, clicks + 1):
            clicked = [
                FramePrompts((), obj_id, points=tuple(each))
                for obj_id, each in enumerate(points, 1)
            ]
            guesses = _segment(predictor, frame, clicked)
            for index, (guess, truth) in enumerate(zip(guesses, truths, strict=True)):
                scores.add(f"click_{number}", guess, truth)
                points[index].append(PointPrompt(*largest_error(guess, truth)))
    return scores


def _segment(
    predictor: SAM2VideoPredictor, frame: Frame, prompts: Sequence[FramePrompts]
) -> list[BoolArray]:
    frames = open_frames(frame.image[None])
    defaults = ImageSettings(model=predictor)
    still = StillModel(
        predictor.model,
        predictor.loader.encode,
        estimate_limits(frames),
        defaults.hq_mode,
        one_piece=defaults.one_piece,
    )
    rule = defaults.window_rule(frames.hw, predictor)
    labels = np.zeros(frames.hw, np.int32)
    paint(labels, segment_frame(still, frames, prompts, rule))
    return [labels == prompt.obj_id for prompt in prompts]
