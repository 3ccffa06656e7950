"""How good a model is on what was held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_hqsam2.training.evaluate import Protocol, evaluate_images
from napari_hqsam2.training.tracking import (
    TrackingPlan,
    evaluate_tracking,
    lasting_objects,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.training.fine_tuning.stacks import Place
    from napari_hqsam2.training.sources import Clip

FRAMES, OBJECTS = 24, 12
"""Most frames, and objects of a frame, that are measured."""
TRACKED_FRAMES = 8
KINDS = ("click_1", "click_3", "box")

Scores = dict[str, dict[str, float]]
"""Mean "iou" and "boundary_iou" by kind of prompt; of "tracked" the IoU alone."""


@torch.inference_mode()
def measure(
    predictor: SAM2VideoPredictor, places: Sequence[Place], *, clips: bool
) -> Scores:
    """Mean scores over the objects of some frames.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        Holds the model, which is left in eval mode.
    places : sequence of Place
        Where to measure; empty gives no scores.
    clips : bool
        Also follow objects of the first frame through up to seven more.
    """
    predictor.model.eval()
    step = max(1, -(-len(places) // FRAMES))
    frames = [place.read() for place in places[::step]]
    protocol = Protocol(objects=OBJECTS, clicks=3)
    means = evaluate_images(predictor.model, frames, protocol).means()
    scores = {
        kind: {
            "iou": round(means[kind], 4),
            "boundary_iou": round(means[f"{kind}_boundary"], 4),
        }
        for kind in KINDS
        if kind in means
    }
    clip = _first_clip(places) if clips else None
    if clip is not None:
        tracked = evaluate_tracking(predictor, clip, TrackingPlan(OBJECTS)).mean()
        scores["tracked"] = {"iou": round(tracked, 4)}
    return scores


def _first_clip(places: Sequence[Place]) -> Clip | None:
    """Consecutive frames of the first stack; None if no object is on all of them."""
    if not places:
        return None
    stack, start = places[0].stack, places[0].frame
    here = {place.frame for place in places if place.stack is stack}
    stop = start + 1
    last = min(start - start % stack.run + stack.run, start + TRACKED_FRAMES)
    while stop < last and stop in here:
        stop += 1
    if stop == start + 1:
        return None
    clip = stack.read(range(start, stop))
    return clip if lasting_objects(clip, 1) else None
