"""Objects followed through frames from prompts that are taken from the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_hqsam2.evaluation.clicks import interior_point
from napari_hqsam2.geometry import mask_to_box
from napari_hqsam2.prompts import FramePrompts, PointPrompt
from napari_hqsam2.segmentation.clicks import to_clicks
from napari_hqsam2.segmentation.composition import (
    GridObjects,
    ObjectScores,
    compose_masks,
)
from napari_hqsam2.segmentation.masks import paint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_hqsam2._types import BoolArray, LabelArray
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.propagation import FrameLogits
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

StartKind = Literal["mask", "box", "click"]


def start_prompt(
    frame: int, obj_id: int, truth: BoolArray, start: StartKind
) -> FramePrompts:
    """The prompt that an object begins with.

    Parameters
    ----------
    frame : int
        Frame on which it begins.
    obj_id : int
        Its label.
    truth : ndarray
        (H, W) mask of the object there, not empty.
    start : {"mask", "box", "click"}
        The mask itself, the box around it, or one click in its middle.
    """
    position = (frame,)
    if start == "mask":
        return FramePrompts(position, obj_id, mask=truth)
    if start == "box":
        return FramePrompts(position, obj_id, box=mask_to_box(truth))
    row, column = interior_point(truth)
    return FramePrompts(position, obj_id, points=(PointPrompt(row, column),))


def follow(
    predictor: SAM2VideoPredictor,
    frames: FrameSource,
    prompts: Sequence[FramePrompts],
    last_frames: Mapping[int, int] | None = None,
) -> Iterator[tuple[int, LabelArray]]:
    """Follow objects forward, each from its own first frame.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test, with its use of the HQ mask.
    frames : FrameSource
        The stack.
    prompts : sequence of FramePrompts
        One for each object.
    last_frames : mapping, optional
        Last frame of those objects that are to be given up, by their ids.

    Yields
    ------
    frame : int
        Every frame from 0 on.
    labels : ndarray
        (H, W) int32. Where objects meet, the larger logit wins; a mask prompt is taken
        as it is.
    """
    session = predictor.init_state(frames)
    for prompt in prompts:
        say(predictor, session, prompt)
    ends = last_frames or {}
    due = 0
    spans = {
        prompt.obj_id: range(prompt.position[0], len(frames)) for prompt in prompts
    }
    for logits in predictor.propagate(session, spans=spans):
        for frame in range(due, logits.frame):
            yield frame, np.zeros(frames.hw, np.int32)
        due = logits.frame + 1
        yield logits.frame, _compose(logits, frames, prompts)
        for obj_id in logits.obj_ids:
            if ends.get(obj_id) == logits.frame:
                predictor.remove_object(session, obj_id, need_output=False)
    for frame in range(due, len(frames)):
        yield frame, np.zeros(frames.hw, np.int32)


def say(
    predictor: SAM2VideoPredictor,
    session: VideoSession,
    prompt: FramePrompts,
    *,
    keep_old: bool = False,
) -> None:
    """Give a predictor's session the prompts of one object on one frame.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test.
    session : VideoSession
        Of that predictor.
    prompt : FramePrompts
        A mask, or points and box.
    keep_old : bool
        Add points to those the object has on this frame.
    """
    (frame,) = prompt.position
    if prompt.mask is not None:
        predictor.predict_mask(session, frame, prompt.obj_id, prompt.mask)
        return
    clicks = to_clicks(prompt, session.hw, predictor.image_size)
    predictor.predict_clicks(session, frame, prompt.obj_id, clicks, keep_old=keep_old)


def _compose(
    logits: FrameLogits, frames: FrameSource, prompts: Sequence[FramePrompts]
) -> LabelArray:
    given = {
        prompt.obj_id: prompt.mask
        for prompt in prompts
        if prompt.mask is not None and prompt.position == (logits.frame,)
    }
    values = zip(logits.obj_ids, logits.object_scores, logits.iou_scores, strict=True)
    objects = GridObjects.of(
        [ObjectScores(*each) for each in values], logits.low_res[:, 0]
    )
    labels = np.zeros(frames.hw, np.int32)
    paint(labels, compose_masks(objects, frames.hw, given))
    return labels
