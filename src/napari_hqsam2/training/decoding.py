"""Decoder calls of training, which see all four masks at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.mask_decoder import dot_masks
from napari_hqsam2.modeling.outputs import ModelPrompts

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2

CLAMP = 32.0
"""Mask logits are fed back within this range."""
BOX_LABELS, CLICK_LABELS = (2, 3), (1, -1)
"""Of the two points of a box, and of a click and no second one."""


@dataclass(frozen=True)
class DecodedMasks:
    """All of SAM's masks of N prompts, and what they are made of."""

    tokens: Tensor
    """(N, L, C) output tokens."""
    upscaled: Tensor
    """(N, C / 8, 4h, 4w) image features."""
    masks: Tensor
    """(N, 4, 4h, 4w) logits."""
    iou_scores: Tensor
    """(N, 4) predicted IoU."""


@dataclass(frozen=True)
class Decoded:
    """All that the decoder says about N prompts."""

    parts: DecodedMasks
    object_score: Tensor
    """(N, 1)."""


def decode_all(
    model: HqSam2,
    fused: Tensor,
    high_res: tuple[Tensor, Tensor],
    prompts: ModelPrompts,
    known: Tensor | None = None,
) -> Decoded:
    """Decode N prompts into the single mask and all candidates, without HQ mask.

    Parameters
    ----------
    model : HqSam2
        The model.
    fused, high_res, prompts
        As of `HqSam2.predict_masks`.
    known : Tensor, optional
        (N,) bool: objects whose mask is a prompt; without it, all if there are masks.
    """
    decoder = model.sam_mask_decoder
    inputs = model.decoder_input(fused, prompts)
    if known is not None:
        nothing = model.sam_prompt_encoder.no_mask_embed.weight[..., None, None]
        dense = torch.where(known[:, None, None, None], inputs.dense, nothing)
        inputs = replace(inputs, dense=dense)
    pieces = list(decoder.decode(inputs, high_res))
    tokens = torch.cat([piece.tokens for piece in pieces])
    upscaled = torch.cat([piece.upscaled for piece in pieces])
    scores = torch.cat([piece.iou_scores for piece in pieces])
    masks = dot_masks(decoder.mask_weights(tokens, slice(None)), upscaled)
    return Decoded(
        DecodedMasks(tokens, upscaled, masks, scores), decoder.object_score(tokens)
    )


def first_prompts(clicks: Tensor, boxes: Tensor, use_box: Tensor) -> ModelPrompts:
    """One click, or a box, for each object.

    Parameters
    ----------
    clicks : Tensor
        (N, 1, 2) from 0 to 1.
    boxes : Tensor
        (N, 2, 2) corners from 0 to 1.
    use_box : Tensor
        (N,) bool.
    """
    second = torch.zeros_like(clicks)
    coords = torch.where(
        use_box[:, None, None], boxes, torch.cat((clicks, second), dim=1)
    )
    pairs = zip(BOX_LABELS, CLICK_LABELS, strict=True)
    labels = [torch.where(use_box, corner, click) for corner, click in pairs]
    return ModelPrompts(coords, torch.stack(labels, dim=1).int())


def add_clicks(
    prompts: ModelPrompts, coords: Tensor, labels: Tensor, logits: Tensor
) -> ModelPrompts:
    """Append one click each, and feed the mask so far back."""
    if prompts.coords_norm is None or prompts.labels is None:
        raise ValueError("Correction clicks are added to prompts that have points.")
    return ModelPrompts(
        torch.cat((prompts.coords_norm, coords), dim=1),
        torch.cat((prompts.labels, labels), dim=1),
        logits.detach().clamp(-CLAMP, CLAMP),
    )


def take(prompts: ModelPrompts, index: Tensor) -> ModelPrompts:
    """Prompts of some objects."""
    parts = (prompts.coords_norm, prompts.labels, prompts.masks)
    coords, labels, masks = (None if p is None else p[index] for p in parts)
    return ModelPrompts(coords, labels, masks)


def chosen_mask(decoded: Decoded, *, multimask: Tensor) -> Tensor:
    """(N, 1, 4h, 4w) logits: best candidate where `multimask`, else the single mask."""
    parts = decoded.parts
    best = 1 + parts.iou_scores[:, 1:].argmax(dim=1)
    index = torch.where(multimask, best, 0)
    row = torch.arange(len(index), device=index.device)
    return parts.masks[row, index][:, None]
