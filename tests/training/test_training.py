"""The loop: learns, stops in time, and goes on exactly where it was."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from napari_hqsam2.training.clip_phase import Remembered
from napari_hqsam2.training.config import (
    PHASES,
    Budget,
    Optimisation,
    PhaseConfig,
    PhaseName,
    RunConfig,
)
from napari_hqsam2.training.data import BatchShape, ImageBatches
from napari_hqsam2.training.image_phase import StepResult
from napari_hqsam2.training.run import make_phase
from napari_hqsam2.training.sources import Mixture, load_sources
from napari_hqsam2.training.trainer import Trainer, ema_decay, learning_rate

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2

SHAPE = BatchShape(64, 2, 3)
CPU = torch.device("cpu")


def trainer_of(
    model: HqSam2, run: RunConfig, name: PhaseName = "image", steps: int = 4
) -> Trainer:
    optimisation = Optimisation(learning_rate=2e-3, warmup=2)
    config = PhaseConfig(
        name,
        Budget(steps=steps),
        (SHAPE,),
        optimisation,
        single_round_steps=1,
        still_shapes=(SHAPE,) if name == "iou" else (),
        window_shapes=(SHAPE,),
        moved_masks=0.75,
    )
    mixture = Mixture(load_sources(run.data, "train"))
    torch.manual_seed(0)
    return Trainer(make_phase(model, config), run, mixture)


def test_batches_depend_on_seed_and_index_alone(run: RunConfig) -> None:
    mixture = Mixture(load_sources(run.data, "train"))
    first, again = (ImageBatches(mixture, [SHAPE], 5) for _ in range(2))
    images = first[3].to(CPU).images
    torch.testing.assert_close(images, again[3].to(CPU).images, rtol=0, atol=0)
    assert not torch.equal(images, first[4].to(CPU).images)


def test_prompts_lie_on_their_objects(run: RunConfig) -> None:
    mixture = Mixture(load_sources(run.data, "train"))
    batch = ImageBatches(mixture, [SHAPE], 1)[0].to(CPU)
    columns, rows = (batch.clicks_norm[:, 0] * SHAPE.size).long().unbind(1)
    assert batch.masks[torch.arange(len(rows)), rows, columns].all()


def test_loss_falls_on_one_scene(micro: HqSam2, run: RunConfig) -> None:
    trainer = trainer_of(micro, run, steps=30)
    batch = trainer.phase.batches(trainer.mixture, 0)[0]
    losses = []
    for _ in range(30):
        losses.append(trainer._step(batch)["loss"])
        trainer.step_number = 0  # one round, constant generator
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", PHASES)
def test_resuming_equals_not_stopping(
    name: PhaseName, micro: HqSam2, run: RunConfig
) -> None:
    start = {k: v.clone() for k, v in micro.state_dict().items()}
    whole = trainer_of(micro, replace(run, out=run.out / "whole"), name)
    whole.train()
    micro.load_state_dict(start)
    first = trainer_of(micro, replace(run, out=run.out / "parts"), name)
    first.train(stop_at=2)
    micro.load_state_dict(start)
    second = trainer_of(micro, replace(run, out=run.out / "parts"), name)
    assert second.resume()
    assert second.step_number == 2
    second.train()
    expected, found = load_file(whole.weights), load_file(second.weights)
    changed = [k for k in start if not torch.equal(start[k], expected[k])]
    assert changed
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)


def test_hq_phase_leaves_everything_else_alone(micro: HqSam2, run: RunConfig) -> None:
    start = {k: v.clone() for k, v in micro.state_dict().items()}
    trainer_of(micro, run, "hq", steps=2).train()
    changed = {k for k, v in micro.state_dict().items() if not torch.equal(v, start[k])}
    assert changed
    assert all("hf_" in key or "embedding_maskfeature" in key for key in changed)


def test_log_has_a_row_per_interval(micro: HqSam2, run: RunConfig) -> None:
    trainer = trainer_of(micro, run, steps=3)
    trainer.train()
    lines = (trainer.folder / "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert {"loss", "lr", "norm"} <= rows[0].keys()


def test_learning_rate_warms_up_and_decays_to_the_end_of_the_budget() -> None:
    settings = Optimisation(learning_rate=1.0, warmup=10, final=0.01)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(settings, 50, 0.5) == pytest.approx(0.5)
    assert learning_rate(settings, 100, 1.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(steps=10), 0.5),
        (Budget(minutes=4.0), 0.75),
        (Budget(steps=10, minutes=4.0), 0.75),
        (Budget(minutes=1.0), 1.0),
    ],
)
def test_budget_is_used_up_by_whichever_bound_comes_first(
    budget: Budget, expected: float
) -> None:
    assert budget.progress(step=5, minutes=3.0) == expected


def test_budget_needs_a_bound() -> None:
    with pytest.raises(ValueError, match="steps or of minutes"):
        Budget()


def test_average_forgets_its_start() -> None:
    settings = Optimisation(ema=0.999)
    assert ema_decay(settings, 0) == pytest.approx(0.1)
    assert ema_decay(settings, 10**6) == 0.999


def test_clips_are_mixed_with_stills(micro: HqSam2, run: RunConfig) -> None:
    config = PhaseConfig(
        "clip", Budget(steps=3), (SHAPE,), still_shapes=(BatchShape(64, 1, 2),)
    )
    mixture = Mixture(load_sources(run.data, "train"))
    batches = make_phase(micro, config).batches(mixture, 0)
    kinds = [type(batches[index].to(CPU)).__name__ for index in range(6)]
    assert kinds == ["ClipBatch", "ImageBatch"] * 3


def test_mixed_batches_come_in_all_shapes(micro: HqSam2, run: RunConfig) -> None:
    shapes = (BatchShape(64, 2, 3), BatchShape(128, 1, 2))
    config = PhaseConfig(
        "clip", Budget(steps=3), shapes, still_shapes=shapes, lengths=(2,)
    )
    mixture = Mixture(load_sources(run.data, "train"))
    batches = make_phase(micro, config).batches(mixture, 0)
    sizes = [batches[index].packed.size for index in range(4)]
    assert sizes == [64, 64, 128, 128]


def test_hq_head_learns_from_tracked_frames(micro: HqSam2, run: RunConfig) -> None:
    config = PhaseConfig("hq", Budget(steps=8), (SHAPE,), Optimisation(warmup=1))
    mixture = Mixture(load_sources(run.data, "train"))
    trainer = Trainer(make_phase(micro, config), run, mixture)
    batch = trainer.phase.batches(mixture, 0)[0]
    losses = []
    for _ in range(8):
        figures = trainer._step(batch)
        losses.append(figures["loss"])
    assert "tracked_add" in figures
    assert losses[-1] < losses[0]


def test_a_clip_without_objects_in_view_teaches_the_hq_head_nothing(
    micro: HqSam2, run: RunConfig
) -> None:
    config = PhaseConfig("hq", Budget(steps=1), (SHAPE,))
    mixture = Mixture(load_sources(run.data, "train"))
    trainer = Trainer(make_phase(micro, config), run, mixture)
    batch = trainer.phase.batches(mixture, 0)[0].to(CPU)
    batch.masks[:, 1:] = 0
    assert trainer._step(SimpleNamespace(to=lambda _: batch))["norm"] == 0


def test_a_step_without_a_finite_gradient_changes_nothing(
    micro: HqSam2, run: RunConfig
) -> None:
    trainer = trainer_of(micro, run)
    batch = trainer.phase.batches(trainer.mixture, 0)[0]
    assert trainer._step(batch)["skipped"] == 0
    before = {k: v.clone() for k, v in micro.state_dict().items()}
    step = trainer.phase.step

    def overflow(*arguments: Any) -> StepResult:
        result = step(*arguments)
        return StepResult(result.loss * float("inf"), result.figures)

    trainer.phase.step = overflow  # type: ignore[method-assign]
    assert trainer._step(batch)["skipped"] == 1
    for name, value in micro.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)
    trainer.phase.step = step  # type: ignore[method-assign]
    assert trainer._step(batch)["skipped"] == 0
    assert any(not torch.equal(v, before[k]) for k, v in micro.state_dict().items())


class Waits(TorchDispatchMode):
    """Counts operators for which the program would wait for a GPU."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        flags = args[1] if name.startswith("index") else ()
        chosen = isinstance(flags, list | tuple) and any(
            isinstance(each, torch.Tensor) and each.dtype == torch.bool
            for each in flags
        )
        self.count += chosen or name in ("_local_scalar_dense", "nonzero")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", PHASES)
def test_a_step_does_not_wait_for_its_device(
    name: PhaseName, micro: HqSam2, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(micro, run, name)
    batch = trainer.phase.batches(trainer.mixture, 0)[0]
    trainer._step(batch)
    draw = torch.rand

    def rand(*size: Any, **options: Any) -> Any:
        # single numbers come from the processor and may be read at once
        return 0.3 if size == ((),) else draw(*size, **options)

    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: 1)
    with Waits() as waits:
        trainer._step(batch)
    assert waits.count == 0


def test_a_frozen_encoder_keeps_its_weights(micro: HqSam2, run: RunConfig) -> None:
    start = {k: v.clone() for k, v in micro.state_dict().items()}
    frozen = Optimisation(learning_rate=1e-3, trunk_scale=0.0, warmup=1)
    config = PhaseConfig("clip", Budget(steps=2), (SHAPE,), frozen)
    mixture = Mixture(load_sources(run.data, "train"))
    Trainer(make_phase(micro, config), run, mixture).train()
    changed = {k for k, v in micro.state_dict().items() if not torch.equal(v, start[k])}
    assert any(key.startswith("memory_attention") for key in changed)
    assert not any(key.startswith("image_encoder") for key in changed)


def test_a_corrected_frame_is_remembered_as_a_prompted_one() -> None:
    frames = [torch.full((1, 4, 2, 2), float(t)) for t in range(6)]
    pointers = [torch.full((1, 8), float(t)) for t in range(6)]
    remembered = Remembered(frames, pointers, conditioning=[0, 3])
    spatial, said = remembered.read(6, num_memories=4, length=8)
    seen = [(memory.slot, float(memory.features[0, 0, 0, 0])) for memory in spatial]
    assert seen == [(0, 0.0), (0, 3.0), (2, 4.0), (3, 5.0)]
    assert [float(each.pointer[0, 0]) for each in said] == [0, 3, 5, 4, 2, 1]


def test_correction_clicks_on_clips_are_learnt(micro: HqSam2, run: RunConfig) -> None:
    config = PhaseConfig("clip", Budget(steps=1), (SHAPE,), lengths=(3,))
    mixture = Mixture(load_sources(run.data, "train"))
    phase = make_phase(micro, config)
    batch = phase.batches(mixture, 0)[0].to(CPU)
    names = set()
    for seed in range(12):
        names |= phase.step(
            batch, 0, torch.Generator().manual_seed(seed)
        ).figures.keys()
    assert {"corrected", "tracked_1", "tracked_2"} <= names


def test_iou_phase_leaves_everything_else_alone(micro: HqSam2, run: RunConfig) -> None:
    start = {k: v.clone() for k, v in micro.state_dict().items()}
    trainer_of(micro, run, "iou", steps=2).train()
    changed = {k for k, v in micro.state_dict().items() if not torch.equal(v, start[k])}
    assert changed
    assert all("iou_prediction_head" in key for key in changed)


def test_predicted_ious_come_near_the_true_ones(micro: HqSam2, run: RunConfig) -> None:
    config = PhaseConfig(
        "iou",
        Budget(steps=1),
        (SHAPE,),
        Optimisation(learning_rate=5e-3, warmup=1),
        still_shapes=(SHAPE,),
        window_shapes=(SHAPE,),
        lengths=(2,),
    )
    mixture = Mixture(load_sources(run.data, "train"))
    trainer = Trainer(make_phase(micro, config), run, mixture)
    batches = trainer.phase.batches(mixture, 0)
    for index, name in enumerate(("tracked_error", "error", "window_error")):
        errors = []
        for _ in range(12):
            trainer.step_number = 0  # the same generator
            errors.append(trainer._step(batches[index])[name])
        assert errors[-1] < 0.8 * errors[0]
