"""Each operation against the obvious torch code, which its result is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label
from tests.benchmarks.cases_compose import blob_logits
from tests.benchmarks.measurement import Case, Measurement, Plan, Settings
from tests.benchmarks.timing import compare, side

from napari_hqsam2.modeling.chunked_attention import ROWS, attend_in_chunks
from napari_hqsam2.ops.connected_components import connected_components
from napari_hqsam2.ops.prepare_mask import prepare_mask
from napari_hqsam2.ops.rotate import rotate_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

MEMORIES = 7
"""Spatial memories that a frame reads."""
HEAD = 256
"""D, channels of an attention head of the official models."""
MEMORY = 64
"""Cm, channels of a memory."""
SPREADS = (1, 20)
"""Standard deviations of attention scores: shares of one size, and far from that."""


def ops(settings: Settings) -> list[Measurement]:
    """Every operation of `napari_hqsam2.ops` but the composition of labels."""
    plan = settings.plan(
        full=Plan(1024, 32, repeats=7),
        quick=Plan(512, 8, repeats=5),
        smoke=Plan(128, 2, repeats=1),
    )
    rows = [
        *_components(plan, settings.device),
        _prepare(plan, settings.device),
        _rotate(plan, settings.device),
    ]
    if settings.device.type == "cpu":
        rows += [row for spread in SPREADS for row in _attend(plan, spread)]
    return rows


def _compared(
    title: str,
    baseline: tuple[str, Callable[[], Tensor]],
    ours: tuple[str, Callable[[], Tensor]],
    plan: Plan,
    device: torch.device,
) -> Measurement:
    off = (baseline[1]().double() - ours[1]().double()).abs().max().item()
    return compare(
        title,
        side(*baseline),
        side(*ours),
        repeats=plan.repeats,
        device=device,
        note="results identical" if off == 0 else f"results within {off:.1g}",
    )


def _components(plan: Plan, device: torch.device) -> list[Measurement]:
    """Background components of objects with specks and holes, as holes are found."""
    length = plan.size // 4
    logits = blob_logits(plan.objects, length, device)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(logits.shape, generator=generator).to(device)
    masks = (logits > 0) ^ (noise > 0.99)
    title = f"connected components with areas, {plan.objects} masks of {length} px"
    ours = ("connected_components", lambda: connected_components(masks)[1])
    baselines = (
        ("spread by max_pool2d", lambda: _areas_by_max_pool(masks)),
        ("scikit-image, one mask at a time", lambda: _areas_by_scikit_image(masks)),
    )
    return [_compared(title, one, ours, plan, device) for one in baselines]


def _areas_by_scikit_image(masks: Tensor) -> Tensor:
    """(N, H, W) areas, on the host and back."""
    areas = []
    for mask in masks.cpu().numpy():
        labels = label(mask, connectivity=2)
        sizes = np.bincount(labels.ravel()).astype(np.int32)
        sizes[0] = 0
        areas.append(torch.from_numpy(sizes[labels]))
    return torch.stack(areas).to(masks.device)


def _areas_by_max_pool(masks: Tensor) -> Tensor:
    """(N, H, W) areas; the largest index in a component spreads over it by steps."""
    count, pixels = len(masks), masks[0].numel()
    steps = torch.arange(1, pixels + 1, device=masks.device, dtype=torch.float32)
    labels = steps.view(1, *masks.shape[1:]) * masks
    while True:
        grown = F.max_pool2d(labels, kernel_size=3, stride=1, padding=1) * masks
        if torch.equal(grown, labels):
            break
        labels = grown
    flat = labels.flatten(1).long()
    areas = torch.zeros(count, pixels + 1, dtype=torch.int32, device=masks.device)
    areas.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.int32))
    areas[:, 0] = 0
    return areas.gather(1, flat).view(masks.shape)


def _prepare(plan: Plan, device: torch.device) -> Measurement:
    logits = blob_logits(plan.objects, plan.size // 4, device)[:, None]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def obvious() -> Tensor:
        large: Tensor = F.interpolate(logits, scale_factor=4, mode="bilinear")
        return large.sigmoid().mul(20).sub(10).to(dtype)

    def ours() -> Tensor:
        return prepare_mask(logits, binarize=False, dtype=dtype)

    title = f"mask for the memory encoder, {plan.objects} objects, {plan.size} px"
    return _compared(
        title,
        ("interpolate, sigmoid, scale, cast", obvious),
        ("prepare_mask", ours),
        plan,
        device,
    )


def _rotate(plan: Plan, device: torch.device) -> Measurement:
    """Keys of all spatial memories, which share the angles of one grid."""
    cells, count = (plan.size // 16) ** 2, max(plan.objects // 8, 1)
    generator = torch.Generator().manual_seed(0)
    shape = (count, 1, MEMORIES * cells, HEAD)
    x = torch.randn(shape, generator=generator).to(device)
    angle = torch.rand(cells, HEAD // 2, generator=generator).to(device) * 100
    cos, sin = angle.cos(), angle.sin()
    turn = torch.polar(torch.ones_like(angle), angle)

    def obvious() -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turn.repeat(MEMORIES, 1)).flatten(3)

    title = f"rotary position, {count} x {MEMORIES} x {cells} tokens, {HEAD} channels"
    return _compared(
        title,
        ("complex numbers, as sam2", obvious),
        ("rotate_pairs", lambda: rotate_pairs(x, cos, sin)),
        plan,
        device,
    )


def _attend(plan: Plan, spread: int) -> list[Measurement]:
    """One object looks at its memories in one layer; a GPU takes torch's attention."""
    cells = (plan.size // 16) ** 2
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    queries, keys = drawn(1, cells, HEAD) * spread, drawn(1, MEMORIES * cells, HEAD)
    values, project = drawn(1, MEMORIES * cells, MEMORY), drawn(HEAD, MEMORY)

    def obvious() -> Tensor:
        wide = F.linear(values, project)
        return F.scaled_dot_product_attention(queries, keys, wide)

    def ours() -> Tensor:
        return F.linear(attend_in_chunks(queries, keys, values), project)

    title = f"memory attention, {cells} x {MEMORIES * cells} tokens, scores of {spread}"
    baselines = (
        ("project, then torch's attention, as sam2", obvious),
        ("softmax of whole rows", lambda: _by_rows(queries, keys, values) @ project.T),
    )
    name = "attend_in_chunks, then project"
    device = queries.device
    return [_compared(title, one, (name, ours), plan, device) for one in baselines]


def _by_rows(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Mix values for some queries at a time."""
    rows = (queries * HEAD**-0.5).split(ROWS, dim=1)
    return torch.cat([(row @ keys.mT).softmax(dim=-1) @ values for row in rows], dim=1)


CASES = (Case("ops", "each operation against the obvious torch code", ops),)
