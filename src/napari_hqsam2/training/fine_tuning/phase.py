"""The phase that fine-tunes: chosen parts learn, all others stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.modeling.hq_mask_decoder import HqMaskDecoder
from napari_hqsam2.modeling.outputs import ImageFeatures
from napari_hqsam2.training.clip_phase import ClipPhase
from napari_hqsam2.training.clips import ClipBatch, ClipBatches, ClipDraft
from napari_hqsam2.training.decoding import chosen_mask, decode_all
from napari_hqsam2.training.fine_tuning.views import (
    DeckPlan,
    FeatureStore,
    ViewBatch,
    ViewBatches,
)
from napari_hqsam2.training.hq_phase import fine_target, hq_loss
from napari_hqsam2.training.losses import Supervised, mask_iou, supervise
from napari_hqsam2.training.refine_phase import RefineTask
from napari_hqsam2.weights.state_dict import is_optional

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.config import PhaseConfig
    from napari_hqsam2.training.crops import CropSettings
    from napari_hqsam2.training.data import BatchShape
    from napari_hqsam2.training.image_phase import Question, StepResult
    from napari_hqsam2.training.sources import Mixture

CLIP_EVERY = 2
"""One batch in so many is of clips where clips are wanted."""
MEMORY = (
    "memory_",
    "maskmem",
    "no_obj",
    "obj_ptr",
    "mask_downsample",
    "no_mem_pos",
    "sam_mask_decoder.obj_score_token",
    "sam_mask_decoder.pred_obj_score_head",
)
"""Names of what only tracking uses. Stills cannot teach it: their objects are there."""
ENCODER = ("image_encoder.", "sam_mask_decoder.conv_s")
HIGH_QUALITY = ("sam_mask_decoder.hf_", "sam_mask_decoder.embedding_maskfeature")


class Trained(StrEnum):
    """Parts of a model that learn."""

    hq = "hq"
    decoder = "decoder"
    hq_decoder = "hq+decoder"
    all = "all"

    @property
    def has_hq(self) -> bool:
        """Whether the HQ part learns, where there is one."""
        return self is not Trained.decoder

    @property
    def has_decoder(self) -> bool:
        """Whether SAM's mask decoder learns."""
        return self is not Trained.hq


def trained_parts(wanted: Trained | None, model: HqSam2, name: str) -> Trained:
    """Parts to train; None takes the decoder, and the HQ part where there is one.

    Raises
    ------
    TrainingError
        The HQ part is wanted of a model that has none.
    """
    if wanted in (Trained.hq, Trained.hq_decoder) and not model.has_hq:
        msg = (
            f"{name} has no high-quality part to train. Choose decoder or all, or a "
            f"model that has it, such as {name.replace('2.1_', '2.1_hq_')}."
        )
        raise TrainingError(msg)
    if wanted is not None:
        return wanted
    return Trained.hq_decoder if model.has_hq else Trained.decoder


def is_trained(name: str, trained: Trained, *, clips: bool) -> bool:
    """Whether the parameter of this name learns."""
    if name.startswith(MEMORY):
        return clips
    if name.startswith(HIGH_QUALITY) or is_optional(name):
        return trained.has_hq
    if trained is Trained.all:
        return True
    is_decoder = name.startswith("sam_mask_decoder.") and not name.startswith(ENCODER)
    return is_decoder and trained.has_decoder


@dataclass(frozen=True)
class FineTuningPlan:
    """What a run trains, on what."""

    trained: Trained
    shape: BatchShape
    """Size of a batch of stills."""
    clip_shape: BatchShape | None
    """Size of a batch of clips; None leaves out clips, and with them the memory."""
    crops: CropSettings
    deck: DeckPlan


class FineTuningBatches(Dataset[ViewBatch | ClipDraft]):
    """Stills, and clips every second time if there are any."""

    def __init__(self, stills: ViewBatches, clips: ClipBatches | None) -> None:
        self.stills = stills
        self.clips = clips
        self.together = 1

    def __getitem__(self, index: int) -> ViewBatch | ClipDraft:
        """Draw batch number `index`."""
        if self.clips is None:
            return self.stills[index]
        number, is_clip = divmod(index, CLIP_EVERY)
        return self.clips[number] if is_clip else self.stills[number]


class FineTuningPhase(ClipPhase):
    """Trains the parts that were chosen.

    Parameters
    ----------
    model : HqSam2
        Changed in place by the trainer.
    config : PhaseConfig
        Loss and prompts.
    plan : FineTuningPlan
        What is trained.
    """

    def __init__(
        self, model: HqSam2, config: PhaseConfig, plan: FineTuningPlan
    ) -> None:
        super().__init__(model, config)
        self.plan = plan
        self.store = FeatureStore(model, plan.deck)
        self.nothing = torch.nn.Module()

    @property
    def auxiliary(self) -> nn.Module:
        """Nothing here."""
        return self.nothing

    def prepare(self) -> None:
        """Leave out what is random in training, so that features can be kept."""
        self.model.eval()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters that learn."""
        clips = self.plan.clip_shape is not None
        return [
            (name, parameter)
            for name, parameter in self.model.named_parameters()
            if is_trained(name, self.plan.trained, clips=clips)
        ]

    def batches(  # type: ignore[override]
        self, mixture: Mixture, seed: int
    ) -> FineTuningBatches:
        """Batches of this phase, from the one source of the mixture."""
        plan, (source,) = self.plan, mixture.sources
        stills = ViewBatches(source, plan.shape, plan.deck, seed, plan.crops)
        if plan.clip_shape is None:
            return FineTuningBatches(stills, None)
        clips = ClipBatches(
            mixture, (plan.clip_shape,), seed, self.config.lengths, plan.crops
        )
        return FineTuningBatches(stills, clips)

    def step(  # type: ignore[override]
        self, batch: ViewBatch | ClipBatch, index: int, generator: torch.Generator
    ) -> StepResult:
        """Loss of one batch."""
        if isinstance(batch, ClipBatch):
            return super().step(batch, index, generator)
        features = self._features(batch)[batch.batch.crop]
        return self._ask(batch.batch, features, index, generator)

    @property
    def freezes_encoder(self) -> bool:
        """Whether image features stay as they are."""
        return self.plan.trained is not Trained.all

    def _features(self, batch: ViewBatch) -> ImageFeatures:
        if not self.freezes_encoder:
            images = batch.batch.images
            return self.model.encode_image(
                images.contiguous(memory_format=torch.channels_last)
            )
        parts = self.store.of(batch)
        s0, s1 = (torch.cat([part.high_res[i] for part in parts]) for i in range(2))
        pictures = [part.picture for part in parts if part.picture is not None]
        return ImageFeatures(
            torch.cat([part.embedding for part in parts]),
            (s0, s1),
            torch.cat(pictures) if pictures else None,
        )

    def _dense(self, features: ImageFeatures, target: Tensor) -> Tensor:
        del features
        return target.new_zeros(())

    def _decode(self, question: Question) -> tuple[Supervised, Tensor]:
        """Loss of the parts that learn; the mask that is shown is the one of use."""
        decoder, trained = self.model.sam_mask_decoder, self.plan.trained
        decoded = decode_all(
            self.model, question.fused, question.high_res, question.prompts
        )
        shown = chosen_mask(decoded, multimask=question.multimask).detach().float()
        losses = []
        if trained.has_decoder:
            supervised = supervise(
                decoded.parts.masks,
                decoded.parts.iou_scores,
                decoded.object_score,
                question.target,
                self.config.loss,
            )
            losses.append(supervised.loss)
        if isinstance(decoder, HqMaskDecoder):
            parts = decoded.parts
            hq_mask = decoder.hq_mask(parts.tokens, parts.upscaled.detach()).float()
            if trained.has_hq:
                fine = fine_target(question.masks)
                losses.append(hq_loss(shown, hq_mask, question.target, fine))
            shown = shown + hq_mask.detach()
        refiner, picture = self.model.mask_refiner, question.picture
        if refiner is not None and picture is not None and trained.has_hq:
            task = RefineTask(shown, picture, question.masks, question.prompts)
            every = torch.ones_like(question.multimask)
            loss, shown = task.run(refiner, every, None)
            losses.append(loss)
        iou = mask_iou(shown, question.target)[:, 0]
        return Supervised(torch.stack(losses).sum(), iou, iou), shown
