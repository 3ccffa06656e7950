"""First phase: prompts, masks and corrections on single images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.training.crops import CropSettings
from napari_hqsam2.training.data import ImageBatch, ImageBatches
from napari_hqsam2.training.decoding import (
    add_clicks,
    chosen_mask,
    decode_all,
    first_prompts,
    take,
)
from napari_hqsam2.training.dense import DenseHead, dense_loss
from napari_hqsam2.training.losses import Supervised, supervise
from napari_hqsam2.training.prompts import correction_clicks
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import ImageFeatures, ModelPrompts
    from napari_hqsam2.training.config import PhaseConfig
    from napari_hqsam2.training.sources import Mixture

CORRECTION_ROUNDS = 2
"""Round k asks for one in k of the objects of the round before."""
AUXILIARY = "auxiliary."
"""Prefix of the names of parameters that are not part of the model."""


@dataclass(frozen=True)
class StepResult:
    """Loss of a step and figures to log."""

    loss: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)
    """Scalars, left on their device: to read one is to wait for it."""


def mean_of(values: Tensor, where: Tensor) -> Tensor:
    """Mean of some values; nan of none."""
    return torch.where(where, values, 0).sum() / where.sum()


@dataclass(frozen=True)
class Question:
    """N prompts on encoded images, and what they ask for."""

    fused: Tensor
    """(N, C, h, w)."""
    high_res: tuple[Tensor, Tensor]
    prompts: ModelPrompts
    masks: Tensor
    """(N, S, S) uint8 truth."""
    target: Tensor
    """(N, S / 4, S / 4) share of every cell that belongs to the object."""
    multimask: Tensor
    """(N,) whether the best candidate answers instead of the single mask."""
    picture: Tensor | None = None
    """(N, 1, P, P) images, if the model looks at them."""

    def corrected(self, prompts: ModelPrompts, kept: Tensor) -> Question:
        """Ask for some of the objects again, with more prompts."""
        return Question(
            self.fused[kept],
            (self.high_res[0][kept], self.high_res[1][kept]),
            take(prompts, kept),
            self.masks[kept],
            self.target[kept],
            torch.zeros_like(self.multimask[kept]),
            None if self.picture is None else self.picture[kept],
        )


class ImagePhase:
    """Trains the image encoder, the prompt encoder and the mask decoder.

    Parameters
    ----------
    model : HqSam2
        Changed in place by the trainer.
    config : PhaseConfig
        Loss and prompts.
    """

    def __init__(self, model: HqSam2, config: PhaseConfig) -> None:
        self.model = model
        self.config = config
        self.dense_head = DenseHead(model.no_mem_embed.shape[-1])

    @property
    def auxiliary(self) -> nn.Module:
        """Parts that help training and are thrown away."""
        return self.dense_head

    @property
    def crop_settings(self) -> CropSettings:
        """How crops are drawn."""
        return CropSettings(zoom=self.config.zoom)

    def prepare(self) -> None:
        """Put the model into the mode of this phase."""
        self.model.train()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters that this phase trains."""
        memory = (
            "memory_",
            "maskmem",
            "no_obj",
            "obj_ptr",
            "mask_downsample",
            "no_mem_pos",
            "mask_refiner",
        )
        high_quality = ("hf_", "embedding_maskfeature")
        trained = [
            (name, parameter)
            for name, parameter in self.model.named_parameters()
            if not name.startswith(memory)
            and not any(f"sam_mask_decoder.{part}" in name for part in high_quality)
        ]
        return trained + self._auxiliary_parameters()

    def _auxiliary_parameters(self) -> list[tuple[str, nn.Parameter]]:
        named = self.auxiliary.named_parameters()
        return [(f"{AUXILIARY}{name}", parameter) for name, parameter in named]

    def batches(self, mixture: Mixture, seed: int) -> ImageBatches:
        """Batches of this phase."""
        return ImageBatches(mixture, self.config.shapes, seed, self.crop_settings)

    def step(
        self, batch: ImageBatch, index: int, generator: torch.Generator
    ) -> StepResult:
        """Loss of one batch: first prompts, then corrections of fewer objects."""
        images = batch.images.contiguous(memory_format=torch.channels_last)
        encoded = self.model.encode_image(images)
        dense = self._dense(encoded, batch.dense)
        result = self._ask(batch, encoded[batch.crop], index, generator)
        result.figures["dense"] = dense.detach()
        return StepResult(result.loss + dense, result.figures)

    def _ask(
        self,
        batch: ImageBatch,
        features: ImageFeatures,
        index: int,
        generator: torch.Generator,
    ) -> StepResult:
        """Loss of the first prompts and their corrections, on each object's image."""
        share = self.config.box_share
        draw = torch.rand(len(batch.crop), generator=generator)
        use_box = to_device(draw < share, batch.crop.device)
        question = Question(
            self.model.without_memory(features.embedding),
            features.high_res,
            first_prompts(batch.clicks_norm, batch.boxes_norm, use_box),
            batch.masks,
            batch.target,
            ~use_box,
            features.picture,
        )
        supervised, logits = self._decode(question)
        figures = {
            "box": mean_of(supervised.single_iou, use_box),
            "click": mean_of(supervised.chosen_iou, ~use_box),
        }
        losses = [supervised.loss]
        for number in range(1, self._rounds(index) + 1):
            target = question.target
            coords, labels = correction_clicks(logits, target[:, None], generator)
            prompts = add_clicks(question.prompts, coords, labels, logits)
            kept = torch.randperm(len(target), generator=generator)
            kept = to_device(kept[: -(-len(target) // number)], target.device)
            question = question.corrected(prompts, kept)
            supervised, logits = self._decode(question)
            losses.append(supervised.loss * len(kept) / len(batch.crop))
            figures[f"corrected_{number}"] = supervised.single_iou.mean()
        return StepResult(torch.stack(losses).sum(), figures)

    def _rounds(self, index: int) -> int:
        return CORRECTION_ROUNDS if index >= self.config.single_round_steps else 0

    @property
    def freezes_encoder(self) -> bool:
        """Whether image features stay as they are, which saves most of the time."""
        return self.config.optimisation.trunk_scale == 0

    def _dense(self, features: ImageFeatures, target: Tensor) -> Tensor:
        if self.freezes_encoder:
            return target.new_zeros(())
        coarse, full = self.dense_head(features)
        loss = dense_loss(full, target) + 0.5 * dense_loss(coarse, target)
        return self.config.loss.dense * loss

    def _decode(self, question: Question) -> tuple[Supervised, Tensor]:
        """Loss of the answer, and (N, 1, 4h, 4w) logits of the mask that is shown."""
        decoded = decode_all(
            self.model, question.fused, question.high_res, question.prompts
        )
        supervised = supervise(
            decoded.parts.masks,
            decoded.parts.iou_scores,
            decoded.object_score,
            question.target,
            self.config.loss,
        )
        shown = chosen_mask(decoded, multimask=question.multimask)
        return supervised, shown.detach().float()
