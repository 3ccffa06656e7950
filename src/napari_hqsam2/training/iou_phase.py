"""Last phase: the head that predicts IoUs learns alone, so no mask changes.

Which of several masks is shown, and in which window an object is looked at, hangs on
these predictions; so does how sure the model says it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.training.clips import ClipBatch
from napari_hqsam2.training.decoding import decode_all
from napari_hqsam2.training.hq_phase import Answer, HqPhase, fine_target
from napari_hqsam2.training.image_phase import StepResult, mean_of
from napari_hqsam2.training.losses import quality_loss, ranking_loss
from napari_hqsam2.training.window_views import WindowBatch, WindowBatches

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor, nn

    from napari_hqsam2.training.clips import ClipBatches, MixedBatches
    from napari_hqsam2.training.data import ImageBatch
    from napari_hqsam2.training.sources import Mixture

WINDOWS_EVERY = 3
"""One batch in so many is of windows."""
RANKING = 0.5
"""Weight of the ranking loss beside the squared error."""


def shown_logits(answer: Answer) -> Tensor:
    """(N, 4, 4h, 4w) logits of the single mask and three candidates, HQ mask added."""
    return answer.decoded.parts.masks.float() + answer.hq_mask


def true_ious(logits: Tensor, masks: Tensor, outside: Tensor | None = None) -> Tensor:
    """IoUs of masks with the truth.

    Parameters
    ----------
    logits : Tensor
        (N, M, h, w).
    masks : Tensor
        (N, S, S) uint8 truth.
    outside : Tensor, optional
        (N,) share of each object that lies outside of what is seen; below 1.

    Returns
    -------
    Tensor
        (N, M). Two empty masks have IoU 1.
    """
    fine = fine_target(masks)
    guess = F.interpolate(logits, size=fine.shape[-2:], mode="bilinear") > 0
    truth = (fine > 0.5)[:, None]
    overlap = (guess & truth).sum((2, 3)).float()
    area = truth.sum((2, 3)).float()
    if outside is not None:
        area = area / (1 - outside[:, None])
    union = guess.sum((2, 3)) + area - overlap
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def reaches_sides(logits: Tensor, sides: Tensor) -> Tensor:
    """(N, M) whether masks of (N, M, h, w) logits reach any of some sides.

    `sides` is (N, 4) bool: top, left, bottom and right.
    """
    mask = logits > 0
    lines = (mask[..., 0, :], mask[..., 0], mask[..., -1, :], mask[..., -1])
    reached = torch.stack([line.any(dim=-1) for line in lines], dim=-1)
    return (reached & sides[:, None]).any(dim=-1)


class TurnsWithWindows(Dataset["Any"]):
    """One batch in `WINDOWS_EVERY` of windows, the others of clips and stills.

    Parameters
    ----------
    others : ClipBatches or MixedBatches
        Indexed by the step.
    windows : WindowBatches
        The same.
    """

    def __init__(
        self, others: ClipBatches | MixedBatches, windows: WindowBatches
    ) -> None:
        self.others = others
        self.windows = windows
        self.together = others.together * WINDOWS_EVERY // (WINDOWS_EVERY - 1)

    def __getitem__(self, index: int) -> Any:
        """Draw batch number `index`."""
        number, turn = divmod(index, WINDOWS_EVERY)
        if turn == WINDOWS_EVERY - 1:
            return self.windows[number]
        return self.others[index - number]


@dataclass(frozen=True)
class Judged:
    """Predicted and true IoUs of N answers."""

    scores: Tensor
    """(N, 4)."""
    ious: Tensor
    """(N, 4)."""
    present: Tensor
    """(N,) bool: objects in view."""
    owner: Tensor
    """(N,) index of the object, below N; its answers compete."""
    competes: Tensor
    """(N, 3) bool: candidates that may be chosen."""

    @property
    def result(self) -> StepResult:
        """Loss, and what to log."""
        guesses, ious = self.scores[:, 1:], self.ious[:, 1:]
        ranking = ranking_loss(guesses, ious, self.owner, self.competes)
        best = guesses.argmax(dim=1, keepdim=True)
        shown = {
            "error": (self.scores.detach() - self.ious).abs().mean(dim=1),
            "chosen": ious.gather(1, best)[:, 0],
            "possible": ious.amax(dim=1),
        }
        figures = {k: mean_of(value, self.present) for k, value in shown.items()}
        quality = quality_loss(self.scores, self.ious, self.present)
        return StepResult(quality + RANKING * ranking, figures)


class IouPhase(HqPhase):
    """Trains the head that predicts IoUs, on stills, clips and windows of use."""

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters of the head."""
        named = self.model.named_parameters()
        return [(name, p) for name, p in named if "iou_prediction_head" in name]

    def batches(  # type: ignore[override]
        self, mixture: Mixture, seed: int
    ) -> TurnsWithWindows:
        """Batches of this phase."""
        others = super().batches(mixture, seed)
        windows = WindowBatches(mixture, self.config.window_shapes, seed)
        return TurnsWithWindows(others, windows)

    def step(
        self,
        batch: ClipBatch | ImageBatch | WindowBatch,
        index: int,
        generator: torch.Generator,
    ) -> StepResult:
        """Loss of all answers of one batch."""
        if isinstance(batch, WindowBatch):
            kind, results = "window_", [self._in_windows(batch).result]
        elif isinstance(batch, ClipBatch):
            answers = self.followed(batch, generator)
            kind, results = "tracked_", [self._judged(each).result for each in answers]
        else:
            answers = self.prompted(batch, generator)
            kind, results = "", [self._judged(each).result for each in answers]
        figures = {
            kind + name: torch.stack([each.figures[name] for each in results]).nanmean()
            for name in results[0].figures
        }
        loss = torch.stack([each.loss for each in results]).mean()
        return StepResult(loss, figures)

    def _judged(self, answer: Answer) -> Judged:
        present = answer.present
        ious = true_ious(shown_logits(answer), answer.masks)
        competes = (present & answer.multimask)[:, None].expand(-1, 3)
        owner = torch.arange(len(present), device=present.device)
        scores = answer.decoded.parts.iou_scores.float()
        return Judged(scores, ious, present, owner, competes)

    def _in_windows(self, batch: WindowBatch) -> Judged:
        """What is said to one click on each object, in all of its windows."""
        model = self.model
        labels = torch.ones_like(batch.clicks_norm[..., 0], dtype=torch.int32)
        every = torch.ones_like(batch.owner, dtype=torch.bool)
        with torch.no_grad():
            images = batch.images.contiguous(memory_format=torch.channels_last)
            features = model.encode_image(images)[batch.crop]
            fused = model.without_memory(features.embedding)
        prompts = ModelPrompts(batch.clicks_norm, labels)
        decoded = decode_all(model, fused, features.high_res, prompts)
        answer = self._answer(decoded, every, batch.masks)
        logits = shown_logits(answer)
        ious = true_ious(logits, batch.masks, batch.outside)
        is_cut = reaches_sides(logits[:, 1:], batch.inner_sides)
        scores = decoded.parts.iou_scores.float()
        return Judged(scores, ious, every, batch.owner, ~is_cut)
