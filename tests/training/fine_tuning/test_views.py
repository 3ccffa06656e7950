"""Decks of crops: which crop a step gets, and what is kept of it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.training.crops import CropSettings
from napari_hqsam2.training.data import BatchShape
from napari_hqsam2.training.fine_tuning.views import (
    FEATURE_BYTES,
    USES,
    VIEWS,
    DeckPlan,
    Kept,
    ViewBatches,
)
from napari_hqsam2.training.sources import Frame, Stills

SETTINGS = CropSettings((0.8, 1.5), model_size=64, keeps_look=True)


def stills(side: int) -> Stills:
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[4 : 4 + side, 6 : 6 + side] = 3
    labels[40 : 40 + side, 30 : 30 + side] = 9
    return Stills("squares", (Frame(labels > 0, labels),))


@given(views=st.integers(2, 9), uses=st.integers(2, 5), seed=st.integers(0, 99))
def test_every_crop_of_a_deck_is_used_equally_often(
    views: int, uses: int, seed: int
) -> None:
    plan = DeckPlan(views, uses)
    for deck in range(3):
        draws = range(deck * views * uses, (deck + 1) * views * uses)
        counts = Counter(plan.number(draw, seed) for draw in draws)
        assert counts == dict.fromkeys(range(deck * views, (deck + 1) * views), uses)


def test_without_a_deck_every_crop_is_new() -> None:
    assert [DeckPlan().number(draw, 0) for draw in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("channels", "size", "expected"),
    [(192, 512, (VIEWS, USES)), (256, 1024, (VIEWS, USES)), (256, 8192, (1, 1))],
)
def test_a_deck_fits_into_memory(
    channels: int, size: int, expected: tuple[int, int]
) -> None:
    model = SimpleNamespace(no_mem_embed=torch.zeros(1, 1, channels))
    plan = DeckPlan.for_features(model, size)  # type: ignore[arg-type]
    assert (plan.views, plan.uses) == expected
    side = size // 16
    tensors = channels * side**2 * 4 * (1 + 16 / 8 + 4 / 4)
    assert not plan.keeps or plan.views * tensors <= FEATURE_BYTES


def test_only_one_deck_is_kept() -> None:
    made: list[int] = []
    kept: Kept[int] = Kept(DeckPlan(2, 2))
    for number in (0, 1, 0, 2, 0):
        kept.get(number, lambda number=number: made.append(number) or number)
    assert made == [0, 1, 2, 0]
    assert kept.items.keys() == {0}


def test_batches_depend_on_seed_and_index_alone() -> None:
    shape = BatchShape(64, 2, 3)
    first, again = (
        ViewBatches(stills(14), shape, DeckPlan(4, 2), 7, SETTINGS) for _ in range(2)
    )
    wanted = [first[index] for index in range(5)][4]
    found = again[4]
    assert found.numbers == wanted.numbers
    for name in ("images", "masks", "clicks_norm", "boxes_norm"):
        torch.testing.assert_close(
            getattr(found.batch, name), getattr(wanted.batch, name), rtol=0, atol=0
        )
    columns, rows = (found.batch.clicks_norm[:, 0] * 64).long().unbind(1)
    assert found.batch.masks[torch.arange(6), rows, columns].all()


def test_objects_that_are_too_small_are_refused() -> None:
    batches = ViewBatches(stills(3), BatchShape(64, 1, 1), DeckPlan(), 0, SETTINGS)
    with pytest.raises(
        TrainingError, match="no object covers 48 pixels of the 64 x 64"
    ):
        batches[0]
