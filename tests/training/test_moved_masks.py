"""Masks that a clip moves along, and errors that are made in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.training import moved_masks
from napari_hqsam2.training.clip_phase import ClipPhase
from napari_hqsam2.training.config import Budget, PhaseConfig, default_phase
from napari_hqsam2.training.data import BatchShape
from napari_hqsam2.training.losses import mask_iou
from napari_hqsam2.training.moved_masks import ClipMotion, MovedMasks
from napari_hqsam2.training.run import make_phase
from napari_hqsam2.training.sources import Mixture, load_sources

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.training.config import RunConfig


def discs(*centres: tuple[int, int]) -> torch.Tensor:
    """(N, 1, 64, 64) logits of discs at (x, y)."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside = [(x - u) ** 2 + (y - v) ** 2 <= 81 for u, v in centres]
    return torch.where(torch.stack(inside)[:, None], 10.0, -10.0)


def still(count: int, share: float = 0.5) -> ClipMotion:
    return ClipMotion(torch.zeros(count, 1, 2, 64, 64), share)


def test_each_object_moves_as_its_own_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved_masks, "ASTRAY", 0.0)
    motion = torch.zeros(2, 1, 2, 64, 64)
    motion[0, :, 0], motion[1, :, 1] = 5, -7
    before = discs((20, 30), (40, 30))
    found = ClipMotion(motion, 0.5).moved(before, 1, torch.Generator())
    assert torch.equal(found.logits > 0, discs((15, 30), (40, 37)) > 0)


def test_motion_is_seen_in_float32(micro: HqSam2, run: RunConfig) -> None:
    config = PhaseConfig("clip", Budget(steps=1), (BatchShape(64, 1, 2),))
    batches = make_phase(micro, config).batches(
        Mixture(load_sources(run.data, "train")), 0
    )
    batch = batches[0].to(torch.device("cpu"))
    expected = ClipMotion.of(batch, torch.Generator())
    with torch.autocast("cpu", torch.bfloat16):
        found = ClipMotion.of(batch, torch.Generator())
    torch.testing.assert_close(found.motion, expected.motion, rtol=0, atol=0)


def test_masks_that_go_astray_are_still_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved_masks, "ASTRAY", 1.0)
    before = discs((30, 30)).expand(50, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    found = still(50).moved(before, 1, generator)
    overlap = mask_iou(found.logits, (before[:, 0] > 0).float())[:, 0]
    assert 0.6 < float(overlap.mean()) < 0.95
    assert float(overlap.std()) > 0.03
    area = (found.logits > 0).sum((1, 2, 3)).float()
    assert float(area.min()) < 250 < float(area.max())


def test_what_had_no_mask_is_found_without_one() -> None:
    before = torch.cat((discs((20, 20)), torch.full((1, 1, 64, 64), -20.0)))
    masks = still(2, share=0.7).moved(before, 1, torch.Generator().manual_seed(0))
    assert masks.known.tolist() == [True, False]
    found = torch.full_like(before, 30.0)
    mixed = masks.mixed(found)
    torch.testing.assert_close(mixed[0], 0.7 * masks.logits[0] + 3)
    assert torch.equal(mixed[1], found[1])


def test_an_unknown_mask_is_no_prompt(micro: HqSam2) -> None:
    phase = make_phase(micro, default_phase("clip", Budget(steps=1)))
    assert isinstance(phase, ClipPhase)
    micro.eval()
    features = micro.encode_image(torch.randn(1, 3, 64, 64))[torch.zeros(2).long()]
    fused = micro.without_memory(features.embedding)
    logits = torch.full((2, 1, 16, 16), -10.0)
    logits[0, :, 4:9, 4:9] = 10
    target = torch.zeros(2, 16, 16)
    plain = phase._followed(fused, features, target, None).parts.masks
    asked = phase._followed(fused, features, target, MovedMasks(logits, 0.5))
    torch.testing.assert_close(asked.parts.masks[1], plain[1])
    assert not torch.allclose(asked.parts.masks[0], plain[0], atol=1e-3)


@pytest.mark.parametrize(("share", "kind"), [(1.0, "moved_1"), (0.0, "tracked_1")])
def test_clips_are_followed_with_moved_masks_as_often_as_asked(
    share: float, kind: str, micro: HqSam2, run: RunConfig
) -> None:
    shape = BatchShape(64, 1, 2)
    config = PhaseConfig("clip", Budget(steps=1), (shape,), moved_masks=share)
    mixture = Mixture(load_sources(run.data, "train"))
    phase = make_phase(micro, config)
    batch = phase.batches(mixture, 0)[0].to(torch.device("cpu"))
    result = phase.step(batch, 0, torch.Generator().manual_seed(0))
    assert {"tracked_1", "moved_1"} & result.figures.keys() == {kind}
