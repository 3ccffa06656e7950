"""Masks that are drawn anew from pixels: what is looked at, said and learnt."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_hqsam2.modeling.image_motion import LARGEST_LOGIT, to_picture
from napari_hqsam2.modeling.mask_refiner import (
    SIDE,
    TRUST,
    MaskRefiner,
    Said,
    cut,
    mask_of,
    paste,
    window_inputs,
    windows_around,
)
from napari_hqsam2.modeling.outputs import ModelPrompts

GRID, PICTURE = 64, 128


def discs(*places: tuple[float, float, float], side: int = GRID) -> torch.Tensor:
    """(N, 1, side, side) logits of discs (x, y, radius) in an image from -1 to 1."""
    at = (2 * torch.arange(side) + 1) / side - 1
    away = [torch.hypot(at - x, at[:, None] - y) - r for x, y, r in places]
    logits = -torch.stack(away)[:, None] * side
    return logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


@pytest.fixture
def random_refiner() -> MaskRefiner:
    """One that changes masks, as none does before it has learnt."""
    torch.manual_seed(0)
    refiner = MaskRefiner((8, 12, 16)).eval()
    torch.nn.init.normal_(refiner.out.weight, std=0.3)
    return refiner


def boxed(*corners: float) -> ModelPrompts:
    """Prompt one object with a box (x, y, x, y), 0 to 1."""
    return ModelPrompts(torch.tensor(corners).view(1, 2, 2), torch.tensor([[2, 3]]))


def off(count: int) -> ModelPrompts:
    """Prompt objects with a point in a corner that is not theirs."""
    return ModelPrompts(torch.zeros(count, 1, 2), torch.zeros(count, 1).int())


def said_of(prompts: ModelPrompts) -> Said:
    said = Said.of(prompts)
    assert said is not None
    return said


def clicked(*clicks: tuple[float, float, int]) -> ModelPrompts:
    """Prompt one object with points (x, y, label), 0 to 1."""
    values = torch.tensor(clicks)
    return ModelPrompts(values[None, :, :2], values[None, :, 2].int())


def test_before_it_has_learnt_masks_stay_as_they_are() -> None:
    masks = discs((0.2, -0.3, 0.3), (-0.5, 0.5, 0.15))
    picture = torch.randn(1, 1, PICTURE, PICTURE)
    found = MaskRefiner((8, 12, 16))(masks, picture, off(2))
    differs = (found > 0) != (masks > 0)
    assert float(differs.float().mean()) < 0.002


def test_a_window_holds_the_object_with_a_margin() -> None:
    windows = windows_around(discs((0.25, -0.5, 0.25)), said_of(off(1)))
    torch.testing.assert_close(
        windows, torch.tensor([[0.25, -0.5, 0.25 * 1.6 + 1 / 32]]), atol=0.03, rtol=0
    )


@pytest.mark.parametrize(
    ("prompts", "extent"),
    [
        (boxed(0.5, 0.25, 0.75, 0.5), (0.0, -0.5, 0.5, 0.0)),
        (clicked((0.5, 0.5, 1)), (-0.02, -0.02, 0.02, 0.02)),
        (
            clicked((0.5, 0.5, 1), (0.9, 0.9, 0), (0.75, 0.5, 1)),
            (-0.02, -0.02, 0.52, 0.02),
        ),
        (clicked((0.9, 0.9, 0)), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_a_window_holds_what_was_said(
    prompts: ModelPrompts, extent: tuple[float, float, float, float]
) -> None:
    nothing = torch.full((1, 1, GRID, GRID), -10.0)
    windows = windows_around(nothing, said_of(prompts))
    left, top, right, bottom = extent
    middle = torch.tensor([[(left + right) / 2, (top + bottom) / 2]])
    torch.testing.assert_close(windows[:, :2], middle)
    half = max(right - left, bottom - top) / 2
    assert float(windows[0, 2]) == pytest.approx(half * 1.6 + 1 / 32)


def test_objects_that_are_asked_for_at_once_have_boxes_of_their_own() -> None:
    """Training asks for boxes and clicks together, use for a box after other points."""
    labels = torch.tensor([[1, -1, -1], [2, 3, 1], [1, 2, 3]])
    points = torch.rand(3, 3, 2, generator=torch.Generator().manual_seed(0))
    boxes = said_of(ModelPrompts(points, labels)).boxes
    assert bool(boxes[0].isnan().all())
    torch.testing.assert_close(boxes[1], 2 * points[1, :2].flatten() - 1)
    torch.testing.assert_close(boxes[2], 2 * points[2, 1:].flatten() - 1)


def test_prompts_widen_the_window_of_a_mask() -> None:
    mask = discs((-0.5, -0.5, 0.2))
    alone = windows_around(mask, said_of(off(1)))
    wider = windows_around(mask, said_of(clicked((0.8, 0.8, 1))))
    low, high = wider[0, :2] - wider[0, 2], wider[0, :2] + wider[0, 2]
    assert bool((low < -0.7).all())
    assert bool((high > 0.6).all())
    assert float(wider[0, 2]) > 2 * float(alone[0, 2])


def test_without_a_point_a_mask_stays_as_it_is(random_refiner: MaskRefiner) -> None:
    masks = discs((0, 0, 0.3), (0.1, 0, 0.4))
    picture = torch.randn(1, 1, PICTURE, PICTURE)
    box = boxed(0.3, 0.3, 0.7, 0.7)
    assert torch.equal(random_refiner(masks[:1], picture, box), masks[:1])
    assert torch.equal(random_refiner(masks, picture, ModelPrompts(nowhere=2)), masks)
    labels = torch.tensor([[2, 3, -1], [2, 3, 1]])
    prompts = ModelPrompts(torch.rand(2, 3, 2), labels)
    found = random_refiner(masks, picture, prompts)
    assert torch.equal(found[0], masks[0])
    assert not torch.equal(found[1] > 0, masks[1] > 0)


def test_outside_of_its_window_a_mask_stays_as_it_is(
    random_refiner: MaskRefiner,
) -> None:
    masks = discs((-0.5, -0.5, 0.15))
    picture = torch.randn(1, 1, PICTURE, PICTURE)
    found = random_refiner(masks, picture, clicked((0.25, 0.25, 1)))
    assert not torch.equal(found > 0, masks > 0)
    assert torch.equal(found[..., GRID // 2 :, :], masks[..., GRID // 2 :, :])
    assert torch.equal(found[..., GRID // 2 :], masks[..., GRID // 2 :])


def test_each_candidate_of_each_object_is_refined_as_alone(
    random_refiner: MaskRefiner,
) -> None:
    torch.manual_seed(1)
    masks = torch.stack(
        (
            discs((0, 0, 0.3), (0.1, 0, 0.2), (0, 0.1, 0.5))[:, 0],
            discs((0.4, 0, 0.3), (-0.1, 0, 0.2), (0, -0.4, 0.1))[:, 0],
        )
    )
    pictures = torch.randn(2, 1, PICTURE, PICTURE)
    prompts = ModelPrompts(
        torch.rand(2, 2, 2), torch.tensor([[1, 0], [1, 1]], dtype=torch.int32)
    )
    found = random_refiner(masks, pictures, prompts)
    assert found.shape == masks.shape
    for n in range(2):
        said = ModelPrompts(prompts.coords_norm[[n]], prompts.labels[[n]])  # type: ignore[index]
        for m in range(3):
            alone = random_refiner(masks[n, m][None, None], pictures[[n]], said)
            torch.testing.assert_close(alone[0, 0], found[n, m], atol=1e-4, rtol=1e-4)


def test_an_object_is_seen_alike_wherever_and_however_large_it_is(
    random_refiner: MaskRefiner,
) -> None:
    """But for how large the window is, which the network is told."""
    torch.manual_seed(1)
    small = torch.randn(1, 1, 16, 16)
    near = F.pad(small, (16, 96, 32, 80))
    far = F.pad(small, (80, 32, 64, 48))
    large = F.pad(F.interpolate(small, scale_factor=2.0), (32, 64, 64, 32))
    seen = []
    for picture, (x, y, r) in (
        (near, (24, 40, 7)),
        (far, (88, 72, 7)),
        (large, (48, 80, 14)),
    ):
        assert picture.shape[-2:] == (128, 128)
        mask = discs((x / 64 - 1, y / 64 - 1, r / 64), side=128)
        windows = torch.tensor([[x / 64 - 1, y / 64 - 1, 1.5 * r / 64]])
        seen.append(window_inputs(windows, mask, picture, said_of(off(1)))[:, :2])
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)
    assert F.cosine_similarity(seen[0].flatten(1), seen[2].flatten(1)) > 0.9


def test_prompts_are_drawn_where_they_are() -> None:
    windows = torch.tensor([[0.0, 0.0, 0.5]])
    mask = discs((0, 0, 0.3))
    picture = torch.zeros(1, 1, PICTURE, PICTURE)
    said = said_of(clicked((0.625, 0.5, 1), (0.5, 0.375, 0)))
    _, _, on, away, box, _ = window_inputs(windows, mask, picture, said)[0]
    assert divmod(int(on.argmax()), SIDE) in {(31, 47), (32, 48), (32, 47), (31, 48)}
    assert divmod(int(away.argmax()), SIDE) in {(15, 31), (16, 32), (15, 32), (16, 31)}
    assert not box.any()
    said = said_of(boxed(0.375, 0.5, 0.625, 0.75))
    _, _, on, away, box, _ = window_inputs(windows, mask, picture, said)[0]
    assert not on.any()
    assert not away.any()
    assert bool(box[32:, 16:48].all())
    assert int(box.sum()) == 32 * 32


def test_cut_and_paste_give_the_mask_back() -> None:
    masks = discs((0.1, 0.2, 0.35), (-0.6, 0.6, 0.2))
    said = said_of(off(2))
    windows = windows_around(masks, said)
    pasted = paste(cut(masks, windows), windows, masks)
    assert float(((pasted > 0) != (masks > 0)).float().mean()) < 0.002
    seen = window_inputs(windows, masks, torch.zeros(1, 1, 8, 8), said)
    limited = cut(masks.clamp(-TRUST, TRUST), windows)
    torch.testing.assert_close(mask_of(seen), limited, atol=1e-5, rtol=0)


def test_it_learns_to_find_outlines() -> None:
    """Wrong masks of bright discs: after a few steps it draws them to the discs."""
    torch.manual_seed(0)
    refiner = MaskRefiner((8, 16, 24))
    optimiser = torch.optim.AdamW(refiner.parameters(), lr=5e-3)

    def scene(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        draw = torch.rand(8, 6, generator=generator)
        places = [(0.8 * x - 0.4, 0.8 * y - 0.4, 0.2 + 0.2 * r) for x, y, r, *_ in draw]
        wrong = [
            (x + 0.3 * r * (2 * u - 1), y + 0.3 * r * (2 * v - 1), r * (0.7 + 0.6 * w))
            for (x, y, r), (*_, u, v, w) in zip(places, draw, strict=True)
        ]
        truth = (discs(*places, side=PICTURE) > 0).float()
        noise = 0.2 * torch.randn(truth.shape, generator=generator)
        picture = to_picture((truth + noise).expand(-1, 3, -1, -1))
        return discs(*wrong), picture, F.avg_pool2d(truth, 2)

    def ious(masks: torch.Tensor, truth: torch.Tensor) -> float:
        a, b = masks > 0, truth > 0.5
        both = (a & b).sum((1, 2, 3)) / (a | b).sum((1, 2, 3))
        return float(both.mean())

    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        masks, picture, truth = scene(generator)
        windows = windows_around(masks, said_of(off(8)))
        seen = window_inputs(windows, masks, picture, said_of(off(8)))
        found = mask_of(seen) + refiner.changes(seen)
        loss = F.binary_cross_entropy_with_logits(found, cut(truth, windows))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    masks, picture, truth = scene(torch.Generator().manual_seed(1))
    with torch.inference_mode():
        refined = refiner(masks, picture, off(8))
    assert ious(masks, truth) < 0.75
    assert ious(refined, truth) > 0.85
