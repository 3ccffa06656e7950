"""From low-resolution logits to one label image."""

from __future__ import annotations

import psutil
import torch
import torch.nn.functional as F
from tests.benchmarks import reference, scenes
from tests.benchmarks.measurement import Case, Measurement, Plan, Settings
from tests.benchmarks.timing import Side, compare, side

from napari_hqsam2.ops.compose_labels import compose_labels, positive_boxes

COPIES = 4.5
"""Copies of N x H x W float32 that the largest baseline holds at once."""


def blob_logits(count: int, side_length: int, device: torch.device) -> torch.Tensor:
    """(N, h, w) logits of N round objects on a grid that touch their neighbours."""
    points = torch.from_numpy(scenes.grid_points(count, side_length)).to(device)
    radius = side_length / count**0.5 * 0.6
    axis = torch.arange(side_length, device=device)
    far = torch.hypot(
        axis[None, None, :] - points[:, 0, None, None],
        axis[None, :, None] - points[:, 1, None, None],
    )
    logits: torch.Tensor = radius - far
    return logits


def compose(settings: Settings) -> list[Measurement]:
    """All objects of a frame into labels, against what makes N x H x W first."""
    plan = settings.plan(
        full=Plan(2048, 300, repeats=5),
        quick=Plan(512, 100, repeats=3),
        smoke=Plan(128, 5, repeats=1),
    )
    logits = blob_logits(plan.objects, 256 if plan.size > 128 else 32, settings.device)
    ids = torch.arange(1, plan.objects + 1, dtype=torch.int32, device=settings.device)
    ours = _ours(logits, ids, plan.size)
    title = f"compose {plan.objects} objects at {plan.size} px"
    needed = int(COPIES * plan.objects * plan.size**2 * 4)
    if needed > _free_bytes(settings.device):
        note = f"the baselines need {needed / 1e9:.0f} GB"
        baselines: list[Side[None] | None] = [None]
    else:
        note = ""
        baselines = _baselines(logits, plan.size)
    return [
        compare(
            title,
            baseline,
            ours,
            repeats=plan.repeats,
            device=settings.device,
            note=note or _difference(baseline, ours),
        )
        for baseline in baselines
    ]


def _difference(baseline: Side[None] | None, ours: Side[None]) -> str:
    if baseline is None:
        return ""
    expected, got = (one.run(None) for one in (baseline, ours))
    assert isinstance(expected, torch.Tensor)
    count = int((expected != got).sum())
    return "labels identical" if count == 0 else f"{count} pixels differ"


def _ours(logits: torch.Tensor, ids: torch.Tensor, size: int) -> Side[None]:
    nothing = torch.zeros(len(ids), 4, dtype=torch.int32, device=logits.device)

    def call() -> torch.Tensor:
        labels = torch.zeros(size, size, dtype=torch.int32, device=logits.device)
        boxes = positive_boxes(logits)
        compose_labels(logits, ids, boxes, labels, old_boxes=nothing)
        return labels

    return side("compose_labels", call)


def _baselines(logits: torch.Tensor, size: int) -> list[Side[None] | None]:
    """The obvious way, and sam2's with `non_overlap_masks` where it is installed."""

    def enlarged() -> torch.Tensor:
        return F.interpolate(logits[:, None], size=(size, size), mode="bilinear")

    def by_argmax() -> torch.Tensor:
        best, row = enlarged()[:, 0].max(dim=0)
        return torch.where(best > 0, row + 1, 0).int()

    def without_overlap() -> torch.Tensor:
        masks = reference.without_overlap(enlarged())[:, 0] > 0
        labels = torch.zeros(size, size, dtype=torch.int32, device=logits.device)
        for number, mask in enumerate(masks, 1):
            labels[mask] = number
        return labels

    sides: list[Side[None] | None] = [side("upsample + argmax", by_argmax)]
    if reference.is_installed():
        sides.append(side(f"{reference.name()}, non_overlap_masks", without_overlap))
    return sides


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


CASES = (Case("compose", "compose 300 objects at 2048 px", compose),)
