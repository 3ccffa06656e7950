"""How many objects fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.predictors import batch_size
from napari_hqsam2.predictors.batch_size import (
    LARGEST,
    SHARE,
    BatchSizes,
    bytes_per_object,
    free_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor


def test_free_memory_limits_the_batch(
    monkeypatch: pytest.MonkeyPatch, predictor: SAM2VideoPredictor
) -> None:
    one = bytes_per_object(predictor.model, cells=1024, tokens=7000)
    sizes = BatchSizes(predictor.model)
    for count, expected in ((0.5, 1), (1.5, 1), (3.5, 3), (1e6, LARGEST["cpu"])):
        free = int(one * count / SHARE["cpu"])
        monkeypatch.setattr(batch_size, "free_bytes", lambda _, free=free: free)
        assert sizes.most(cells=1024, tokens=7000) == expected


def test_the_limit_of_the_user_holds(predictor: SAM2VideoPredictor) -> None:
    assert BatchSizes(predictor.model, 3).most(cells=16, tokens=100) == 3
    assert BatchSizes(predictor.model, 100).most(cells=16, tokens=100) == 100


@pytest.mark.parametrize("most", [1, 3, 8, 50])
def test_what_does_not_fit_is_done_in_halves(
    predictor: SAM2VideoPredictor, most: int
) -> None:
    sizes = BatchSizes(predictor.model, 64)
    asked: list[int] = []

    def work(batch: Sequence[int]) -> list[int]:
        asked.append(len(batch))
        if len(batch) > most:
            msg = "CUDA out of memory"
            raise torch.OutOfMemoryError(msg)
        return [10 * item for item in batch]

    assert sizes.run(work, range(20)) == list(range(0, 200, 10))
    assert sum(size for size in asked if size <= most) == 20
    # who asks next stays below what has failed
    assert sizes.most(cells=16, tokens=100) <= (most if most < 20 else 64)


def test_one_object_that_does_not_fit_is_an_error(
    predictor: SAM2VideoPredictor,
) -> None:
    def work(batch: Sequence[int]) -> list[int]:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        BatchSizes(predictor.model, 64).run(work, range(5))


def test_more_to_read_takes_more(predictor: SAM2VideoPredictor) -> None:
    model = predictor.model
    small, large = (bytes_per_object(model, 64, n) for n in (1000, 50_000))
    assert small < large
    assert bytes_per_object(model, 4096, 1000) > bytes_per_object(model, 64, 1000)


def test_free_memory_of_this_machine() -> None:
    assert 2**24 < free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.needs_cuda
def test_free_memory_of_a_gpu_counts_what_torch_holds_idle() -> None:
    device = torch.device("cuda")
    before = free_bytes(device)
    block = torch.empty(2**26, device=device)
    assert free_bytes(device) <= before - 2**26
    del block
    assert abs(free_bytes(device) - before) < 2**24
