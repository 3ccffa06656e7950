"""What training minimises: mask, quality and presence losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.05
"""Scores that differ by so much are told apart when masks are ranked."""
UNTAKEN = -1e4
"""Logit of what is never taken."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss."""

    mask: float = 1.0
    dice: float = 1.0
    quality: float = 1.0
    presence: float = 0.25
    dense: float = 2.0
    others: float = 0.1
    """Share of the mean over all candidates added to the best one's loss."""


def neighbourhood(target: Tensor, margin: float = 0.5) -> Tensor:
    """Boxes around objects, larger by a share of their sides.

    Parameters
    ----------
    target : Tensor
        (N, h, w) with values above 0 on the object.
    margin : float
        Added on every side, in box sides, at least two cells.

    Returns
    -------
    Tensor
        (N, h, w) zeros and ones; all zeros for an empty target.
    """
    inside = target > 0
    spans = []
    for axis in (2, 1):
        length = target.shape[3 - axis]
        line = inside.any(dim=axis)
        index = torch.arange(length, device=target.device)
        low = torch.where(line, index, length).amin(dim=1, keepdim=True)
        high = torch.where(line, index, -1).amax(dim=1, keepdim=True)
        grow = ((high - low + 1) * margin).clamp(min=2)
        spans.append((index >= low - grow) & (index <= high + grow))
    return (spans[0][:, :, None] & spans[1][:, None, :]).float()


def balanced_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy; object, surroundings and the rest weigh 0.5, 0.35 and 0.15.

    Parameters
    ----------
    logits : Tensor
        (N, M, h, w).
    target : Tensor
        (N, h, w) share of each cell that belongs to the object.

    Returns
    -------
    Tensor
        (N, M). Without an object, the plain mean.
    """
    near = neighbourhood(target)
    parts = (target, near * (1 - target), (1 - near) * (1 - target))
    shares = (0.5, 0.35, 0.15)
    weight = torch.zeros_like(target)
    for part, share in zip(parts, shares, strict=True):
        weight = weight + share * part / part.sum((1, 2), keepdim=True).clamp(min=1)
    weight = weight / weight.sum((1, 2), keepdim=True)
    target, weight = target[:, None].expand_as(logits), weight[:, None]
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * weight).sum((2, 3))


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """(N, M) soft Dice loss of (N, M, h, w) logits against (N, h, w) targets."""
    probability = logits.sigmoid()
    target = target[:, None]
    overlap = (probability * target).sum((2, 3))
    total = probability.sum((2, 3)) + target.sum((2, 3))
    return 1 - (2 * overlap + 1) / (total + 1)


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """(N, M) IoU of thresholded (N, M, h, w) logits with (N, h, w) targets above 0.5.

    Two empty masks have IoU 1.
    """
    guess, truth = logits > 0, (target > 0.5)[:, None]
    overlap = (guess & truth).sum((2, 3)).float()
    union = (guess | truth).sum((2, 3)).float()
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


@dataclass(frozen=True)
class Supervised:
    """Loss of one decoder call, and what to log."""

    loss: Tensor
    """Scalar."""
    single_iou: Tensor
    """(N,) IoU of the single mask."""
    chosen_iou: Tensor
    """(N,) IoU of the candidate that the network itself scores best."""


def supervise(
    masks: Tensor,
    scores: Tensor,
    object_score: Tensor,
    target: Tensor,
    weights: LossWeights,
) -> Supervised:
    """Loss of all four masks of a decoder call.

    The single mask, and the best of the three candidates, carry the mask loss; every
    mask teaches its IoU score. Objects that are out of view teach presence alone.

    Parameters
    ----------
    masks : Tensor
        (N, 4, h, w) logits: single mask, then three candidates.
    scores : Tensor
        (N, 4) predicted IoU.
    object_score : Tensor
        (N, 1) logit that the object is in view.
    target : Tensor
        (N, h, w) share of each cell that belongs to the object.
    weights : LossWeights
        Weights of the parts.
    """
    masks, scores = masks.float(), scores.float()
    present = (target.amax((1, 2)) > 0).float()
    each = weights.mask * balanced_bce(masks, target) + weights.dice * dice(
        masks, target
    )
    best = each[:, 1:].amin(dim=1) + weights.others * each[:, 1:].mean(dim=1)
    iou = mask_iou(masks, target)
    quality = F.mse_loss(scores, iou, reduction="none").mean(dim=1)
    per_object = each[:, 0] + best + weights.quality * quality
    presence = F.binary_cross_entropy_with_logits(object_score[:, 0].float(), present)
    loss = (per_object * present).sum() / present.sum().clamp(min=1)
    row = torch.arange(len(masks), device=masks.device)
    return Supervised(
        loss=loss + weights.presence * presence,
        single_iou=iou[:, 0],
        chosen_iou=iou[row, 1 + scores[:, 1:].argmax(dim=1)],
    )


def quality_loss(scores: Tensor, ious: Tensor, present: Tensor) -> Tensor:
    """Squared error of (N, 4) predicted IoUs, of objects in view; a scalar."""
    error = (scores - ious).square().mean(dim=1)
    return torch.where(present, error, 0).sum() / present.sum().clamp(min=1)


def ranking_loss(
    scores: Tensor, ious: Tensor, owner: Tensor, competes: Tensor
) -> Tensor:
    """IoU that is lost, on average, by taking masks by their scores.

    The masks of an object are drawn with the softmax of their scores, so that their
    order can be learnt.

    Parameters
    ----------
    scores, ious : Tensor
        (N, M) predicted and true IoUs.
    owner : Tensor
        (N,) index of the object that M masks are candidates for, below N.
    competes : Tensor
        (N, M) bool: masks that may be taken.

    Returns
    -------
    Tensor
        Scalar; 0 if there is nothing to take.
    """
    index = torch.arange(len(owner), device=owner.device)
    same = (owner == index[:, None])[:, :, None] & competes
    taken = same.flatten(1)
    logits = (scores / TEMPERATURE).flatten().expand(len(owner), -1)
    shares = logits.masked_fill(~taken, UNTAKEN).softmax(dim=1)
    values = torch.where(taken, ious.flatten(), 0)
    lost = values.amax(dim=1) - (shares * values).sum(dim=1)
    counted = taken.any(dim=1)
    return torch.where(counted, lost, 0).sum() / counted.sum().clamp(min=1)
