"""Second phase: objects are followed through short clips by memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.hqsam2 import MASK_BIAS, MASK_SCALE
from napari_hqsam2.modeling.mask_decoder import FIRST_MASK
from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.training.clips import ClipBatch, ClipBatches, MixedBatches
from napari_hqsam2.training.data import ImageBatch, ImageBatches
from napari_hqsam2.training.decoding import (
    CLAMP,
    Decoded,
    chosen_mask,
    decode_all,
    first_prompts,
)
from napari_hqsam2.training.image_phase import ImagePhase, StepResult, mean_of
from napari_hqsam2.training.losses import Supervised, mask_iou, supervise
from napari_hqsam2.training.moved_masks import ClipMotion, MovedMasks
from napari_hqsam2.training.prompts import correction_clicks

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_hqsam2.modeling.outputs import ImageFeatures
    from napari_hqsam2.training.sources import Mixture

MAX_POINTERS = 16
MASK_START, BOX_START = 0.5, 0.25
"""Shares of batches that start from masks, and from boxes; others start from clicks."""
TEACHER_LOGIT = 8.0
"""Size of the logits of true masks that memory is compared to."""
DISTILLATION = 0.3
CORRECTION = 0.5
"""Share of batches that correct a tracked frame with a click."""


@dataclass
class Remembered:
    """What N objects remember of the frames so far."""

    memories: list[Tensor] = field(default_factory=list)
    pointers: list[Tensor] = field(default_factory=list)
    conditioning: list[int] = field(default_factory=lambda: [0])
    """Frames with prompts, the first and the corrected ones."""

    def read(
        self, frame: int, num_memories: int, length: int
    ) -> tuple[list[SpatialMemory], list[PointerMemory]]:
        """Memories as the video predictor hands them to `frame`."""
        spatial = [SpatialMemory(0, self.memories[t]) for t in self.conditioning]
        for slot in range(1, num_memories):
            t = frame - (num_memories - slot)
            if t > 0 and t not in self.conditioning:
                spatial.append(SpatialMemory(slot, self.memories[t]))
        span = max(min(length, MAX_POINTERS) - 1, 1)
        tracked = (t for t in range(frame - 1, 0, -1) if t not in self.conditioning)
        order = [*self.conditioning, *tracked]
        pointers = []
        for t in order:
            pointer = self.pointers[t]
            distance = torch.full(
                (len(pointer),), (frame - t) / span, device=pointer.device
            )
            pointers.append(PointerMemory(distance, pointer))
        return spatial, pointers


@dataclass(frozen=True)
class Seen:
    """Result on one frame that enters memory."""

    low_res: Tensor
    object_score: Tensor
    pointer: Tensor


def mask_logits(target: Tensor) -> Tensor:
    """(N, 1, h, w) logits of a certain mask from (N, h, w) area shares."""
    return (target[:, None] - 0.5) * (2 * TEACHER_LOGIT)


class ClipPhase(ImagePhase):
    """Trains everything but the HQ head, on clips.

    Parameters
    ----------
    model : HqSam2
        Changed in place by the trainer.
    config : PhaseConfig
        Loss, length of clips.
    """

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters that this phase trains."""
        frozen = ["hf_", "embedding_maskfeature", "mask_refiner"]
        if self.freezes_encoder:
            frozen += ["image_encoder.", "conv_s0", "conv_s1"]
        trained = [
            (name, parameter)
            for name, parameter in self.model.named_parameters()
            if not any(part in name for part in frozen)
        ]
        return (
            trained if self.freezes_encoder else trained + self._auxiliary_parameters()
        )

    def batches(  # type: ignore[override]
        self, mixture: Mixture, seed: int
    ) -> ClipBatches | MixedBatches:
        """Batches of this phase, mixed with stills if the config has their shapes."""
        config = self.config
        settings = self.crop_settings
        clips = ClipBatches(mixture, config.shapes, seed, config.lengths, settings)
        if not config.still_shapes:
            return clips
        stills = ImageBatches(
            mixture, config.still_shapes, seed, settings, together=clips.together
        )
        return MixedBatches(clips, stills, config.still_every)

    def step(
        self, batch: ClipBatch | ImageBatch, index: int, generator: torch.Generator
    ) -> StepResult:
        """Loss of one batch: the prompted frame, then each tracked one.

        In some batches a click corrects one of the tracked frames, which the frames
        behind it then remember as a prompted one.
        """
        if isinstance(batch, ImageBatch):
            return super().step(batch, index, generator)
        frames, dense = self._encode(batch)
        losses: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        seen = self._start(batch, frames, generator, losses, figures)
        remembered = Remembered()
        self._remember(remembered, frames[0], seen, binarize=True)
        motion = self._motion(batch, generator)
        corrected = self._corrected_frame(len(frames), generator)
        for frame in range(1, len(frames)):
            fused = self._fuse(remembered, frames, frame)
            target = batch.target(frame)
            losses.append(DISTILLATION * self._distil(fused, frames[frame], target))
            figures[f"distil_{frame}"] = losses[-1].detach()
            moved = self._moved(motion, seen, frame, generator)
            decoded = self._followed(fused, frames[frame], target, moved)
            supervised = self._judge(decoded, target)
            losses.append(supervised.loss)
            present = target.amax((1, 2)) > 0.5
            kind = "tracked" if moved is None else "moved"
            figures[f"{kind}_{frame}"] = mean_of(supervised.chosen_iou, present)
            if frame == corrected:
                supervised, decoded = self._correct(
                    self._shown(decoded, moved),
                    fused,
                    frames[frame],
                    target,
                    generator,
                )
                losses.append(supervised.loss)
                figures["corrected"] = mean_of(supervised.chosen_iou, present)
                remembered.conditioning.append(frame)
            if frame + 1 < len(frames):
                prompted = frame == corrected
                mixed = None if prompted else moved
                seen = self._seen(decoded, present, multimask=True, moved=mixed)
                self._remember(remembered, frames[frame], seen, binarize=prompted)
        figures["copied"] = self._copied(batch, len(frames) - 1)
        loss = torch.stack(losses).sum() / len(frames)
        return StepResult(loss + dense, figures)

    def _corrected_frame(self, length: int, generator: torch.Generator) -> int | None:
        if float(torch.rand((), generator=generator)) >= CORRECTION:
            return None
        return int(torch.randint(1, length, (), generator=generator))

    def _motion(
        self, batch: ClipBatch, generator: torch.Generator
    ) -> ClipMotion | None:
        """How the images move; None in batches that memory alone follows."""
        if float(torch.rand((), generator=generator)) >= self.config.moved_masks:
            return None
        return ClipMotion.of(batch, generator)

    def _moved(
        self,
        motion: ClipMotion | None,
        before: Seen,
        frame: int,
        generator: torch.Generator,
    ) -> MovedMasks | None:
        if motion is None:
            return None
        return motion.moved(before.low_res, frame, generator)

    def _encode(self, batch: ClipBatch) -> tuple[list[ImageFeatures], Tensor]:
        """Features of the N objects' images on every frame, and the dense loss."""
        clips, length = batch.images.shape[:2]
        images = batch.images.flatten(0, 1)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(not self.freezes_encoder):
            features = self.model.encode_image(images)
        first = features[torch.arange(clips, device=images.device) * length]
        crop = batch.first.crop
        frames = [features[crop * length + t] for t in range(length)]
        if self.freezes_encoder:
            return frames, images.new_zeros(())
        return frames, self._dense(first, batch.first.dense)

    def _start(
        self,
        batch: ClipBatch,
        frames: list[ImageFeatures],
        generator: torch.Generator,
        losses: list[Tensor],
        figures: dict[str, Tensor],
    ) -> Seen:
        """Result on the first frame; adds its loss.

        A mask on the first frame is taken as it is, so the decoder learns something
        else there: what the mask says, as a prompt, about the second frame.
        """
        features = frames[0]
        draw = float(torch.rand((), generator=generator))
        if draw < MASK_START:
            adopted = self.model.adopt_masks(features, batch.masks[:, :1].float())
            prompts = self._unprompted(batch.target(0), masks=True)
            fused = self.model.without_memory(frames[1].embedding)
            supervised, _ = self._supervise(fused, frames[1], batch.target(1), prompts)
            losses.append(supervised.loss)
            figures["mask_prompt"] = supervised.chosen_iou.mean()
            return Seen(adopted.low_res, adopted.object_score, adopted.pointer)
        boxes = draw < MASK_START + BOX_START
        first = batch.first
        use_box = torch.full((len(first.crop),), boxes, device=first.crop.device)
        prompts = first_prompts(first.clicks_norm, first.boxes_norm, use_box)
        fused = self.model.without_memory(features.embedding)
        supervised, decoded = self._supervise(fused, features, batch.target(0), prompts)
        losses.append(supervised.loss)
        iou = supervised.single_iou if boxes else supervised.chosen_iou
        figures["box" if boxes else "click"] = iou.mean()
        return self._seen(decoded, torch.ones_like(use_box), multimask=not boxes)

    def _supervise(
        self,
        fused: Tensor,
        features: ImageFeatures,
        target: Tensor,
        prompts: ModelPrompts,
    ) -> tuple[Supervised, Decoded]:
        decoded = decode_all(self.model, fused, features.high_res, prompts)
        return self._judge(decoded, target), decoded

    def _judge(self, decoded: Decoded, target: Tensor) -> Supervised:
        return supervise(
            decoded.parts.masks,
            decoded.parts.iou_scores,
            decoded.object_score,
            target,
            self.config.loss,
        )

    def _followed(
        self,
        fused: Tensor,
        features: ImageFeatures,
        target: Tensor,
        moved: MovedMasks | None,
    ) -> Decoded:
        """What memory, and moved masks if there are any, say about a frame."""
        prompts = self._unprompted(target, masks=False)
        if moved is None:
            return decode_all(self.model, fused, features.high_res, prompts)
        prompts = replace(prompts, masks=moved.logits)
        return decode_all(self.model, fused, features.high_res, prompts, moved.known)

    def _unprompted(self, target: Tensor, *, masks: bool) -> ModelPrompts:
        """Prompts without a point; with the true masks, if asked for."""
        nowhere = target.new_zeros(len(target), 1, 2)
        no_point = torch.full(
            (len(target), 1), -1, dtype=torch.int32, device=target.device
        )
        return ModelPrompts(nowhere, no_point, mask_logits(target) if masks else None)

    def _seen(
        self,
        decoded: Decoded,
        present: Tensor,
        *,
        multimask: bool,
        moved: MovedMasks | None = None,
    ) -> Seen:
        """What enters memory; presence is the truth, so no wrong guess ends a clip."""
        parts = decoded.parts
        row = torch.arange(len(present), device=present.device)
        best = 1 + parts.iou_scores[:, 1:].argmax(dim=1)
        index = best if multimask else torch.zeros_like(best)
        pointer = self.model.obj_ptr_proj(parts.tokens[row, FIRST_MASK + index])
        low_res = parts.masks[row, index][:, None].float()
        if moved is not None:
            low_res = moved.mixed(low_res)
        here = present[:, None]
        return Seen(
            torch.where(here[..., None, None], low_res, -MASK_SCALE),
            here * MASK_SCALE + MASK_BIAS,
            torch.where(here, pointer, self.model.no_obj_ptr.to(pointer.dtype)),
        )

    def _remember(
        self,
        remembered: Remembered,
        features: ImageFeatures,
        seen: Seen,
        *,
        binarize: bool,
    ) -> None:
        memory = self.model.encode_memory(
            features.embedding, seen.low_res, seen.object_score, binarize=binarize
        )
        remembered.memories.append(memory)
        remembered.pointers.append(seen.pointer)

    def _fuse(
        self, remembered: Remembered, frames: list[ImageFeatures], frame: int
    ) -> Tensor:
        spatial, pointers = remembered.read(frame, self.model.num_memories, len(frames))
        attended = self.model.attend_frame(frames[frame].embedding)
        return self.model.fuse_memory(attended, spatial, pointers)

    def _distil(self, fused: Tensor, features: ImageFeatures, target: Tensor) -> Tensor:
        """How far memory is from saying what the true mask would say as a prompt.

        The decoder knows mask prompts from the phase before, so memory learns its
        language from them. The logarithm keeps a bad start from drowning the rest.
        """
        with torch.no_grad():
            said = self.model.sam_prompt_encoder.mask_downscaling(mask_logits(target))
            said = said.float()
            teacher = features.embedding.float() + said
        error = (fused.float() - teacher).pow(2).mean((1, 2, 3))
        spread = said.var(dim=(2, 3)).mean(1)
        return torch.log1p(error / (spread + 1e-3)).mean()

    def _shown(self, decoded: Decoded, moved: MovedMasks | None) -> Tensor:
        """(N, 1, 4h, 4w) logits of the mask that a user sees and corrects."""
        every = torch.ones_like(decoded.object_score[:, 0], dtype=torch.bool)
        logits = chosen_mask(decoded, multimask=every).detach().float()
        return (logits if moved is None else moved.mixed(logits)).clamp(-CLAMP, CLAMP)

    def _correct(
        self,
        logits: Tensor,
        fused: Tensor,
        features: ImageFeatures,
        target: Tensor,
        generator: torch.Generator,
    ) -> tuple[Supervised, Decoded]:
        coords, labels = correction_clicks(logits, target[:, None], generator)
        prompts = ModelPrompts(coords, labels, logits)
        return self._supervise(fused, features, target, prompts)

    def _copied(self, batch: ClipBatch, frame: int) -> Tensor:
        """Mean IoU on `frame` of the first mask, copied."""
        target = batch.target(frame)
        copied = (batch.target(0) - 0.5)[:, None]
        return mean_of(mask_iou(copied, target)[:, 0], target.amax((1, 2)) > 0.5)
