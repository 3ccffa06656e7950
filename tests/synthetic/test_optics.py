"""Blur, scenery, and the camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_hqsam2.synthetic.noise import (
    fractal_field,
    sample_tile,
    smooth_field,
    texture_tile,
    upsample,
)
from napari_hqsam2.synthetic.optics import Backdrop, Camera, blur, glow, sprinkle

PLAIN = Camera(
    sigma=0.0,
    light=None,
    black=0.0,
    white=255.0,
    gamma=1.0,
    shot=0.0,
    read=0.0,
    grain=0.0,
    inverted=False,
    gain=np.ones(1),
)


@pytest.mark.parametrize("sigma", [4.0, 9.0, 20.0])
def test_glow_is_a_wide_blur_in_place(sigma: float) -> None:
    image = np.zeros((97, 130), np.float32)
    image[40:50, 60:75] = 1
    exact = ndimage.gaussian_filter(image, sigma, mode="nearest")
    np.testing.assert_allclose(glow(image, sigma), exact, atol=0.05 * exact.max())
    centres = [ndimage.center_of_mass(i) for i in (glow(image, sigma), exact)]
    np.testing.assert_allclose(*centres, atol=0.2)


def test_blur_of_colour_is_the_blur_of_each_channel() -> None:
    rgb = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    expected = np.stack([blur(rgb[:, :, c].copy(), 1.5) for c in range(3)], axis=2)
    np.testing.assert_array_equal(blur(rgb, 1.5), expected)


def test_upsampling_a_plane_keeps_it() -> None:
    y, x = np.mgrid[-1:11, -1:14]
    plane = (3 * y + 2 * x).astype(np.float32)
    out = upsample(plane, (32, 40), 4.0)
    py, px = np.mgrid[:32, :40]
    np.testing.assert_allclose(out, (3 * py + 2 * px) / 4, atol=1e-3)


@pytest.mark.parametrize("make", [smooth_field, fractal_field])
def test_fields_have_about_unit_deviation(make: object) -> None:
    field = make(np.random.default_rng(2), (300, 300), 11.0)  # type: ignore[operator]
    assert field.dtype == np.float32
    assert abs(field.mean()) < 0.2
    assert field.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("kind", ["cloud", "chromatin", "grain", "spots", "fibres"])
def test_tiles_repeat_without_seams(kind: str) -> None:
    tile = texture_tile(np.random.default_rng(1), kind)  # type: ignore[arg-type]
    assert tile.shape == (256, 256)
    assert np.abs(tile).max() <= 3
    inside = np.abs(np.diff(tile, axis=0)).mean()
    assert np.abs(tile[0] - tile[-1]).mean() < 2 * inside


def test_tile_lookup_wraps_and_turns() -> None:
    tile = texture_tile(np.random.default_rng(1), "grain")
    v = np.array([[3.2, -1.0]], np.float32)
    u = np.array([[260.9, 0.0]], np.float32)
    np.testing.assert_array_equal(sample_tile(tile, v, u), [[tile[3, 4], tile[255, 0]]])
    turned = sample_tile(tile, v, u, np.pi)
    np.testing.assert_allclose(turned, -sample_tile(tile, v, u), atol=1e-5)


def test_backdrop_follows_the_stage() -> None:
    field = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    scenery = Backdrop(field, 5)
    still = scenery.at((0.0, 0.0))
    assert still.shape == (30, 40)
    np.testing.assert_array_equal(still, field[5:35, 5:45])
    moved = scenery.at((2.0, -3.0))
    np.testing.assert_array_equal(moved[2:, :-3], still[:-2, 3:])
    half = scenery.at((0.5, 0.0))
    np.testing.assert_allclose(half[1:], (still[1:] + still[:-1]) / 2, atol=1e-6)


def test_sprinkled_discs_stay_below_their_count() -> None:
    field = np.zeros((60, 60), np.float32)
    sprinkle(np.random.default_rng(0), field, 5, (4.0, 9.0), 0.3)
    assert 0.2 < field.max() <= 5
    assert (field > 0.1).mean() < 0.6


def test_plain_camera_scales_to_levels() -> None:
    image = np.linspace(-0.2, 1.2, 64, dtype=np.float32).reshape(8, 8)
    levels = PLAIN.expose(np.random.default_rng(0), image, 0)
    np.testing.assert_allclose(levels, 255 * np.clip(image, 0, 1), rtol=1e-5)


def test_inversion_swaps_dark_and_bright() -> None:
    image = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    rng = np.random.default_rng(0)
    levels = replace(PLAIN, inverted=True, white=200.0).expose(rng, image, 0)
    np.testing.assert_allclose(levels, 200 * (1 - image), rtol=1e-4)


def test_noise_grows_with_the_signal() -> None:
    noisy = replace(PLAIN, shot=10.0, read=2.0, white=150.0)
    image = np.full((200, 100), 0.05, np.float32)
    image[:, 50:] = 0.8
    levels = noisy.expose(np.random.default_rng(0), image, 0)
    expected = np.sqrt(100 * 0.8 + 4)
    assert levels[:, 50:].std() == pytest.approx(expected, rel=0.05)
    assert levels[:, :50].std() < 0.6 * expected


def test_gain_is_that_of_the_frame() -> None:
    camera = replace(PLAIN, gain=np.array([1.0, 0.5]))
    image = np.full((8, 8), 0.6, np.float32)
    frames = [camera.expose(np.random.default_rng(0), image, t) for t in (0, 1)]
    np.testing.assert_allclose(frames[1], frames[0] / 2, rtol=1e-5)
