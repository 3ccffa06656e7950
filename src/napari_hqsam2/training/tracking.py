"""Measure tracking as it is used: from a mask or a click, with later corrections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_hqsam2.evaluation.clicks import largest_error
from napari_hqsam2.evaluation.following import say, start_prompt
from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.prompts import FramePrompts, PointPrompt
from napari_hqsam2.training.crops import objects_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import BoolArray, FloatArray, LabelArray
    from napari_hqsam2.evaluation.following import StartKind
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.training.sources import Clip

TOUCHING = 2
"""Objects at most so many pixels apart touch."""


@dataclass(frozen=True)
class TrackingPlan:
    """What is asked of the model on a clip."""

    objects: int = 12
    """Most objects, evenly spread over the labels of the first frame; only those that
    are on every frame."""
    start: StartKind = "mask"
    """What is said on the first frame: the true mask, its box or one click in it."""
    corrections: int = 0
    """Rounds of one click an object: on the frame where its mask is worst, in the
    largest error there, after which all other frames are tracked anew."""


@dataclass(frozen=True, eq=False)
class TrackingScore:
    """J, the IoU of an object on a frame, of N objects over T frames."""

    tracked: FloatArray
    """(1 + corrections, N, T), after each round; the first one without any."""
    copied: FloatArray
    """(N, T) of the first true mask on every frame."""
    kept: BoolArray
    """(1 + corrections, N) whether the mask of the last frame shares more with its own
    object than with any other; an empty mask is lost."""
    touching: BoolArray
    """(N,) whether the object touches another one on some frame."""

    def mean(self, corrections: int = 0, frames: slice = slice(1, None)) -> float:
        """Mean J over objects and frames, by default those after the first."""
        return float(self.tracked[corrections][:, frames].mean())


def lasting_objects(clip: Clip, most: int) -> list[int]:
    """Label values that are on all frames, at most `most`, evenly spread."""
    first = clip.labels[0]
    masks = objects_of(first, split=False)
    values = [int(first[mask][0]) for mask in masks]
    values = [v for v in values if all((frame == v).any() for frame in clip.labels)]
    if len(values) <= most:
        return values
    return [values[i] for i in np.linspace(0, len(values) - 1, most).astype(int)]


def evaluate_tracking(
    predictor: SAM2VideoPredictor, clip: Clip, plan: TrackingPlan | None = None
) -> TrackingScore:
    """Follow objects from the first frame of a clip to its last.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test.
    clip : Clip
        Frames with labels.
    plan : TrackingPlan, optional
        What is asked.

    Raises
    ------
    ValueError
        If no object is on every frame.
    """
    plan = plan or TrackingPlan()
    values = lasting_objects(clip, plan.objects)
    if not values:
        msg = f"No object of the first frame is on all {len(clip.labels)} frames."
        raise ValueError(msg)
    truths = np.stack([clip.labels == value for value in values])
    # as in a session of the plugin; upstream's default would track them anew
    config = replace(predictor.config, add_all_frames_to_correct_as_cond=True)
    predictor = SAM2VideoPredictor(predictor.model, config, predictor.hq)
    session = predictor.init_state(clip.images)
    for obj_id, mask in enumerate(truths[:, 0], 1):
        say(predictor, session, start_prompt(0, obj_id, mask, plan.start))
    # a mask is taken as it is, so there is nothing to correct on its frame
    correctable = slice(1 if plan.start == "mask" else 0, None)
    tracked, kept = [], []
    for round_ in range(plan.corrections + 1):
        guesses = _follow(predictor, session, truths.shape)
        scores = _overlaps(guesses, truths)
        tracked.append(scores)
        kept.append(_kept(guesses[:, -1], clip.labels[-1], values))
        if round_ < plan.corrections:
            worst = scores[:, correctable].argmin(1) + correctable.start
            _correct(predictor, session, guesses, truths, worst)
    return TrackingScore(
        tracked=np.stack(tracked),
        copied=_overlaps(np.broadcast_to(truths[:, :1], truths.shape), truths),
        kept=np.array(kept),
        touching=np.array([touches(clip.labels, value) for value in values]),
    )


def _kept(masks: BoolArray, labels: LabelArray, values: Sequence[int]) -> list[bool]:
    pairs = zip(masks, values, strict=True)
    return [owner(mask, labels) == value for mask, value in pairs]


def owner(mask: BoolArray, labels: LabelArray) -> int:
    """Label that shares most pixels with a mask; 0 if it shares none with any."""
    counts = np.bincount(labels[mask].astype(np.int64), minlength=1)
    counts[0] = 0
    return int(counts.argmax())


def touches(labels: LabelArray, value: int) -> bool:
    """Whether an object of (T, H, W) labels touches another one on some frame."""
    for frame in labels:
        near = ndimage.binary_dilation(frame == value, iterations=TOUCHING)
        if np.isin(frame[near], (0, value), invert=True).any():
            return True
    return False


def _follow(
    predictor: SAM2VideoPredictor, session: VideoSession, shape: tuple[int, ...]
) -> BoolArray:
    guesses = np.zeros(shape, dtype=bool)
    for frame, ids, logits in predictor.propagate_in_video(session, start_frame_idx=0):
        guesses[np.array(ids) - 1, frame] = (logits[:, 0] > 0).cpu().numpy()
    return guesses


def _overlaps(guesses: BoolArray, truths: BoolArray) -> FloatArray:
    scores = np.zeros(guesses.shape[:2])
    for at in np.ndindex(scores.shape):
        scores[at] = iou(guesses[at], truths[at])
    return scores


def _correct(
    predictor: SAM2VideoPredictor,
    session: VideoSession,
    guesses: BoolArray,
    truths: BoolArray,
    frames: Sequence[int],
) -> None:
    for index, frame in enumerate(map(int, frames)):
        click = PointPrompt(*largest_error(guesses[index, frame], truths[index, frame]))
        prompt = FramePrompts((frame,), index + 1, points=(click,))
        say(predictor, session, prompt, keep_old=True)
