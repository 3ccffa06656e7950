"""Third phase: the high-quality token learns fine boundaries, all else is frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.hq_mask_decoder import HqMaskDecoder
from napari_hqsam2.modeling.hqsam2 import MASK_SCALE
from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.training.clip_phase import ClipPhase, Remembered
from napari_hqsam2.training.data import ImageBatch, area_target
from napari_hqsam2.training.decoding import (
    Decoded,
    add_clicks,
    chosen_mask,
    decode_all,
    first_prompts,
)
from napari_hqsam2.training.image_phase import StepResult, mean_of
from napari_hqsam2.training.losses import balanced_bce, dice, mask_iou
from napari_hqsam2.training.prompts import correction_clicks
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.clips import ClipBatch
    from napari_hqsam2.training.config import PhaseConfig

FINE_STRIDE = 2
"""Boundaries are compared at this stride, finer than the mask's own 4."""
CORRECTED = 0.5
"""Share of batches of prompts that are corrected with a click first."""
RIM = 5
"""Width in fine cells of the rim that the boundary loss looks at."""


def rim(target: Tensor) -> Tensor:
    """(N, H, W) zeros and ones: cells near the outline of (N, H, W) targets."""
    inside = target[:, None]
    grown = F.max_pool2d(inside, RIM, stride=1, padding=RIM // 2)
    shrunk = -F.max_pool2d(-inside, RIM, stride=1, padding=RIM // 2)
    return ((grown - shrunk) > 0)[:, 0].float()


def boundary_bce(logits: Tensor, target: Tensor) -> Tensor:
    """(N,) mean cross-entropy of (N, H, W) logits near the outline of targets."""
    near = rim(target)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1)


def hq_loss(
    sam: Tensor,
    hq_mask: Tensor,
    target: Tensor,
    fine: Tensor,
    present: Tensor | None = None,
) -> Tensor:
    """Loss of the HQ mask added to SAM's, and of the HQ mask alone.

    Parameters
    ----------
    sam, hq_mask : Tensor
        (N, 1, 4h, 4w) logits.
    target : Tensor
        (N, 4h, 4w) share of each cell that belongs to the object.
    fine : Tensor
        (N, H, W) the same in finer cells, for the boundary.
    present : Tensor, optional
        (N,) bool: objects that count; all without it, and no loss if there are none.
    """
    loss = sam.new_zeros(len(sam))
    for logits, share in ((sam + hq_mask, 1.0), (hq_mask, 0.5)):
        up = F.interpolate(logits, size=fine.shape[-2:], mode="bilinear")[:, 0]
        whole = balanced_bce(logits, target) + dice(logits, target)
        loss = loss + share * (boundary_bce(up, fine) + whole[:, 0])
    if present is None:
        return loss.mean()
    return torch.where(present, loss, 0).sum() / present.sum().clamp(min=1)


def fine_target(masks: Tensor) -> Tensor:
    """(N, S / 2, S / 2) area shares of (N, S, S) masks of zeros and ones."""
    return F.avg_pool2d(masks[:, None].float(), FINE_STRIDE)[:, 0]


@dataclass(frozen=True)
class Answer:
    """What the decoder says about N objects on a frame, and the truth."""

    decoded: Decoded
    sam: Tensor
    """(N, 1, 4h, 4w) logits of SAM's mask that is shown."""
    hq_mask: Tensor
    """(N, 1, 4h, 4w) logits of the HQ mask, which is added to it."""
    masks: Tensor
    """(N, S, S) uint8 truth; empty where an object is out of view."""
    multimask: Tensor
    """(N,) bool: whether the best candidate is shown instead of the single mask."""
    prompts: ModelPrompts
    """What was asked; nothing on frames that are followed."""

    @cached_property
    def present(self) -> Tensor:
        """(N,) bool: objects in view."""
        return area_target(self.masks).amax((1, 2)) > 0.5


class HqPhase(ClipPhase):
    """Trains the parameters that HQ-SAM adds, on prompted and on tracked frames.

    HQ-SAM learns on single images. Here its token also meets frames that memory has
    changed: a token that never did says nothing useful there.

    Parameters
    ----------
    model : HqSam2
        With an HQ decoder; changed in place by the trainer.
    config : PhaseConfig
        Loss and prompts.

    Raises
    ------
    TypeError
        If the model has no HQ decoder.
    """

    def __init__(self, model: HqSam2, config: PhaseConfig) -> None:
        super().__init__(model, config)
        if not isinstance(model.sam_mask_decoder, HqMaskDecoder):
            found = type(model.sam_mask_decoder).__name__
            msg = f"The HQ phase needs a model with HqMaskDecoder, got {found}."
            raise TypeError(msg)
        self.decoder = model.sam_mask_decoder
        self.nothing = nn.Module()

    @property
    def auxiliary(self) -> nn.Module:
        """Nothing here."""
        return self.nothing

    def prepare(self) -> None:
        """Nothing in the frozen parts depends on the mode; all stay in eval mode."""
        self.model.eval()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters of the HQ head."""
        trained = {id(parameter) for parameter in self.decoder.hq_parameters()}
        named = self.model.named_parameters()
        return [(name, p) for name, p in named if id(p) in trained]

    @property
    def freezes_encoder(self) -> bool:
        """Nothing but the HQ head learns."""
        return True

    def step(
        self, batch: ClipBatch | ImageBatch, index: int, generator: torch.Generator
    ) -> StepResult:
        """Loss of one batch: of prompts the last answer, of clips all."""
        if isinstance(batch, ImageBatch):
            *_, answer = self.prompted(batch, generator)
            return self._result(answer)
        losses: list[Tensor] = []
        counted: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for answer in self.followed(batch, generator):
            result = self._result(answer)
            losses.append(result.loss)
            counted.append(answer.present.any())
            figures |= {f"tracked_{k}": v for k, v in result.figures.items()}
        count = torch.stack(counted).sum().clamp(min=1)
        return StepResult(torch.stack(losses).sum() / count, figures)

    def followed(
        self, batch: ClipBatch, generator: torch.Generator
    ) -> Iterator[Answer]:
        """What is said about the objects on each frame after the first."""
        with torch.no_grad():
            frames, _ = self._encode(batch)
            seen = self._start(batch, frames, generator, [], {})
            remembered = Remembered()
            self._remember(remembered, frames[0], seen, binarize=True)
        motion = self._motion(batch, generator)
        for frame in range(1, len(frames)):
            with torch.no_grad():
                fused = self._fuse(remembered, frames, frame)
            target = batch.target(frame)
            moved = self._moved(motion, seen, frame, generator)
            decoded = self._followed(fused, frames[frame], target, moved)
            every = torch.ones(len(target), dtype=torch.bool, device=target.device)
            answer = self._answer(decoded, every, batch.masks[:, frame])
            yield answer
            with torch.no_grad():
                seen = self._seen(decoded, answer.present, multimask=True)
                here = answer.present[:, None, None, None]
                shown = answer.sam + answer.hq_mask
                if moved is not None:
                    shown = moved.mixed(shown)
                shown = torch.where(here, shown, -MASK_SCALE)
                seen = replace(seen, low_res=shown)
                self._remember(remembered, frames[frame], seen, binarize=False)

    def prompted(
        self, batch: ImageBatch, generator: torch.Generator
    ) -> Iterator[Answer]:
        """What is said to clicks or boxes, and in half of the batches corrected."""
        model = self.model
        target = batch.target
        draw = torch.rand(len(batch.crop), generator=generator)
        use_box = to_device(draw < self.config.box_share, batch.crop.device)
        with torch.no_grad():
            images = batch.images.contiguous(memory_format=torch.channels_last)
            features = model.encode_image(images)[batch.crop]
            fused = model.without_memory(features.embedding)
        prompts = first_prompts(batch.clicks_norm, batch.boxes_norm, use_box)
        decoded = decode_all(model, fused, features.high_res, prompts)
        first = self._answer(decoded, ~use_box, batch.masks, prompts)
        yield first
        if float(torch.rand((), generator=generator)) < CORRECTED:
            logits = first.sam
            coords, labels = correction_clicks(logits, target[:, None], generator)
            prompts = add_clicks(prompts, coords, labels, logits)
            decoded = decode_all(model, fused, features.high_res, prompts)
            yield self._answer(decoded, torch.zeros_like(use_box), batch.masks, prompts)

    def _answer(
        self,
        decoded: Decoded,
        multimask: Tensor,
        masks: Tensor,
        prompts: ModelPrompts | None = None,
    ) -> Answer:
        sam = chosen_mask(decoded, multimask=multimask).float().detach()
        hq_mask, said = self._hq_mask(decoded), prompts or ModelPrompts()
        return Answer(decoded, sam, hq_mask, masks, multimask, said)

    def _hq_mask(self, decoded: Decoded) -> Tensor:
        """(N, 1, 4h, 4w) logits of the HQ mask."""
        parts = decoded.parts
        return self.decoder.hq_mask(parts.tokens, parts.upscaled.detach()).float()

    def _result(self, answer: Answer) -> StepResult:
        sam, hq_mask, target = answer.sam, answer.hq_mask, area_target(answer.masks)
        shown = {"off": sam, "add": sam + hq_mask, "only": hq_mask}
        figures = {
            name: mean_of(mask_iou(logits, target)[:, 0], answer.present)
            for name, logits in shown.items()
        }
        fine = fine_target(answer.masks)
        loss = hq_loss(sam, hq_mask, target, fine, answer.present)
        return StepResult(loss, figures)
