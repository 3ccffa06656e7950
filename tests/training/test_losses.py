"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from napari_hqsam2.training.losses import (
    LossWeights,
    balanced_bce,
    dice,
    mask_iou,
    neighbourhood,
    supervise,
)


def square(side: int = 16, low: int = 4, high: int = 8) -> torch.Tensor:
    target = torch.zeros(1, side, side)
    target[0, low:high, low:high] = 1
    return target


def test_neighbourhood_is_the_box_grown_by_half_its_side() -> None:
    near = neighbourhood(square())
    expected = torch.zeros(1, 16, 16)
    expected[0, 2:10, 2:10] = 1
    torch.testing.assert_close(near, expected)


def test_neighbourhood_of_nothing_is_nothing() -> None:
    assert not neighbourhood(torch.zeros(2, 8, 8)).any()


def test_balanced_bce_of_undecided_logits_is_log_two() -> None:
    loss = balanced_bce(torch.zeros(1, 3, 16, 16), square())
    torch.testing.assert_close(loss, torch.full((1, 3), math.log(2)))


@pytest.mark.parametrize(
    ("wrong", "share"),
    [((5, 5), 0.5 / 16), ((2, 2), 0.35 / 48), ((15, 15), 0.15 / 192)],
    ids=["object", "surroundings", "far"],
)
def test_balanced_bce_weighs_cells_by_where_they_are(
    wrong: tuple[int, int], share: float
) -> None:
    target = square()
    logits = ((target * 2 - 1) * 30)[:, None]
    logits[0, 0, wrong[0], wrong[1]] *= -1
    assert balanced_bce(logits, target).item() == pytest.approx(30 * share, rel=1e-4)


def test_dice_of_half_overlap() -> None:
    target = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    logits = torch.tensor([[[[-40.0, 40.0, 40.0, -40.0]]]])
    # overlap 1, totals 2 and 2, one smoothing unit above and below
    assert dice(logits, target).item() == pytest.approx(1 - 3 / 5)


def test_mask_iou_counts_cells() -> None:
    target = torch.tensor([[[1.0, 0.6, 0.4, 0.0]]])
    logits = torch.tensor([[[[1.0, -1.0, 1.0, -1.0]], [[-1.0] * 4]]])
    torch.testing.assert_close(mask_iou(logits, target), torch.tensor([[1 / 3, 0.0]]))
    assert mask_iou(logits[:, 1:], torch.zeros(1, 1, 4)).item() == 1


def test_supervise_charges_only_the_best_candidate() -> None:
    target = square()
    good = ((target * 2 - 1) * 8)[:, None]
    masks = torch.cat((good, -good, good, -good), dim=1).requires_grad_()
    scores = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    weights = LossWeights(others=0, quality=0, presence=0)
    result = supervise(masks, scores, torch.zeros(1, 1), target, weights)
    result.loss.backward()
    assert masks.grad is not None
    charged = masks.grad.abs().sum((0, 2, 3))
    assert charged[1] == 0
    assert charged[3] == 0
    assert charged[2] > 0
    assert result.chosen_iou.item() == 1


def test_absent_objects_teach_presence_alone() -> None:
    masks = torch.randn(2, 4, 16, 16, requires_grad=True)
    score = torch.zeros(2, 1, requires_grad=True)
    target = torch.cat((square(), torch.zeros(1, 16, 16)))
    supervise(masks, torch.rand(2, 4), score, target, LossWeights()).loss.backward()
    assert masks.grad is not None
    assert score.grad is not None
    assert masks.grad[1].abs().sum() == 0
    assert score.grad[0] < 0 < score.grad[1]
