"""What the network is given of images and frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from napari_hqsam2.predictors.transforms import (
    from_model_image,
    to_model_image,
    to_video_image,
)

CPU = torch.device("cpu")
FULL = (0.0, 255.0)


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (37, 61, 3), dtype=np.uint8)


@pytest.mark.parametrize("limits", [FULL, (FULL, FULL, FULL)])
def test_frames_of_bytes_are_resized_as_upstreams_loader_does(pixels, limits) -> None:
    seen = to_video_image(pixels, limits, 64, CPU)
    expected = np.asarray(Image.fromarray(pixels).resize((64, 64)))
    picture = 255 * from_model_image(seen)
    np.testing.assert_allclose(picture, expected, atol=1e-3)


def test_other_channels_do_not_change_a_channel(pixels) -> None:
    opacity = np.zeros_like(pixels[..., :1])
    seen = to_video_image(pixels, FULL, 64, CPU)
    rgba = np.concatenate([pixels, opacity], axis=-1)
    assert torch.equal(to_video_image(rgba, FULL, 64, CPU), seen)
    two = to_video_image(pixels[..., :2], FULL, 64, CPU)
    assert torch.equal(two[:, :2], seen[:, :2])
    grey = to_video_image(pixels[..., 0], FULL, 64, CPU)
    assert torch.equal(grey[:, 0], seen[:, 0])


@pytest.mark.parametrize(
    ("dtype", "limits"), [(np.uint8, (0.0, 9.0)), (np.uint16, FULL)]
)
def test_what_is_stretched_keeps_its_shades(dtype, limits) -> None:
    """Few grey values become many between pixels, not the same few."""
    steps = np.tile(np.arange(10, dtype=dtype), (10, 1))
    seen = from_model_image(to_video_image(steps, limits, 64, CPU))
    assert len(np.unique(seen[32, :, 0].numpy().round(6))) > 40
    scaled = (steps / np.float32(limits[1]))[..., None].repeat(3, axis=-1)
    expected = to_model_image(scaled, 64, CPU, "bicubic")
    np.testing.assert_allclose(seen, from_model_image(expected), atol=1e-6)


def test_frames_of_the_models_size_are_taken_as_they_are(pixels) -> None:
    square = np.ascontiguousarray(pixels[:32, :32])
    seen = to_video_image(square, FULL, 32, CPU)
    np.testing.assert_allclose(255 * from_model_image(seen), square, atol=1e-4)
