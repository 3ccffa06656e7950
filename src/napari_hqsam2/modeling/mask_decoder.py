"""Mask decoder: masks, their predicted quality and the object score of N prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from napari_hqsam2.modeling.casting import Casts, lowered
from napari_hqsam2.modeling.layers import (
    MLP,
    Doubling,
    Gelu,
    LayerNorm2d,
    works_in_pieces,
)
from napari_hqsam2.modeling.outputs import MaskPrediction
from napari_hqsam2.modeling.two_way_transformer import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.modeling.two_way_transformer import Looked, TwoWayTransformer

NUM_MASKS = 4
"""One mask for unambiguous prompts, then three candidates for ambiguous ones."""
OBJECT_SCORE, IOU, FIRST_MASK = 0, 1, 2
"""Places of the output tokens in front of the prompt tokens."""
HQ = FIRST_MASK + NUM_MASKS
PIECE_SIZE = 2**21
"""Where prompts are decoded in pieces, an upscaled image has about so many values."""


@dataclass(frozen=True)
class StabilityFallback:
    """An unstable single mask is replaced by the best of the three candidates."""

    delta: float = 0.05
    """The mask is compared at logits +delta and -delta."""
    threshold: float = 0.98
    """Least ratio of the two areas that counts as stable."""

    def is_stable(self, logits: Tensor) -> Tensor:
        """(N,) stability of (N, H, W) logits; an empty mask is stable."""
        inner = (logits > self.delta).sum((-2, -1)).float()
        outer = (logits > -self.delta).sum((-2, -1)).float()
        return torch.where(outer > 0, inner / outer, 1.0) >= self.threshold


@dataclass(frozen=True)
class DecoderInput:
    """What N prompts ask about an image."""

    image: Tensor
    """(N, C, h, w) embedding, or (1, C, h, w) shared by all prompts."""
    image_pe: Tensor
    """(N or 1, C, h, w) position encoding."""
    sparse: Tensor
    """(N or 1, P, C) prompt tokens."""
    dense: Tensor
    """(N, C, h, w) mask prompts, or (1, C, 1, 1) without."""

    @property
    def count(self) -> int:
        """Number of prompts, N."""
        return max(x.shape[0] for x in (self.image, self.sparse, self.dense))

    def __getitem__(self, rows: slice) -> DecoderInput:
        """Some prompts."""
        parts = (self.image, self.image_pe, self.sparse, self.dense)
        return DecoderInput(*(rows_of(part, rows) for part in parts))


@dataclass(frozen=True)
class MaskRequest:
    """Which masks are wanted."""

    multimask: bool
    """The three candidates instead of the single mask."""
    hq: HqMode = "add"
    """Use of the HQ mask; a decoder without HQ head ignores it."""
    best_only: bool = False
    """Of the candidates only the one with the best score."""


@dataclass(frozen=True)
class DecodedTokens:
    """Everything the transformer yields, before masks are chosen."""

    tokens: Tensor
    """(N, L, C) output tokens."""
    upscaled: Tensor
    """(N, C / 8, 4h, 4w) image features that masks are dotted with."""
    iou_scores: Tensor
    """(N, 4) predicted IoU of all of SAM's masks."""


@dataclass(frozen=True)
class Chosen:
    """Masks that were chosen, as weights of the upscaled image."""

    scores: Tensor
    """(N, M) predicted IoU."""
    tokens: Tensor
    """(N, M, C)."""
    weights: Tensor
    """(N, M, C / 8)."""
    masks: Tensor | None = None
    """(N, M, 4h, 4w) logits if they were needed to choose."""


class MaskDecoder(nn.Module):
    """SAM 2.1's mask decoder; upstream ``sam.mask_decoder.MaskDecoder``.

    Parameters
    ----------
    channels : int
        C, the width of tokens and image embedding.
    transformer : TwoWayTransformer
        Attends between tokens and image.
    iou_hidden_dim : int
        Width of the head that predicts mask quality.
    stability : StabilityFallback or None
        Applied to single masks outside of training; None never replaces them.
    """

    has_hq = False

    def __init__(
        self,
        channels: int,
        transformer: TwoWayTransformer,
        iou_hidden_dim: int = 256,
        stability: StabilityFallback | None = None,
    ) -> None:
        super().__init__()
        self.stability = stability
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(NUM_MASKS, channels)
        self.obj_score_token = nn.Embedding(1, channels)
        self.output_upscaling = nn.Sequential(
            Doubling(channels, channels // 4),
            LayerNorm2d(channels // 4),
            Gelu(),
            Doubling(channels // 4, channels // 8),
            Gelu(),
        )
        self.conv_s0 = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(channels, channels // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((channels, channels, channels, channels // 8)) for _ in range(NUM_MASKS)
        )
        self._stacks = Casts()
        self.iou_prediction_head = MLP(
            (channels, iou_hidden_dim, iou_hidden_dim, NUM_MASKS), sigmoid_output=True
        )
        self.pred_obj_score_head = MLP((channels, channels, channels, 1))

    def output_tokens(self) -> Tensor:
        """(L, C) learned tokens in front of the prompt tokens."""
        parts = (self.obj_score_token, self.iou_token, self.mask_tokens)
        return torch.cat([part.weight for part in parts])

    def _upscale(self, image: Tensor, high_res: tuple[Tensor, Tensor]) -> Tensor:
        """(N, C / 8, 4h, 4w) image from (N, h, w, C) and the encoder's details."""
        up1, norm, act1, up2, act2 = self.output_upscaling
        s0, s1 = high_res
        x = act1(norm(cast("Doubling", up1).add_to(s1, image)))
        x = x.permute(0, 2, 3, 1)
        return act2(cast("Doubling", up2).add_to(s0, x))

    def _prompt_tokens(self, inputs: DecoderInput) -> Tensor:
        """(N, L, C) learned tokens, then those of the prompts."""
        parts = (self.output_tokens()[None], inputs.sparse)
        return torch.cat([x.expand(inputs.count, -1, -1) for x in parts], dim=1)

    def _looks(self, inputs: DecoderInput, length: int) -> Iterator[Looked]:
        """Pieces of at most `length` prompts; a shared image is looked at once."""
        image, tokens = inputs.image, self._prompt_tokens(inputs)
        count = inputs.count
        # a compiler takes one piece for any number of prompts, a range for one
        starts = (0,) if length >= count else range(0, count, length)
        pieces = [slice(start, start + length) for start in starts]
        if len(image) == len(inputs.dense) == 1:
            looked = self.transformer.look(
                image + inputs.dense, inputs.image_pe, tokens
            )
            yield from (looked[rows] for rows in pieces)
            return
        for rows in pieces:
            part = inputs[rows]
            yield self.transformer.look(
                part.image + part.dense, part.image_pe, tokens[rows]
            )

    def _piece_length(self, inputs: DecoderInput) -> int:
        if not works_in_pieces(inputs.image):
            return max(inputs.count, 1)
        channels, height, width = inputs.image.shape[1:]
        return max(PIECE_SIZE // (2 * channels * height * width), 1)

    def attend(self, inputs: DecoderInput) -> Tensor:
        """(N, L, C) output tokens, without any mask."""
        looks = self._looks(inputs, self._piece_length(inputs))
        return torch.cat([self.transformer.finish(looked)[0] for looked in looks])

    def decode(
        self, inputs: DecoderInput, high_res: tuple[Tensor, Tensor]
    ) -> Iterator[DecodedTokens]:
        """Tokens and upscaled image of all prompts.

        Parameters
        ----------
        inputs : DecoderInput
            N prompts.
        high_res : tuple of Tensor
            `ImageFeatures.high_res`, with batch N or 1.

        Yields
        ------
        DecodedTokens
            Of some prompts; together, and in order, all N of them.
        """
        length = self._piece_length(inputs)
        for index, looked in enumerate(self._looks(inputs, length)):
            tokens, features = self.transformer.finish(looked)
            rows = slice(index * length, (index + 1) * length)
            s0, s1 = (rows_of(level, rows) for level in high_res)
            image = features.unflatten(1, inputs.image.shape[-2:])
            yield DecodedTokens(
                tokens=lowered(tokens),
                upscaled=self._upscale(image, (s0, s1)),
                iou_scores=self.iou_prediction_head(tokens[:, IOU]),
            )

    def mask_weights(self, tokens: Tensor, masks: slice) -> Tensor:
        """(N, M, C / 8) weights of some of SAM's masks, from (N, L, C) tokens."""
        # a slice of a ModuleList would be a new module, each time
        stack = cast("list[MLP]", list(self.output_hypernetworks_mlps))[masks]
        x = tokens[:, FIRST_MASK:HQ][:, masks].transpose(0, 1)
        sources = tuple(part for mlp in stack for part in mlp.factors())
        factors = self._stacks.get(sources, lambda: _stacked(stack), len(stack))
        for index in range(0, len(factors), 2):
            weight, bias = factors[index : index + 2]
            x = torch.baddbmm(bias, x if index == 0 else x.relu(), weight)
        return x.transpose(0, 1)

    def _candidates(self, decoded: DecodedTokens, request: MaskRequest) -> Chosen:
        """The three candidates, or the best of them."""
        scores = decoded.iou_scores[:, 1:]
        tokens = decoded.tokens[:, FIRST_MASK + 1 : HQ]
        weights = self.mask_weights(decoded.tokens, slice(1, None))
        if request.best_only:
            best = scores.argmax(dim=1)
            scores, tokens, weights = (pick(x, best) for x in (scores, tokens, weights))
        return Chosen(scores, tokens, weights)

    def _single(self, decoded: DecodedTokens) -> Chosen:
        """The single mask; the best candidate's mask and score where it is unstable."""
        scores = decoded.iou_scores[:, :1]
        tokens = decoded.tokens[:, FIRST_MASK : FIRST_MASK + 1]
        weights = self.mask_weights(decoded.tokens, slice(1))
        if self.stability is None or self.training:
            return Chosen(scores, tokens, weights)
        mask = dot_masks(weights, decoded.upscaled)
        is_stable = self.stability.is_stable(mask[:, 0])[:, None]
        # to look at the answer costs nothing on a CPU only
        if mask.device.type == "cpu" and is_stable.all():
            return Chosen(scores, tokens, weights, mask)
        best = self._candidates(decoded, MaskRequest(multimask=True, best_only=True))
        return Chosen(
            torch.where(is_stable, scores, best.scores),
            tokens,
            torch.where(is_stable[..., None], weights, best.weights),
        )

    def _finish(
        self, chosen: Chosen, decoded: DecodedTokens, request: MaskRequest
    ) -> Tensor:
        """(N, M, 4h, 4w) logits of the chosen masks."""
        del request
        if chosen.masks is not None:
            return chosen.masks
        return dot_masks(chosen.weights, decoded.upscaled)

    def forward(
        self,
        inputs: DecoderInput,
        high_res: tuple[Tensor, Tensor],
        request: MaskRequest,
    ) -> MaskPrediction:
        """Predict the masks of N prompts; arguments as of `decode`."""
        parts = []
        for decoded in self.decode(inputs, high_res):
            chosen = (
                self._candidates(decoded, request)
                if request.multimask
                else self._single(decoded)
            )
            parts.append(
                MaskPrediction(
                    masks=self._finish(chosen, decoded, request),
                    iou_scores=chosen.scores,
                    tokens=chosen.tokens,
                    object_score=self.object_score(decoded.tokens),
                )
            )
        return MaskPrediction.cat(parts)

    def object_score(self, tokens: Tensor) -> Tensor:
        """(N, 1) logit that the object is in view, from (N, L, C) tokens."""
        return self.pred_obj_score_head(tokens[:, OBJECT_SCORE])


def _stacked(mlps: Sequence[MLP]) -> tuple[Tensor, ...]:
    """(M, I, O) weights and (M, 1, O) biases of the layers of M networks, in turn."""
    factors = []
    for layers in zip(*(mlp.layers for mlp in mlps), strict=True):
        factors.append(torch.stack([layer.weight for layer in layers]).mT)
        factors.append(torch.stack([layer.bias for layer in layers])[:, None])
    return tuple(factors)


def dot_masks(weights: Tensor, features: Tensor) -> Tensor:
    """Combine (N, C, H, W) features with (N, M, C) weights into (N, M, H, W) logits."""
    return (weights @ features.flatten(2)).unflatten(2, features.shape[-2:])


def pick(values: Tensor, index: Tensor) -> Tensor:
    """(N, 1, ...) the one of (N, M, ...) that an (N,) index names."""
    rows = index.view(-1, *[1] * (values.ndim - 1))
    return values.gather(1, rows.expand(-1, -1, *values.shape[2:]))
