"""Put a phase together: model, data, trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_hqsam2.build import build_sam2, resolve_device
from napari_hqsam2.training.clip_phase import ClipPhase
from napari_hqsam2.training.data import BatchShape, ImageBatches
from napari_hqsam2.training.evaluate import Protocol, evaluate_images
from napari_hqsam2.training.generated import Generated
from napari_hqsam2.training.hq_phase import HqPhase
from napari_hqsam2.training.image_phase import ImagePhase
from napari_hqsam2.training.initialisation import (
    SpatialStart,
    initialise,
    initialise_memory,
)
from napari_hqsam2.training.iou_phase import IouPhase
from napari_hqsam2.training.refine_phase import RefinePhase
from napari_hqsam2.training.sources import Mixture, Stills, load_sources
from napari_hqsam2.training.trainer import Trainer, load_weights_into

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.config import PhaseConfig, RunConfig
    from napari_hqsam2.training.sources import Frame
    from napari_hqsam2.training.trainer import Phase, Watcher

VALIDATION_IMAGES = 20


def build_model(run: RunConfig) -> HqSam2:
    """Fresh model with the start values of training."""
    torch.manual_seed(run.seed)
    model = build_sam2(
        run.model, device="cpu", mode="train", hydra_overrides_extra=run.overrides
    )
    initialise(model, SpatialStart())
    return model


def make_phase(model: HqSam2, config: PhaseConfig) -> Phase:
    """Phase of a name."""
    classes = {
        "image": ImagePhase,
        "clip": ClipPhase,
        "hq": HqPhase,
        "refine": RefinePhase,
        "iou": IouPhase,
    }
    phase = classes[config.name](model, config)
    phase.auxiliary.to(model.device)
    return phase


@torch.no_grad()
def prepare_memory(model: HqSam2, mixture: Mixture, seed: int) -> None:
    """Start values of memory attention, fitted to the embeddings of a few crops."""
    batch = ImageBatches(mixture, [BatchShape(256, 4, 1)], seed)[0].to(model.device)
    embedding = model.encode_image(batch.images).embedding
    initialise_memory(model, float(embedding.std(dim=1).mean()))


def validation_frames(data: Sequence[Path], source: str = "dsb2018") -> list[Frame]:
    """Some validation images of one set, evenly spread."""
    for found in load_sources(data, "validation"):
        if found.name == source and isinstance(found, Stills):
            step = max(1, len(found.frames) // VALIDATION_IMAGES)
            return list(found.frames[::step])
    return []


def train_phase(
    run: RunConfig,
    config: PhaseConfig,
    start: Path | None,
    watch: Watcher | None = None,
) -> Path | None:
    """Train one phase, from its checkpoint if it has one.

    Parameters
    ----------
    run : RunConfig
        Folders, seed, device.
    config : PhaseConfig
        The phase.
    start : Path or None
        Weights of the phase before; None starts from scratch.
    watch : callable, optional
        Sees every step, and may stop the training.

    Returns
    -------
    Path or None
        File of the averaged weights; None if the phase was stopped before its end.
    """
    model = build_model(run)
    if start is not None:
        load_weights_into(model, start)
    model.to(resolve_device(run.device))
    sources = load_sources(run.data, "train")
    if run.generates:
        sources += [
            Generated("synthetic", films=False),
            Generated("synthetic_tyx", films=True),
        ]
    mixture = Mixture(sources, config.shares)
    if config.name == "clip" and not run.keeps_memory:
        prepare_memory(model, mixture, run.seed)
    frames = validation_frames(run.data)

    def validate(model: HqSam2) -> dict[str, float]:
        protocol = Protocol(objects=8, clicks=3, hq="off")
        return evaluate_images(model, frames, protocol).means()

    trainer = Trainer(make_phase(model, config), run, mixture, validate)
    trainer.resume()
    trainer.train(watch=watch)
    return trainer.weights if trainer.progress >= 1 else None
