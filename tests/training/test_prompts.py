"""Properties of simulated clicks and boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_hqsam2.training.prompts import (
    correction_clicks,
    jitter_box,
    random_point,
)

MASKS = hnp.arrays(bool, (9, 7)).filter(np.any)


@settings(max_examples=25, deadline=None)
@given(mask=MASKS, seed=st.integers(0, 99))
def test_random_clicks_lie_on_the_object(mask: np.ndarray, seed: int) -> None:
    assert mask[random_point(mask, np.random.default_rng(seed))]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), noise=st.floats(0, 1))
def test_jittered_boxes_stay_in_order_and_inside(seed: int, noise: float) -> None:
    box = np.array([3.0, 10.0, 20.0, 12.0])
    x0, y0, x1, y1 = jitter_box(box, np.random.default_rng(seed), 32, noise=noise)
    assert 0 <= x0 <= x1 <= 31
    assert 0 <= y0 <= y1 <= 31


@pytest.mark.parametrize("positive", [True, False])
def test_batched_corrections_hit_the_error(positive: bool) -> None:
    target = torch.zeros(32, 1, 16, 16)
    target[:, :, 2:8, 2:8] = 1
    logits = torch.where(target > 0, 5.0, -5.0)
    region = (slice(2, 8), slice(2, 5)) if positive else (slice(10, 15), slice(9, 15))
    logits[:, :, region[0], region[1]] *= -1
    generator = torch.Generator().manual_seed(0)
    coords, labels = correction_clicks(logits, target, generator)
    assert labels.tolist() == [[int(positive)]] * 32
    columns, rows = (coords[:, 0] * 16).long().unbind(1)
    assert set(rows.tolist()) <= set(range(region[0].start, region[0].stop))
    assert set(columns.tolist()) <= set(range(region[1].start, region[1].stop))


def test_batched_corrections_of_perfect_masks_lie_on_the_object() -> None:
    target = torch.zeros(4, 1, 16, 16)
    target[:, :, 3:9, 4:10] = 1
    coords, labels = correction_clicks(target * 10 - 5, target)
    columns, rows = (coords[:, 0] * 16).long().unbind(1)
    assert labels.all()
    assert target[torch.arange(4), 0, rows, columns].all()
