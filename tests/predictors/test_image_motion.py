"""Motion between pictures, and what is moved along."""

from __future__ import annotations

import pytest
import torch

from napari_hqsam2.modeling.image_motion import (
    PICTURE_SIDE,
    image_motion,
    moved,
    resized_motion,
    to_picture,
)

MIDDLE = slice(64, 192)
"""Where nothing comes in from beyond the border."""


def scene(generator: torch.Generator, x: float, y: float) -> torch.Tensor:
    """(1, 3, 512, 512) blurred noise, moved by whole or half pixels of a picture."""
    noise = torch.rand(1, 1, 640, 640, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 9, 1, padding=4)
    top, left = 64 - round(2 * y), 64 - round(2 * x)
    return smooth[..., top : top + 512, left : left + 512].expand(-1, 3, -1, -1)


def moving(x: float, y: float) -> tuple[torch.Tensor, torch.Tensor]:
    before, now = (
        to_picture(scene(torch.Generator().manual_seed(3), *by))
        for by in ((0, 0), (x, y))
    )
    return now, before


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.5, -1), (3, 2), (-12, 7.5)])
def test_a_shift_is_found(x: float, y: float) -> None:
    motion = image_motion(*moving(x, y))[0, :, MIDDLE, MIDDLE]
    expected = torch.tensor([-x, -y])[:, None, None].expand_as(motion)
    assert float((motion - expected).abs().mean()) < 0.1


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    pairs = [moving(3, 2), moving(-12, 7.5)]
    together = image_motion(*map(torch.cat, zip(*pairs, strict=True)))
    alone = torch.cat([image_motion(*pair) for pair in pairs])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-3)


def test_inputs_of_a_batch_become_the_pictures_that_each_becomes_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = scene(generator, 0, 0), 7 * scene(generator, 2, 1)
    together = to_picture(torch.cat((first, second)))
    alone = torch.cat((to_picture(first), to_picture(second)))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_masks_move_along() -> None:
    mask = torch.full((2, 1, 128, 128), -10.0)
    mask[0, :, 40:60, 50:70] = 10
    mask[1, :, 70:75, 40:44] = 10
    motion = resized_motion(image_motion(*moving(8, -4)), mask)
    found = moved(mask, motion, smooth=True)
    assert torch.equal(found > 0, mask.roll((-2, 4), (2, 3)) > 0)


def test_the_motion_of_a_finer_grid_is_larger() -> None:
    motion = torch.tensor([3.0, -1.0])[None, :, None, None].expand(1, 2, 8, 8)
    found = resized_motion(motion, torch.zeros(1, 1, 16, 32))
    assert found.shape == (1, 2, 16, 32)
    torch.testing.assert_close(found[0, :, 5, 9], torch.tensor([12.0, -2.0]))


def test_where_nothing_is_to_be_seen_nothing_moves() -> None:
    flat = to_picture(torch.full((1, 3, 512, 512), 0.3))
    assert flat.shape == (1, 1, PICTURE_SIDE, PICTURE_SIDE)
    assert float(image_motion(flat, flat).abs().max()) == 0


def test_brightness_and_contrast_do_not_matter() -> None:
    image = scene(torch.Generator().manual_seed(3), 0, 0)
    torch.testing.assert_close(
        to_picture(image), to_picture(0.5 * image + 2), rtol=0, atol=1e-2
    )
