"""Objects through a stack: exact, local, and many with the large HQ model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from tests.benchmarks import reference, scenes
from tests.benchmarks.measurement import Case, Measurement, Plan, Settings
from tests.benchmarks.models import BUILT
from tests.benchmarks.timing import compare
from tests.benchmarks.tracking import Run, our_predictor, our_session, ours, theirs

if TYPE_CHECKING:
    from tests.benchmarks.models import Trunk

NANO_SIZE = 512
"""Side of the input that the nano model was trained at."""


def one_object(settings: Settings) -> list[Measurement]:
    """The smallest job."""
    plan = settings.plan(
        full=Plan(1024, 1, 8, repeats=3),
        quick=Plan(256, 1, 8, repeats=3),
        smoke=Plan(128, 1, 2, repeats=1),
    )
    trunks: tuple[Trunk, ...] = (
        ("tiny", "large") if settings.device.type == "cuda" else ("tiny",)
    )
    stack = scenes.discs(plan.objects, plan.frames, plan.size)
    return [
        _compared(Run(trunk, plan.size, stack, settings.device), plan)
        for trunk in trunks
    ]


def many_objects(settings: Settings) -> list[Measurement]:
    """Where sam2 goes through the objects one by one."""
    plan = settings.plan(
        full=Plan(1024, 32, 8, repeats=1),
        quick=Plan(256, 32, 4, repeats=1),
        smoke=Plan(128, 3, 2, repeats=1),
    )
    stack = scenes.discs(plan.objects, plan.frames, plan.size)
    return [_compared(Run("tiny", plan.size, stack, settings.device), plan)]


def local(settings: Settings) -> list[Measurement]:
    """`tracking="local"`: speed against sam2, masks against our own exact tracking.

    Masks mean something with the packaged nano weights only. With formula weights, and
    a mask head that is fitted to bright pixels, the speed alone is measured.
    """
    plan = settings.plan(
        full=Plan(1024, 32, 8, repeats=1),
        quick=Plan(512, 8, 4, repeats=1),
        smoke=Plan(128, 2, 2, repeats=1),
    )
    small = scenes.discs(plan.objects, plan.frames, plan.size, plan.size // 32)
    run = Run("bright", plan.size, small, settings.device, "mask", tracking="local")
    rows = [_compared(run, plan)]
    size = min(plan.size, NANO_SIZE)
    stacks = [
        *scenes.packaged(plan.objects, plan.frames),
        scenes.crowded(plan.objects, plan.frames, size),
        scenes.discs(plan.objects, plan.frames, size, size // 32),
    ]
    for stack in stacks:
        run = Run("nano", size, stack, settings.device, "box", tracking="local")
        rows.append(_compared(run, plan, note=_agreement(run)))
    return rows


def hq_large(settings: Settings) -> list[Measurement]:
    """A crowd with the best model; sam2 has no HQ and tracks with the plain one."""
    plan = settings.plan(
        full=Plan(1024, 100, 8, repeats=1),
        quick=Plan(512, 100, 4, repeats=1),
        smoke=Plan(128, 2, 2, repeats=1),
    )
    stack = scenes.discs(plan.objects, plan.frames, plan.size)
    run = Run("large", plan.size, stack, settings.device, hq=True)
    return [_compared(run, plan, note="sam2 without HQ")]


def _compared(run: Run, plan: Plan, note: str = "") -> Measurement:
    notes = [note] if note else []
    if not reference.is_installed():
        notes.append(reference.MISSING)
    count = len(run.scene.boxes)
    title = (
        f"track {count} object{'s' * (count > 1)} x {plan.frames} frames, "
        f"{'HQ-' * run.hq}{BUILT[run.trunk]}, {run.size} px, {run.tracking}"
    )
    if run.tracking == "local":
        title += f", {run.scene.name}"
    measured = compare(
        title,
        theirs(replace(run, hq=False)),
        ours(run),
        repeats=plan.repeats,
        device=run.device,
    )
    tracked = max(len(run.scene.frames) - 1, 1)
    notes.append(f"{measured.ours.value / tracked:.3g} s for each tracked frame")
    return replace(measured, note="; ".join(notes))


def _agreement(run: Run) -> str:
    """IoU of local and exact masks over all objects and tracked frames.

    Where the truth is known, also of both to the truth, which tells who is right.
    """
    local = _masks(run)
    exact = _masks(replace(run, tracking="exact"))
    overlaps = _iou(local, exact)
    worst = overlaps.quantile(0.05).item()
    said = f"mask IoU to exact: mean {overlaps.mean():.3f}, 5th percentile {worst:.3f}"
    if run.scene.truth is None:
        return said
    numbers = torch.arange(1, len(run.scene.boxes) + 1)[:, None, None]
    labels = torch.from_numpy(run.scene.truth[1:])
    truth = torch.cat([frame == numbers for frame in labels])
    ours, full = (_iou(masks, truth).mean().item() for masks in (local, exact))
    return f"{said}; IoU to the truth: local {ours:.3f}, exact {full:.3f}"


def _masks(run: Run) -> torch.Tensor:
    """(M, H, W) masks of all objects, one tracked frame after the other."""
    predictor = our_predictor(run)
    results = predictor.propagate_in_video(our_session(predictor, run))
    return torch.cat([masks[:, 0].cpu() > 0 for _, _, masks in results][1:])


def _iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(M,) overlap of (M, H, W) masks; two empty ones are equal."""
    both = (one & other).flatten(1).sum(1)
    either = (one | other).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


CASES = (
    Case("track-one", "track 1 object x 8 frames, tiny, 1024 px", one_object),
    Case("track-many", "track 32 objects x 8 frames, tiny, exact", many_objects),
    Case("local", 'the same with tracking="local", small objects', local),
    Case("hq-large", "100 objects, HQ-large", hq_large, devices=("cuda",)),
)
