"""Predicted IoUs: what they are compared with, and the windows they are learnt in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.training.data import BatchShape
from napari_hqsam2.training.iou_phase import (
    TurnsWithWindows,
    reaches_sides,
    true_ious,
)
from napari_hqsam2.training.losses import quality_loss, ranking_loss
from napari_hqsam2.training.sources import Mixture, load_sources
from napari_hqsam2.training.window_views import WindowBatches

if TYPE_CHECKING:
    from napari_hqsam2.training.config import RunConfig

CPU = torch.device("cpu")


def test_true_ious_count_what_lies_outside_of_a_window() -> None:
    truth = torch.zeros(2, 32, 32, dtype=torch.uint8)
    truth[:, :16] = 1
    logits = torch.full((2, 4, 8, 8), -1.0)
    logits[:, 0, :4], logits[:, 1, :, :4], logits[:, 2] = 1, 1, 1
    inside = torch.tensor([1, 1 / 3, 1 / 2, 0])
    torch.testing.assert_close(true_ious(logits, truth), inside.expand(2, -1))
    found = true_ious(logits, truth, torch.tensor([0, 0.5]))
    cut = torch.tensor([1 / 2, 1 / 5, 1 / 3, 0])
    torch.testing.assert_close(found, torch.stack((inside, cut)))


def test_masks_are_cut_off_by_sides_inside_the_frame_alone() -> None:
    logits = torch.full((1, 4, 8, 8), -1.0)
    logits[0, 0, 0, 3], logits[0, 1, 3, 0], logits[0, 2, 7, 3] = 1, 1, 1
    logits[0, 3, 3, 7] = 1
    for side in range(4):
        sides = torch.arange(4)[None] == side
        assert reaches_sides(logits, sides).tolist() == sides.tolist()


def test_ranking_puts_the_best_mask_of_all_windows_first() -> None:
    ious = torch.tensor([[0.2, 0.3, 0.4], [0.9, 0.1, 0.5], [0.6, 0.7, 0.8]])
    owner = torch.tensor([0, 0, 2])
    competes = torch.ones(3, 3, dtype=torch.bool)
    competes[2, 2] = False
    scores = torch.full((3, 3), 0.5, requires_grad=True)
    optimiser = torch.optim.SGD([scores], lr=0.05)
    losses = []
    for _ in range(40):
        loss = ranking_loss(scores, ious, owner, competes)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # the mean over two objects of what the mean of their masks lacks
    assert losses[0] == pytest.approx(((0.9 - 2.4 / 6) + (0.7 - 0.65)) / 2)
    assert losses[-1] < 0.2 * losses[0]
    assert int(scores[:2].argmax()) == 3
    assert int(scores[2, :2].argmax()) == 1
    assert float(scores[2, 2].detach()) == 0.5


def test_nothing_to_choose_from_costs_nothing() -> None:
    scores = torch.rand(2, 3, requires_grad=True)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    loss = ranking_loss(scores, torch.rand(2, 3), torch.arange(2), nothing)
    loss.backward()
    assert float(loss.detach()) == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_scores_of_objects_out_of_view_are_not_judged() -> None:
    scores, ious = torch.tensor([[0.5] * 4, [0.9] * 4]), torch.zeros(2, 4)
    present = torch.tensor([True, False])
    assert float(quality_loss(scores, ious, present)) == 0.25
    assert float(quality_loss(scores, ious, ~present & present)) == 0


@pytest.mark.parametrize("size", [32, 64])
def test_views_show_objects_in_the_windows_of_a_click(
    size: int, run: RunConfig
) -> None:
    mixture = Mixture(load_sources(run.data, "train"))
    batches = WindowBatches(mixture, [BatchShape(size, 2, 3)], 5)
    batch, again = batches[1].to(CPU), batches[1].to(CPU)
    torch.testing.assert_close(batch.images, again.images, rtol=0, atol=0)
    assert not torch.equal(batches[0].to(CPU).images[0], batch.images[0])
    views = len(batch.crop)
    assert batch.masks.shape == (views, size, size)
    assert batch.images.shape[1:] == (3, size, size)
    assert int(batch.crop.max()) == len(batch.images) - 1
    # two frames with three objects each, in more than one window
    assert batch.owner.unique().tolist() == list(range(6))
    assert views > 6
    columns, rows = (batch.clicks_norm[:, 0] * size).long().unbind(1)
    assert batch.masks[torch.arange(views), rows, columns].all()
    area = batch.masks.float().mean((1, 2))
    is_whole = ~batch.inner_sides.any(dim=1)
    assert (batch.outside[is_whole] == 0).all()
    for owner in range(6):
        mine = batch.owner == owner
        closest = area[mine].argmax()
        assert batch.inner_sides[mine][closest].any()


def test_windows_take_turns_with_the_others(run: RunConfig) -> None:
    class Others:
        together = 4

        def __getitem__(self, index: int) -> int:
            return index

    mixture = Mixture(load_sources(run.data, "train"))
    windows = WindowBatches(mixture, [BatchShape(32, 1, 1)], 0)
    turns = TurnsWithWindows(Others(), windows)  # type: ignore[arg-type]
    found = [turns[index] for index in range(6)]
    assert [found[i] for i in (0, 1, 3, 4)] == [0, 1, 2, 3]
    assert [type(found[i]).__name__ for i in (2, 5)] == ["WindowDraft"] * 2
    assert turns.together == 6
