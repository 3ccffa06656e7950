"""Stacks at several resolutions: coordinates of the finest, reads of what is seen."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import Multiscale
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import read_part, read_seen
from napari_hqsam2.predictors.multiscale import MARGIN, LevelSource
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.mixing import is_in_memory
from napari_hqsam2.segmentation.stack_view import FrameRange, StackView
from napari_hqsam2.segmentation.window_frames import WindowFrames


class Counted:
    """A lazy level that notes the shape of every part that is read."""

    def __init__(self, level: np.ndarray, read: list[tuple[int, ...]]) -> None:
        self.shape, self.dtype = level.shape, level.dtype
        self._level, self._read = level, read

    def __getitem__(self, key: tuple[object, ...]) -> np.ndarray:
        part = self._level[key]
        self._read.append(part.shape)
        return part


def pyramid(fine: np.ndarray, *factors: int) -> list[np.ndarray]:
    return [fine, *(fine[..., ::factor, ::factor] for factor in factors)]


@pytest.fixture
def fine(rng):
    """Frames whose values are their rows and columns."""
    rows, columns = np.mgrid[:128, :256].astype(np.uint16)
    return np.stack([rows + 1000 * t + columns for t in range(3)])


def test_it_looks_like_its_finest_level(fine):
    stack = Multiscale(pyramid(fine, 2, 4))
    assert (stack.shape, stack.ndim, stack.dtype) == (fine.shape, 3, np.uint16)
    np.testing.assert_array_equal(stack[1, 3:5], fine[1, 3:5])
    assert is_in_memory(stack)
    source = StackView(stack, "TYX").frames((0,), "T")
    assert (len(source), source.hw) == (3, (128, 256))
    np.testing.assert_array_equal(source.read(2), fine[2])
    part = read_part(source, 2, (slice(5, 9), slice(0, 3)))
    np.testing.assert_array_equal(part, fine[2, 5:9, :3])


def test_no_more_is_read_than_is_seen(fine):
    read: list[tuple[int, ...]] = []
    levels = [Counted(level, read) for level in pyramid(fine, 2, 4, 8)]
    source = StackView(Multiscale(levels), "TYX").frames((0,), "T")
    whole = {128: (128, 256), 32: (64, 128), 8: (16, 32), 2: (16, 32)}
    for side, shape in whole.items():
        assert read_seen(source, 1, None, side).shape == shape
    window = (slice(16, 80), slice(40, 168))
    for side, shape in ((64, (64, 128)), (16, (32, 64)), (4, (8, 16))):
        found = read_seen(source, 1, window, side)
        assert found.shape == shape
        step = 64 // shape[0]
        np.testing.assert_array_equal(found, fine[1, 16:80:step, 40:168:step])
    uneven = read_seen(source, 0, (slice(13, 79), slice(3, 131)), 4)
    np.testing.assert_array_equal(uneven, fine[0, 8:80:8, 0:136:8])
    assert all(np.prod(shape) <= 128 * 256 for shape in read)
    assert read[-1] == (9, 17)


@pytest.mark.parametrize("side", [8, 16, 31, 64])
def test_every_view_of_a_source_passes_it_on(fine, side):
    levels = pyramid(fine, 2, 4)
    view = StackView(Multiscale([Counted(level, []) for level in levels]), "TYX")
    frames = FrameRange(view.frames((0,), "T"), range(1, 3))
    window = WindowFrames(frames, Crop(8, 16, 64, 128))
    factor = next(f for f in (4, 2, 1) if f == 1 or 64 // f >= MARGIN * side)
    expected = fine[2, 8:72:factor, 16:144:factor]
    np.testing.assert_array_equal(read_seen(window, 1, None, side), expected)
    inner = (slice(0, 64), slice(32, 128))
    expected = fine[2, 8:72:factor, 48:144:factor]
    np.testing.assert_array_equal(read_seen(window, 1, inner, side), expected)
    whole = read_seen(view.every_frame(), 2, None, side)
    factor = next(f for f in (4, 2, 1) if f == 1 or 128 // f >= MARGIN * side)
    np.testing.assert_array_equal(whole, fine[2, ::factor, ::factor])


def test_levels_of_fewer_slices_or_another_type_are_not_read(fine):
    stack = np.stack([fine, fine])
    for coarse in (stack[:, ::2, ::2, ::2], stack[..., ::4, ::4].astype(float)):
        source = StackView(Multiscale([stack, coarse]), "TZYX").frames((0, 0), "Z")
        assert not isinstance(source, LevelSource)
        assert read_seen(source, 0, None, 2).shape == (128, 256)


def test_channels_and_single_images_have_levels_too(fine):
    colours = np.stack([fine, fine[::-1]])
    view = StackView(Multiscale(pyramid(colours, 4)), "CTYX", (1, 0))
    seen = read_seen(view.frames((0,), "T"), 0, None, 4)
    np.testing.assert_array_equal(seen[..., 0], fine[2, ::4, ::4])
    image = StackView.of_image(Multiscale(pyramid(fine[0], 4)), "YX")
    assert read_seen(image.frames((0,), "T"), 0, None, 4).shape == (32, 64)
    assert image.frames((0,), "T").hw == (128, 256)


@pytest.mark.parametrize(
    "shapes", [[], [(3, 8, 8), (3, 9, 4)], [(3, 8, 8), (4, 4)], [(2, 8, 8), (3, 4, 4)]]
)
def test_levels_that_are_none_are_refused(shapes):
    with pytest.raises(StackError, match="the finest first"):
        Multiscale([np.zeros(shape) for shape in shapes])
