"""Fourth phase: the mask refiner learns outlines from pixels, all else is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from napari_hqsam2.modeling.image_motion import to_picture
from napari_hqsam2.modeling.mask_refiner import (
    Said,
    cut,
    mask_of,
    paste,
    window_inputs,
    windows_around,
)
from napari_hqsam2.training.hq_phase import HqPhase
from napari_hqsam2.training.image_phase import ImagePhase, StepResult, mean_of
from napari_hqsam2.training.losses import dice, mask_iou
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.mask_refiner import MaskRefiner
    from napari_hqsam2.modeling.outputs import ModelPrompts
    from napari_hqsam2.training.config import PhaseConfig
    from napari_hqsam2.training.data import ImageBatch, ImageBatches
    from napari_hqsam2.training.sources import Mixture

PLACING, SIZING = 0.08, 0.12
"""Standard deviations of where windows are, relative to half of their side, and of the
logarithm of their size."""


class RefinePhase(HqPhase):
    """Trains the part that draws masks anew from the pixels around them.

    It learns from what the model answers to clicks, boxes and corrections.

    Parameters
    ----------
    model : HqSam2
        With a mask refiner; changed in place by the trainer.
    config : PhaseConfig
        Prompts.

    Raises
    ------
    TypeError
        If the model has no mask refiner.
    """

    def __init__(self, model: HqSam2, config: PhaseConfig) -> None:
        super().__init__(model, config)
        if model.mask_refiner is None:
            msg = (
                "The phase 'refine' needs a model with a mask refiner, as "
                "sam2.1_hq_hiera_nano; leave it out for others."
            )
            raise TypeError(msg)
        self.refiner = model.mask_refiner

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters of the refiner."""
        return [
            (f"mask_refiner.{name}", parameter)
            for name, parameter in self.refiner.named_parameters()
        ]

    def batches(self, mixture: Mixture, seed: int) -> ImageBatches:  # type: ignore[override]
        """Batches of stills."""
        return ImagePhase.batches(self, mixture, seed)

    def step(  # type: ignore[override]
        self, batch: ImageBatch, index: int, generator: torch.Generator
    ) -> StepResult:
        """Loss of the last answers to a batch of prompts."""
        with torch.no_grad(), torch.autocast(batch.images.device.type, enabled=False):
            picture = to_picture(batch.images)[batch.crop]
        with torch.no_grad():
            *_, answer = self.prompted(batch, generator)
        before = answer.sam + answer.hq_mask
        task = RefineTask(before, picture, batch.masks, answer.prompts)
        loss, refined = task.run(self.refiner, answer.present, generator)
        target = batch.target
        figures = {
            name: mean_of(mask_iou(logits, target)[:, 0], answer.present)
            for name, logits in (("before", before), ("refined", refined))
        }
        return StepResult(loss, figures)


@dataclass(frozen=True)
class RefineTask:
    """N masks that are to be refined, and the truth."""

    low_res: Tensor
    """(N, 1, 4h, 4w) logits."""
    picture: Tensor
    """(1 or N, 1, P, P) image."""
    masks: Tensor
    """(N, S, S) uint8 truth."""
    prompts: ModelPrompts
    """What was said of the objects."""

    def run(
        self, refiner: MaskRefiner, counts: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Loss of refined masks of the objects that count, and logits as in use.

        Parameters
        ----------
        refiner : MaskRefiner
            What learns.
        counts : Tensor
            (N,) bool.
        generator : torch.Generator or None
            Moves the windows; None leaves them where they are in use.
        """
        low_res, said = self.low_res.detach().float(), Said.of(self.prompts)
        if said is None:
            raise ValueError("Masks are refined by what was said of their objects.")
        with torch.no_grad(), torch.autocast(low_res.device.type, enabled=False):
            windows = windows_around(low_res, said)
            if generator is not None:
                windows = _shifted(windows, generator)
            seen = window_inputs(windows, low_res, self.picture, said)
            truth = F.avg_pool2d(self.masks[:, None].float(), 2)
            target = cut(truth, windows, times=2)[:, 0]
        refined = mask_of(seen) + refiner.changes(seen)
        each = F.binary_cross_entropy_with_logits(
            refined[:, 0], target, reduction="none"
        ).mean((1, 2))
        each = each + dice(refined, target)[:, 0]
        loss = torch.where(counts, each, 0).sum() / counts.sum().clamp(min=1)
        # as in use, what has no point stays as it was
        pasted = paste(refined.detach(), windows, low_res)
        has_points = said.has_points[:, None, None, None]
        return loss, torch.where(has_points, pasted, low_res)


def _shifted(windows: Tensor, generator: torch.Generator) -> Tensor:
    """(N, 3) windows that are not quite where they are in use."""
    noise = to_device(torch.randn(windows.shape, generator=generator), windows.device)
    half = windows[:, 2:]
    middle = windows[:, :2] + PLACING * half * noise[:, :2]
    return torch.cat((middle, half * (SIZING * noise[:, 2:]).exp()), dim=1)
