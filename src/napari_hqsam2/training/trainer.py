"""The training loop: schedule, averaging, checkpoints and logs of one phase."""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_hqsam2.files import atomic_path
from napari_hqsam2.training.checkpoint import (
    Progress,
    load_checkpoint,
    save_checkpoint,
)
from napari_hqsam2.training.steps import Steps
from napari_hqsam2.weights.state_dict import is_optional

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.config import Optimisation, PhaseConfig, RunConfig
    from napari_hqsam2.training.image_phase import StepResult
    from napari_hqsam2.training.sources import Mixture
    from napari_hqsam2.training.steps import Batches

logger = logging.getLogger(__name__)

NO_DECAY_DIMS = 1
WEIGHTS_FILE = "weights.safetensors"


class Phase(Protocol):
    """What a phase adds to the loop."""

    model: HqSam2
    config: PhaseConfig

    @property
    def auxiliary(self) -> nn.Module:
        """Parts that help training and are thrown away."""

    def prepare(self) -> None:
        """Put the model into the mode of this phase."""

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters that this phase trains."""

    def batches(self, mixture: Mixture, seed: int) -> Batches:
        """Indexable batches."""

    def step(self, batch: Any, index: int, generator: torch.Generator) -> StepResult:
        """Loss of one batch."""


class Watcher(Protocol):
    """Sees every step, and may end the training."""

    def __call__(self, step: int, share: float, loss: Tensor) -> bool:
        """Take the steps done, the share of the budget and the loss; True stops.

        The loss may still be on its way: to read it is to wait for it.
        """


def learning_rate(settings: Optimisation, step: int, progress: float) -> float:
    """Learning rate at a step: linear warm-up, then cosine decay over the budget.

    Parameters
    ----------
    settings : Optimisation
        Peak, warm-up and final share.
    step : int
        Steps done.
    progress : float
        Share of the budget that is used up, 0 to 1.
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return settings.learning_rate * warm * max(cosine, settings.final)


def ema_decay(settings: Optimisation, step: int) -> float:
    """Decay of the averaged weights, short at first so that the start is forgotten."""
    return min(settings.ema, (1 + step) / (10 + step))


def make_optimiser(
    parameters: list[tuple[str, nn.Parameter]], settings: Optimisation
) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW in groups by part and weight decay, and names in the order of its state."""
    scales = {
        "image_encoder": settings.trunk_scale,
        "sam_prompt_encoder": settings.decoder_scale,
        "sam_mask_decoder": settings.decoder_scale,
    }
    groups: dict[tuple[float, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in parameters:
        scale = scales.get(name.partition(".")[0], 1.0)
        decays = parameter.ndim > NO_DECAY_DIMS and "embed" not in name
        groups.setdefault((scale, decays), []).append((name, parameter))
    optimiser = torch.optim.AdamW(
        [
            {
                "params": [parameter for _, parameter in members],
                "weight_decay": settings.weight_decay if decays else 0.0,
                "scale": scale,
            }
            for (scale, decays), members in groups.items()
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )
    return optimiser, [name for members in groups.values() for name, _ in members]


@dataclass
class Meter:
    """Running means of logged figures since they were last read."""

    def __post_init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {}

    def add(self, figures: dict[str, Tensor]) -> None:
        """Add scalars, which may still be on their way."""
        for name, value in figures.items():
            self.seen.setdefault(name, []).append(value)

    def read(self) -> dict[str, float]:
        """Means, and start anew; nan is left out."""
        means = {k: float(torch.stack(v).nanmean()) for k, v in self.seen.items()}
        self.seen = {}
        return {name: mean for name, mean in means.items() if not math.isnan(mean)}


class Trainer:
    """Runs one phase to the end of its budget.

    Parameters
    ----------
    phase : Phase
        What to train and how.
    run : RunConfig
        Folders, seed, device.
    mixture : Mixture
        Sources of images.
    validate : callable, optional
        Called with the model under averaged weights; returns figures to log.
    folder : Path, optional
        For log, checkpoint and weights; else one in `run.out` with the phase's name.

    Attributes
    ----------
    metadata : dict of str to str
        Written into the file of the averaged weights.
    """

    def __init__(
        self,
        phase: Phase,
        run: RunConfig,
        mixture: Mixture,
        validate: Callable[[HqSam2], dict[str, float]] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.phase = phase
        self.run = run
        self.mixture = mixture
        self.validate = validate
        self.folder = folder or run.out / phase.config.name
        self.folder.mkdir(parents=True, exist_ok=True)
        phase.model.to(memory_format=torch.channels_last)
        self.parameters = phase.parameters()
        trained = {id(parameter) for _, parameter in self.parameters}
        for parameter in phase.model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.optimiser, self.names = make_optimiser(
            self.parameters, phase.config.optimisation
        )
        self.saved = nn.ModuleDict({"model": phase.model, "auxiliary": phase.auxiliary})
        self.average = {name: p.detach().clone() for name, p in self.parameters}
        # keeps weights as they are where a gradient is not finite, without waiting
        self.guard = torch.amp.GradScaler(phase.model.device.type, init_scale=1.0)
        self.metadata: dict[str, str] = {}
        self.step_number = 0
        self.minutes = 0.0

    @property
    def checkpoint(self) -> Path:
        """Folder of the latest checkpoint."""
        return self.folder / "checkpoint"

    @property
    def weights(self) -> Path:
        """File of the averaged weights."""
        return self.folder / WEIGHTS_FILE

    def resume(self) -> bool:
        """Go on from the latest checkpoint; False if there is none."""
        if not self.checkpoint.is_dir():
            return False
        progress = load_checkpoint(
            self.checkpoint, self.saved, self.average, self.optimiser, self.names
        )
        self.step_number, self.minutes = progress.step, progress.minutes
        return True

    def save(self) -> None:
        """Write a checkpoint, then the averaged weights."""
        progress = Progress(self.phase.config.name, self.step_number, self.minutes)
        save_checkpoint(
            self.checkpoint,
            progress,
            self.saved,
            self.average,
            self.optimiser,
            self.names,
        )
        self.write_weights()

    def write_weights(self) -> None:
        """Write the averaged weights, whole or not at all."""
        state = {
            k: v.detach().clone() for k, v in self.phase.model.state_dict().items()
        }
        state |= {k: v for k, v in self.average.items() if k in state}
        contiguous = {k: v.cpu().contiguous() for k, v in state.items()}
        with atomic_path(self.weights) as temporary:
            temporary.write_bytes(save(contiguous, self.metadata or None))

    @property
    def progress(self) -> float:
        """Share of the budget that is used up."""
        return self.phase.config.budget.progress(self.step_number, self.minutes)

    def train(self, stop_at: int | None = None, watch: Watcher | None = None) -> None:
        """Train to the end of the budget, or to step `stop_at`, and save.

        Parameters
        ----------
        stop_at : int, optional
            Step to end after.
        watch : callable, optional
            Sees every step.
        """
        if self.progress >= 1:
            return
        data = self.phase.batches(self.mixture, self.run.seed)
        saved = validated = self.minutes
        meter, began, before = Meter(), time.monotonic(), self.minutes
        self.phase.prepare()
        pinned = self.phase.model.device.type == "cuda"
        for batch in Steps(data, self.step_number, self.run.workers, pinned=pinned):
            figures = self._step(batch)
            meter.add(figures)
            self.step_number += 1
            self.minutes = before + (time.monotonic() - began) / 60
            done = self.progress >= 1 or self.step_number == stop_at
            if watch is not None:
                done |= watch(self.step_number, self.progress, figures["loss"])
            if done or self.step_number % self.run.log_every == 0:
                self._log(meter.read())
            if done or self.minutes - saved >= self.run.save_minutes:
                self.save()
                saved = self.minutes
            if done or self.minutes - validated >= self.run.validate_minutes:
                self._validate()
                validated = self.minutes
            if done:
                return

    def _precision(self) -> AbstractContextManager[Any]:
        device = self.phase.model.device.type
        if not self.run.bf16:
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16)

    def _attention(self) -> AbstractContextManager[Any]:
        # on the CPU the fused kernel is slower than plain products, in bfloat16 alone
        if self.run.bf16 and self.phase.model.device.type == "cpu":
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()

    def _step(self, batch: Any) -> dict[str, Tensor]:
        settings = self.phase.config.optimisation
        rate = learning_rate(settings, self.step_number, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        generator = torch.Generator().manual_seed(
            self.run.seed * 10**7 + self.step_number
        )
        batch = batch.to(self.phase.model.device)
        with self._attention():
            with self._precision():
                result = self.phase.step(batch, self.step_number, generator)
            self.guard.scale(result.loss).backward()
        trained = [parameter for _, parameter in self.parameters]
        self.guard.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(trained, settings.clip_norm)
        self.guard.step(self.optimiser)
        self.guard.update(new_scale=1.0)
        self._average(ema_decay(settings, self.step_number))
        self.optimiser.zero_grad()
        return {
            "loss": result.loss.detach(),
            "norm": norm,
            "skipped": 1 - norm.isfinite().float(),
            "lr": torch.tensor(rate),
        } | result.figures

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        averages = [self.average[name] for name, _ in self.parameters]
        current: list[Tensor] = [parameter for _, parameter in self.parameters]
        torch._foreach_lerp_(averages, current, 1 - decay)

    def _log(self, figures: dict[str, float]) -> None:
        row = {"step": self.step_number, "minutes": round(self.minutes, 2)}
        row |= {name: round(value, 6) for name, value in figures.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        logger.info("%s", " ".join(f"{k} {v:g}" for k, v in row.items()))

    def _validate(self) -> None:
        if self.validate is None:
            return
        model = self.phase.model
        current = {name: p.detach().clone() for name, p in self.parameters}
        self.use_average()
        model.eval()
        with torch.inference_mode():
            figures = self.validate(model)
        self._set_weights(current)
        self.phase.prepare()
        self._log({f"validation_{name}": value for name, value in figures.items()})

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        self._set_weights(self.average)

    @torch.no_grad()
    def _set_weights(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters:
            parameter.copy_(values[name])


def load_weights_into(model: nn.Module, path: Path) -> None:
    """Load the averaged weights that a phase wrote; what is optional may be missing."""
    state = load_file(path)
    start = {key: v for key, v in model.state_dict().items() if is_optional(key)}
    model.load_state_dict(start | state)
