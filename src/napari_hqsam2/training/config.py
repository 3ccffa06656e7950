"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from napari_hqsam2.training.crops import CropSettings
from napari_hqsam2.training.data import BatchShape
from napari_hqsam2.training.losses import LossWeights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PhaseName = Literal["image", "clip", "hq", "refine", "iou", "fine_tuning"]
PHASES: tuple[PhaseName, ...] = ("image", "clip", "hq", "refine", "iou")
"""Phases of the built-in model, in order."""


@dataclass(frozen=True)
class Budget:
    """How long a phase lasts; whichever bound is reached first ends it."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError(
                "A phase needs a number of steps or of minutes, got neither."
            )

    def progress(self, step: int, minutes: float) -> float:
        """Share of the budget that is used up, 0 to 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps)
        if self.minutes is not None:
            shares.append(minutes / self.minutes)
        return min(1.0, max(shares))


@dataclass(frozen=True)
class Optimisation:
    """AdamW with warm-up and cosine decay."""

    learning_rate: float = 1e-3
    trunk_scale: float = 1.0
    """Learning rate of the image encoder, relative to the rest; 0 freezes it."""
    decoder_scale: float = 1.0
    """Learning rate of prompt encoder and mask decoder, relative to the rest."""
    warmup: int = 100
    final: float = 0.01
    """Last learning rate, relative to the peak."""
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema: float = 0.999
    """Decay of the averaged weights; ramps up over the first steps."""


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training."""

    name: PhaseName
    budget: Budget
    shapes: tuple[BatchShape, ...]
    optimisation: Optimisation = field(default_factory=Optimisation)
    loss: LossWeights = field(default_factory=LossWeights)
    shares: Mapping[str, float] = field(default_factory=dict)
    """Relative share of each source of images."""
    box_share: float = 0.5
    """Share of objects that start with a box instead of a click."""
    single_round_steps: int = 500
    """Steps before correction clicks begin."""
    still_shapes: tuple[BatchShape, ...] = ()
    """Shapes of the batches of stills that a phase of clips mixes in; none without."""
    still_every: int = 2
    """One batch in so many is of stills where they are mixed in."""
    window_shapes: tuple[BatchShape, ...] = ()
    """Shapes of the batches of windows of a phase that has them; `crops` are frames."""
    lengths: tuple[int, ...] = (3, 5, 4)
    """Frames of a clip, taken in turn."""
    moved_masks: float = 0.0
    """Share of batches of clips in which masks move with the image and are prompts."""
    zoom: tuple[float, float] = CropSettings.zoom
    """Range of magnification relative to use, drawn log-uniformly."""


@dataclass(frozen=True)
class RunConfig:
    """What all phases share."""

    data: tuple[Path, ...]
    """Folders with the labelled images and generated scenes."""
    out: Path
    """Folder for logs, checkpoints and weights."""
    generates: bool = False
    """Whether scenes are drawn anew for every crop, beside those in `data`."""
    keeps_memory: bool = False
    """Whether the weights that clips start from can track already."""
    seed: int = 0
    model: str = "sam2.1_hq_hiera_nano"
    overrides: tuple[str, ...] = ()
    """Hydra overrides of the model's configuration."""
    device: str = "auto"
    bf16: bool = True
    """Compute in bfloat16 where a type matters little; weights stay float32."""
    workers: int = 1
    save_minutes: float = 5.0
    log_every: int = 20
    validate_minutes: float = 7.0


DEFAULT_SHARES = {
    "dsb2018": 4.5,
    "fib25_zyx": 1.5,
    "usiigaci_tyx": 1.0,
    "axondeepseg": 0.75,
    "omnipose": 0.75,
    "scratch_assay": 0.5,
    "trpl_bacteria": 0.5,
    "stardist3d_tyx": 0.25,
    "cells3d_tyx": 0.5,
    "synthetic": 2.5,
    "synthetic_tyx": 1.0,
}

CLIP_SHARES = {
    "dsb2018": 2.0,
    "fib25_zyx": 3.0,
    "usiigaci_tyx": 2.0,
    "cells3d_tyx": 0.75,
    "synthetic_tyx": 3.0,
}


MOVED_MASKS = 0.75
"""As the built-in model follows; in the other batches it learns to do without."""

WINDOW_ZOOM = (0.65, 6.0)
"""Of crops whose scores are learnt: windows show objects magnified."""

REFINED_ZOOM = (0.65, 3.5)
"""Of crops whose outlines are learnt, for the same reason."""

LARGE_SHARES = {"synthetic": 4.0, "synthetic_tyx": 1.5}
"""On a GPU the same real images would be seen too often."""


def large_phase(name: PhaseName, budget: Budget) -> PhaseConfig:
    """The same recipe for a GPU: many more crops a step, longer clips, all trained."""
    config = default_phase(name, budget)
    large, small = BatchShape(512, 32, 6), BatchShape(256, 64, 8)
    if name == "image":
        optimisation = replace(config.optimisation, learning_rate=6e-4, warmup=100)
        return replace(
            config,
            shapes=(large, small, large),
            optimisation=optimisation,
            shares=DEFAULT_SHARES | LARGE_SHARES,
        )
    if name == "clip":
        return replace(
            config,
            shapes=(BatchShape(512, 12, 4), BatchShape(256, 32, 4)),
            still_shapes=(large, small, large),
            still_every=2,
            lengths=(4, 8, 6),
            shares=DEFAULT_SHARES | CLIP_SHARES | {"synthetic_tyx": 4.0},
            optimisation=Optimisation(
                6e-4, trunk_scale=0.5, decoder_scale=0.5, warmup=100
            ),
        )
    if name == "iou":
        stills = (BatchShape(512, 32, 8),)
        return replace(
            config,
            shapes=(BatchShape(512, 8, 4),),
            still_shapes=stills,
            window_shapes=(BatchShape(512, 4, 8),),
        )
    if name == "refine":
        return replace(
            config,
            shapes=(BatchShape(512, 16, 12),),
        )
    return replace(
        config,
        shapes=(BatchShape(512, 8, 4), BatchShape(256, 24, 4)),
        still_shapes=(large, small),
        lengths=(4, 6),
    )


def default_phase(name: PhaseName, budget: Budget) -> PhaseConfig:
    """Settings that trained the built-in model on one core."""
    small, large = BatchShape(256, 6, 8), BatchShape(512, 2, 6)
    if name == "image":
        return PhaseConfig(
            name,
            budget,
            (BatchShape(512, 2, 8), small, BatchShape(512, 2, 8)),
            Optimisation(learning_rate=2.5e-4, warmup=20),
            shares=DEFAULT_SHARES,
            single_round_steps=1,
        )
    if name == "clip":
        return PhaseConfig(
            name,
            budget,
            (BatchShape(512, 1, 3), BatchShape(256, 3, 4)),
            Optimisation(
                4e-4, trunk_scale=0.0, decoder_scale=0.35, warmup=30, ema=0.995
            ),
            single_round_steps=0,
            lengths=(4, 5, 3, 6),
            still_shapes=(large,),
            still_every=3,
            shares=DEFAULT_SHARES | CLIP_SHARES,
            moved_masks=MOVED_MASKS,
        )
    if name == "iou":
        return PhaseConfig(
            name,
            budget,
            (BatchShape(512, 1, 4),),
            Optimisation(learning_rate=2e-4, warmup=20, weight_decay=0.01, ema=0.99),
            still_shapes=(BatchShape(512, 2, 8),),
            window_shapes=(BatchShape(512, 1, 8),),
            shares=DEFAULT_SHARES | CLIP_SHARES,
            lengths=(5, 8, 6),
            moved_masks=MOVED_MASKS,
            zoom=WINDOW_ZOOM,
        )
    if name == "refine":
        return PhaseConfig(
            name,
            budget,
            (BatchShape(512, 2, 12),),
            Optimisation(learning_rate=2e-3, warmup=50, weight_decay=1e-3, ema=0.998),
            shares=DEFAULT_SHARES,
            zoom=REFINED_ZOOM,
        )
    return PhaseConfig(
        name,
        budget,
        (BatchShape(512, 1, 4), BatchShape(256, 3, 4)),
        Optimisation(learning_rate=1e-3, warmup=30, weight_decay=0.0),
        still_shapes=(BatchShape(512, 2, 8), BatchShape(256, 8, 6)),
        shares=DEFAULT_SHARES | CLIP_SHARES,
        lengths=(3, 4),
        moved_masks=MOVED_MASKS,
    )
