"""The phase that teaches a model to draw masks anew from pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.training.config import Budget, PhaseConfig, default_phase
from napari_hqsam2.training.data import BatchShape
from napari_hqsam2.training.refine_phase import RefinePhase
from napari_hqsam2.training.run import make_phase
from napari_hqsam2.training.sources import Mixture, load_sources
from napari_hqsam2.training.trainer import Trainer

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.config import RunConfig

SHAPE = BatchShape(64, 2, 3)


def phase_of(micro: HqSam2) -> RefinePhase:
    phase = make_phase(micro, PhaseConfig("refine", Budget(steps=1), (SHAPE,)))
    assert isinstance(phase, RefinePhase)
    return phase


def test_nothing_but_the_refiner_learns(micro: HqSam2, run: RunConfig) -> None:
    start = {k: v.clone() for k, v in micro.state_dict().items()}
    phase = phase_of(micro)
    Trainer(phase, run, Mixture(load_sources(run.data, "train"))).train()
    changed = {k for k, v in micro.state_dict().items() if not torch.equal(v, start[k])}
    assert changed
    assert all(key.startswith("mask_refiner.") for key in changed)


def test_it_learns(micro: HqSam2, run: RunConfig) -> None:
    """One batch again and again: its masks get better, and its loss falls."""
    phase = phase_of(micro)
    mixture = Mixture(load_sources(run.data, "train"))
    batch = phase.batches(mixture, 0)[0].to(torch.device("cpu"))
    optimiser = torch.optim.AdamW((p for _, p in phase.parameters()), lr=5e-3)
    results = []
    for _ in range(25):
        result = phase.step(batch, 0, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
        results.append(result)
    assert results[-1].loss < 0.7 * results[0].loss
    figures = results[-1].figures
    assert figures["refined"] > figures["before"]


def test_a_model_without_a_refiner_cannot_learn_it(micro: HqSam2) -> None:
    micro.mask_refiner = None
    with pytest.raises(TypeError, match="mask refiner"):
        make_phase(micro, default_phase("refine", Budget(steps=1)))
