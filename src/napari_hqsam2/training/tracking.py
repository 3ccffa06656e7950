"""Measure tracking as it is used, against copying the first mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.training.crops import objects_of

if TYPE_CHECKING:
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.training.sources import Clip


@dataclass(frozen=True)
class TrackingScore:
    """Mean J over objects and the frames after the first."""

    tracked: float
    copied: float
    """J of the first mask on all later frames."""
    objects: int


def evaluate_tracking(
    predictor: SAM2VideoPredictor, clip: Clip, objects: int = 12
) -> TrackingScore:
    """Follow masks from the first frame of a clip to its last.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test.
    clip : Clip
        Frames with labels.
    objects : int
        At most this many objects, evenly spread over the labels of the first frame;
        only those that are on every frame.

    Raises
    ------
    ValueError
        If no object is on every frame.
    """
    masks = [
        mask
        for mask in objects_of(clip.labels[0], split=False)
        if all((frame == clip.labels[0][mask][0]).any() for frame in clip.labels)
    ]
    if not masks:
        msg = f"No object of the first frame is on all {len(clip.labels)} frames."
        raise ValueError(msg)
    if len(masks) > objects:
        masks = [masks[i] for i in np.linspace(0, len(masks) - 1, objects).astype(int)]
    values = [int(clip.labels[0][mask][0]) for mask in masks]
    session = predictor.init_state(clip.images)
    for value, mask in zip(values, masks, strict=True):
        predictor.add_new_mask(session, 0, value, mask)
    tracked: list[float] = []
    copied: list[float] = []
    for frame, ids, logits in predictor.propagate_in_video(session):
        if frame == 0:
            continue
        guesses = (logits[:, 0] > 0).cpu().numpy()
        for value, guess in zip(ids, guesses, strict=True):
            truth = clip.labels[frame] == value
            tracked.append(iou(guess, truth))
            copied.append(iou(masks[values.index(value)], truth))
    return TrackingScore(float(np.mean(tracked)), float(np.mean(copied)), len(masks))
