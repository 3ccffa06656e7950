"""Third phase: the high-quality token learns fine boundaries, all else is frozen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.hq_mask_decoder import HqMaskDecoder
from napari_hqsam2.modeling.hqsam2 import MASK_SCALE
from napari_hqsam2.training.clip_phase import ClipPhase, Remembered
from napari_hqsam2.training.clips import ClipBatch
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
    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.config import PhaseConfig
    from napari_hqsam2.training.data import ImageBatch

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
        """Loss of one batch."""
        if isinstance(batch, ClipBatch):
            return self._follow(batch, generator)
        return self._prompt(batch, generator)

    def _follow(self, batch: ClipBatch, generator: torch.Generator) -> StepResult:
        """Loss on the frames after the first, of the objects in view."""
        with torch.no_grad():
            frames, _ = self._encode(batch)
            seen = self._start(batch, frames, generator, [], {})
            remembered = Remembered()
            self._remember(remembered, frames[0], seen, binarize=True)
        losses: list[Tensor] = []
        seen_frames: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for frame in range(1, len(frames)):
            with torch.no_grad():
                fused = self._fuse(remembered, frames, frame)
            target = batch.target(frame)
            prompts = self._unprompted(target, masks=False)
            decoded = decode_all(self.model, fused, frames[frame].high_res, prompts)
            every = torch.ones(len(target), dtype=torch.bool, device=target.device)
            sam = chosen_mask(decoded, multimask=every).float().detach()
            hq_mask = self._hq_mask(decoded)
            present = target.amax((1, 2)) > 0.5
            fine = fine_target(batch.masks[:, frame])
            result = self._result(sam, hq_mask, target, fine, present)
            losses.append(result.loss)
            seen_frames.append(present.any())
            figures |= {f"tracked_{k}": v for k, v in result.figures.items()}
            with torch.no_grad():
                seen = self._seen(decoded, present, multimask=True)
                here = present[:, None, None, None]
                shown = torch.where(here, sam + hq_mask, -MASK_SCALE)
                seen = replace(seen, low_res=shown)
                self._remember(remembered, frames[frame], seen, binarize=False)
        count = torch.stack(seen_frames).sum().clamp(min=1)
        return StepResult(torch.stack(losses).sum() / count, figures)

    def _prompt(self, batch: ImageBatch, generator: torch.Generator) -> StepResult:
        """Loss of a click or box, in half of the batches after a correction."""
        model = self.model
        target = batch.target
        fine = fine_target(batch.masks)
        draw = torch.rand(len(batch.crop), generator=generator)
        use_box = to_device(draw < self.config.box_share, batch.crop.device)
        with torch.no_grad():
            images = batch.images.contiguous(memory_format=torch.channels_last)
            features = model.encode_image(images)[batch.crop]
            fused = model.without_memory(features.embedding)
        prompts = first_prompts(batch.clicks_norm, batch.boxes_norm, use_box)
        decoded = decode_all(model, fused, features.high_res, prompts)
        sam = chosen_mask(decoded, multimask=~use_box).float()
        if float(torch.rand((), generator=generator)) < CORRECTED:
            logits = sam.detach()
            coords, labels = correction_clicks(logits, target[:, None], generator)
            prompts = add_clicks(prompts, coords, labels, logits)
            decoded = decode_all(model, fused, features.high_res, prompts)
            sam = chosen_mask(decoded, multimask=torch.zeros_like(use_box)).float()
        every = torch.ones_like(use_box)
        return self._result(sam.detach(), self._hq_mask(decoded), target, fine, every)

    def _hq_mask(self, decoded: Decoded) -> Tensor:
        """(N, 1, 4h, 4w) logits of the HQ mask."""
        parts = decoded.parts
        return self.decoder.hq_mask(parts.tokens, parts.upscaled.detach()).float()

    def _result(
        self,
        sam: Tensor,
        hq_mask: Tensor,
        target: Tensor,
        fine: Tensor,
        present: Tensor,
    ) -> StepResult:
        shown = {"off": sam, "add": sam + hq_mask, "only": hq_mask}
        figures = {
            name: mean_of(mask_iou(logits, target)[:, 0], present)
            for name, logits in shown.items()
        }
        return StepResult(hq_loss(sam, hq_mask, target, fine, present), figures)
