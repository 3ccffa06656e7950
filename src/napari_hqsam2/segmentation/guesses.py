"""Candidate masks of prompts, and which window they agree on.

What a click means may be of any size, so it is asked for in several windows, each with
three candidates. The scores that a model predicts need not compare them well across
windows; that candidates of several windows show the same object says more. So each one
votes, with its score, for those that it overlaps with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.ops.compose_labels import positive_boxes
from napari_hqsam2.predictors.image_predictor import PREVIOUS_LOGIT_LIMIT
from napari_hqsam2.segmentation.clicks import in_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2._types import HW
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode, ImageFeatures
    from napari_hqsam2.predictors.session import Clicks
    from napari_hqsam2.segmentation.crops import Crop

VOTE_POWER = 4
"""Votes count as this power of the predicted IoU: on held-out images 3 to 6 do equally
well."""
COMPARED_SIDE = 128
"""Candidates are compared on at most so many rows and columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What the model takes an object for in one window."""

    crop: Crop
    """The window, on its frame."""
    scores: tuple[float, ...]
    """Predicted IoU of each of M candidates."""
    masks: Tensor
    """(M, h, w) bool, on the network's grid over the window."""
    low_res: Tensor
    """(h, w) logits of the candidate with the best score."""

    @classmethod
    def of(cls, crop: Crop, scores: Tensor, masks: Tensor) -> Guess:
        """Candidates with (M,) scores and (M, h, w) logits."""
        low_res = masks[scores.argmax()].clone()
        return cls(crop, tuple(scores.tolist()), masks > 0, low_res)

    @property
    def best(self) -> int:
        """The candidate with the best score."""
        return self.scores.index(max(self.scores))


def predict_candidates(
    model: HqSam2, features: ImageFeatures, clicks: Sequence[Clicks], hq: HqMode
) -> tuple[Tensor, Tensor]:
    """Masks of N objects from their clicks and boxes on an image without memory.

    Clicks are asked for in steps, each with the best mask so far.

    Parameters
    ----------
    model
        The model.
    features
        Of one image.
    clicks
        Of N objects, with as many points each.
    hq
        Use of the high-quality mask.

    Returns
    -------
    tuple of Tensor
        (N, M) predicted IoU and (N, M, 4h, 4w) logits; M is 3 after a single click,
        else 1.
    """
    first, *others = zip(*map(in_steps, clicks), strict=True)
    scores, masks = _candidates(model, features, first, None, hq)
    for step in others:
        row = torch.arange(len(masks), device=masks.device)
        seen = masks[row, scores.argmax(dim=1)]
        scores, masks = _candidates(model, features, step, seen, hq)
    return scores, masks


def _candidates(
    model: HqSam2,
    features: ImageFeatures,
    clicks: Sequence[Clicks],
    seen: Tensor | None,
    hq: HqMode,
) -> tuple[Tensor, Tensor]:
    """(N, M) predicted IoU and (N, M, 4h, 4w) logits; `seen` is to be corrected."""
    labels = torch.cat([each.labels for each in clicks]).to(model.device)
    limit = PREVIOUS_LOGIT_LIMIT
    prompts = ModelPrompts(
        torch.cat([each.coords_norm for each in clicks]).to(model.device),
        labels,
        None if seen is None else seen[:, None].clamp(-limit, limit),
    )
    prediction = model.predict_masks(
        model.without_memory(features.embedding),
        features.high_res,
        prompts,
        multimask=labels.shape[1] == 1,
        hq=hq,
    )
    scores = prediction.iou_scores.float()
    masks = model.refine_masks(prediction.masks.float(), features.picture, prompts, hq)
    # with HQ alone there is one mask for all candidate scores
    return scores, masks.expand(-1, scores.shape[1], -1, -1)


def most_agreed(guesses: Sequence[Guess], hw: HW) -> int:
    """Index of the guess whose best candidate those of all guesses agree with most.

    Agreement is the mean IoU with all candidates, by their votes. What is cut off by
    the border of its window neither votes nor is chosen, unless all are.

    Parameters
    ----------
    guesses
        Of one object, at least one.
    hw
        Height and width of the frame in pixels.
    """
    if len(guesses) == 1:
        return 0
    scores = torch.tensor([score for guess in guesses for score in guess.scores])
    cut = torch.cat([_is_cut(guess, hw) for guess in guesses])
    counts = torch.tensor([0, *(len(guess.scores) for guess in guesses)])
    best = torch.tensor([guess.best for guess in guesses])
    chosen = counts.cumsum(0)[:-1] + best
    is_open = torch.ones_like(cut) if cut[chosen].all() else ~cut
    votes = scores.clamp_min(0) ** VOTE_POWER * is_open
    agreement = _overlaps(guesses)[chosen] @ votes
    return int(agreement.masked_fill(~is_open[chosen], -1).argmax())


def _is_cut(guess: Guess, hw: HW) -> Tensor:
    """(M,) whether candidates reach a side of the window that is inside the frame."""
    masks = guess.masks.cpu()
    sides = (masks[:, 0], masks[:, :, 0], masks[:, -1], masks[:, :, -1])
    is_inner = torch.tensor(guess.crop.inner_sides(hw))
    reached = torch.stack([side.any(dim=1) for side in sides])
    return (reached & is_inner[:, None]).any(dim=0)


def _overlaps(guesses: Sequence[Guess]) -> Tensor:
    """(K, K) IoU of all candidates with each other; 1 of two that are empty."""
    rows, columns = _places(guesses)
    flat = torch.cat([_sampled(guess, rows, columns) for guess in guesses]).float()
    common = flat @ flat.T
    areas = flat.sum(dim=1)
    union = areas[:, None] + areas - common
    return torch.where(union > 0, common / union.clamp_min(1), 1.0)


def _places(guesses: Sequence[Guess]) -> tuple[Tensor, Tensor]:
    """Rows and columns of the frame, spread over where any candidate is."""
    spans = []
    for guess in guesses:
        crop, (height, width) = guess.crop, guess.masks.shape[-2:]
        boxes = positive_boxes(guess.masks.cpu().float()).double()
        scale = torch.tensor([crop.height / height, crop.width / width]).repeat(2)
        corner = torch.tensor([crop.top, crop.left]).repeat(2)
        spans.append(boxes[boxes[:, 2] > boxes[:, 0]] * scale + corner)
    found = torch.cat(spans)
    if not len(found):
        return torch.zeros(1), torch.zeros(1)
    low, high = found[:, :2].amin(dim=0).tolist(), found[:, 2:].amax(dim=0).tolist()
    rows, columns = (
        torch.linspace(start, stop, COMPARED_SIDE + 1)[:-1]
        for start, stop in zip(low, high, strict=True)
    )
    return rows, columns


def _sampled(guess: Guess, rows: Tensor, columns: Tensor) -> Tensor:
    """(M, R * C) candidates at places of the frame; false outside of the window."""
    crop, masks = guess.crop, guess.masks.cpu()
    height, width = masks.shape[-2:]
    row = ((rows - crop.top) * (height / crop.height)).floor().long()
    column = ((columns - crop.left) * (width / crop.width)).floor().long()
    row_in, column_in = (row >= 0) & (row < height), (column >= 0) & (column < width)
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    found = masks[:, row][:, :, column]
    return (found & (row_in[:, None] & column_in)).flatten(1)
