"""Points that correct a mask, and change no more of it than they ask for.

A small network that is asked to correct a mask often answers with another one. What it
finds at the point itself can be added to the mask, or taken away from it, and of all
these answers the one is nearest that leaves most as it is. How far a point lies from
the outline says how large the error is: little farther than that it changes anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from napari_hqsam2.modeling.image_motion import LARGEST_LOGIT
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.prompt_inputs import to_model_mask
from napari_hqsam2.predictors.session import FORWARD, Clicks
from napari_hqsam2.segmentation.clicks import POSITIVE, answer_clicks
from napari_hqsam2.segmentation.guesses import predict_candidates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_hqsam2._types import HW, BoolArray
    from napari_hqsam2.predictors.propagation import FrameLogits
    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

MOST_CHANGES = 4
"""Points that are looked at by themselves; those of a scribble say much the same."""
REACH = 1.25
"""How far from itself a point changes a mask, relative to how far the outline is."""


def answer_correction(
    predictor: SAM2VideoPredictor,
    session: VideoSession,
    frame: int,
    obj_id: int,
    clicks: Clicks,
    mask: BoolArray,
) -> FrameLogits:
    """What is said to points that correct a mask.

    Parameters
    ----------
    predictor
        The model; with `TrackingConfig.small_corrections` its answer is one of several.
    session
        With what is remembered of the object. The answer becomes its result there.
    frame, obj_id
        The frame and the object.
    clicks
        All points of the object on the frame.
    mask
        (H, W) the mask that they correct.
    """
    state, side = session.add_object(obj_id), predictor.image_size // 4
    low_res = to_model_mask(mask, side)[0, 0].bool().numpy()
    state.bank.archive.put(frame, low_res)
    state.directions[frame] = FORWARD
    answer = answer_clicks(predictor, session, frame, obj_id, clicks)
    if not (predictor.config.small_corrections and mask.any()):
        return answer
    changed = _changed(predictor, session, frame, clicks, mask, answer.low_res[0, 0])
    pending = state.pending[frame]
    output = replace(
        pending.output, low_res=changed[None, None].to(session.storage_device)
    )
    state.pending[frame] = replace(pending, output=output)
    return replace(answer, low_res=changed[None, None])


def _changed(
    predictor: SAM2VideoPredictor,
    session: VideoSession,
    frame: int,
    clicks: Clicks,
    mask: BoolArray,
    answer: Tensor,
) -> Tensor:
    """(h, w) logits of the mask after all points.

    `answer` are those that the network gives to them.
    """
    model, features = predictor.model, predictor.loader.features(session, frame)
    shown = _as_logits(mask, answer)
    is_fitting = all(_holds(answer, clicks, k) for k in range(clicks.labels.shape[1]))
    changes = 0
    for number in range(clicks.labels.shape[1]):
        if _holds(shown, clicks, number):
            continue
        if changes == MOST_CHANGES:
            break
        changes += 1
        point = clicks.coords_norm[:, number : number + 1]
        alone = Clicks(point, torch.full_like(clicks.labels[:, :1], POSITIVE))
        with inference(model.device):
            _, found = predict_candidates(model, features, [alone], session.hq)
        near = _within_reach(shown, clicks, number, (mask.shape[0], mask.shape[1]))
        limited = torch.where(near, found[0], -LARGEST_LOGIT)
        options = [
            option
            for option in _options(shown, limited, clicks, number)
            if _holds(option, clicks, number) and (option > 0).any()
        ]
        if is_fitting or not options:
            options.append(answer)
        shown = max(options, key=lambda option: _overlap(option, shown))
    return shown


def _options(
    shown: Tensor, found: Tensor, clicks: Clicks, number: int
) -> Iterator[Tensor]:
    """The mask with each of (M, h, w) candidates at a point added, or taken away."""
    limited = found.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    if int(clicks.labels[0, number]) != POSITIVE:
        yield from torch.minimum(shown, -limited)
        return
    yield from torch.maximum(shown, limited)


def _within_reach(shown: Tensor, clicks: Clicks, number: int, hw: HW) -> Tensor:
    """(h, w) bool: cells of an (H, W) frame that a point may change."""
    x, y = clicks.coords_norm[0, number].tolist()
    rows, columns = (
        (torch.arange(cells, device=shown.device) + 0.5) * (length / cells)
        for cells, length in zip(shown.shape, hw, strict=True)
    )
    away = torch.hypot(rows[:, None] - y * hw[0], columns - x * hw[1])
    is_positive = int(clicks.labels[0, number]) == POSITIVE
    across = away[(shown > 0) == is_positive]
    if not len(across):
        return torch.ones_like(shown, dtype=torch.bool)
    return away <= REACH * across.min()


def _as_logits(mask: BoolArray, like: Tensor) -> Tensor:
    """(h, w) logits whose interpolation shows a mask, as well as cells can."""
    covered = torch.from_numpy(mask).float()[None, None]
    size = (like.shape[-2], like.shape[-1])
    covered = F.interpolate(covered, size, mode="bilinear", antialias=True)[0, 0]
    return (2 * covered - 1).to(like) * LARGEST_LOGIT


def _holds(low_res: Tensor, clicks: Clicks, number: int) -> bool:
    """Whether (h, w) logits are as a point says."""
    x, y = clicks.coords_norm[0, number].tolist()
    height, width = low_res.shape
    row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
    is_on = bool(low_res[row, column] > 0)
    return is_on == (int(clicks.labels[0, number]) == POSITIVE)


def _overlap(one: Tensor, other: Tensor) -> float:
    """IoU of two masks."""
    a, b = one > 0, other > 0
    return float((a & b).sum() / (a | b).sum().clamp_min(1))
