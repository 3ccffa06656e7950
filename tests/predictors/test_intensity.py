from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import (
    estimate_limits,
    narrowed,
    shows_bytes,
    to_unit_rgb,
    with_gamma,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_DTYPES = ["?", "i1", "u1", "<i2", ">i2", "<u2", ">u2", "<f2", ">f2"]
LARGE_DTYPES = ["i4", ">u4", "i8", "u8", "f4", ">f4", "f8", ">f8"]
DTYPES = st.sampled_from([*SMALL_DTYPES, *LARGE_DTYPES]).map(np.dtype)
SHAPES = st.one_of(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)),
)
FRAMES = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
FINITE = st.floats(allow_nan=False, allow_infinity=False)


class Frames:
    """A source that computes its frames and notes which were read."""

    def __init__(
        self, make: Callable[[int], np.ndarray], count: int, bad: tuple[int, ...] = ()
    ) -> None:
        self.make = make
        self.count = count
        self.bad = bad
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.count

    @property
    def hw(self) -> tuple[int, int]:
        height, width = self.make(0).shape[:2]
        return height, width

    def read(self, index: int) -> np.ndarray:
        self.reads.append(index)
        if index in self.bad:
            msg = f"Frame {index} cannot be read."
            raise StackError(msg)
        return self.make(index)


def expected_unit(frame: np.ndarray, low: float, high: float) -> np.ndarray:
    """(frame - low) / (high - low) in the widest type, finite and clipped."""
    wide = frame.astype(np.longdouble)
    wide = np.where(np.isnan(wide), np.longdouble(low), wide)
    span = np.longdouble(high) - np.longdouble(low)
    if span <= 0:
        return np.zeros(frame.shape)
    with np.errstate(over="ignore"):
        unit = (np.clip(wide, low, high) - np.longdouble(low)) / span
    return unit.astype(np.float64)


@given(frame=FRAMES, limits=st.tuples(FINITE, FINITE).map(sorted))
@example(frame=np.array([[np.nan, np.inf, -np.inf]]), limits=[0.0, 1.0])
@example(frame=np.array([[1e308, -1e308, 0]]), limits=[-1.7e308, 1.7e308])
@example(frame=np.array([[0, 5e-324, 1]]), limits=[0.0, 5e-324])
@example(frame=np.array([[0, 2**64 - 1]], np.uint64), limits=[0.0, 2.0**64])
@example(frame=np.array([[65504, np.inf]], np.float16), limits=[0.0, 1e300])
def test_any_frame_becomes_finite_rgb(frame: np.ndarray, limits: list[float]) -> None:
    before = frame.copy()
    unit = to_unit_rgb(frame, (limits[0], limits[1]))
    assert unit.dtype == np.float32
    assert unit.shape == (*frame.shape[:2], 3)
    assert np.isfinite(unit).all()
    assert ((unit >= 0) & (unit <= 1)).all()
    np.testing.assert_array_equal(frame, before)


@given(
    frame=DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, (3, 4))),
    limits=st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)),
)
def test_values_follow_the_formula(
    frame: np.ndarray, limits: tuple[float, float]
) -> None:
    low, high = limits[0], limits[0] + limits[1]
    unit = to_unit_rgb(frame, (low, high))
    np.testing.assert_array_equal(unit[..., 0], unit[..., 1])
    np.testing.assert_array_equal(unit[..., 0], unit[..., 2])
    # Small types are scaled in float32, which holds a limit to 2**-24 of itself.
    precision = max(abs(low), abs(high)) / (high - low) * 2.0**-22 + 1e-6
    if frame.dtype.itemsize > 2:
        precision = 1e-6
    np.testing.assert_allclose(
        unit[..., 0], expected_unit(frame, low, high), rtol=0, atol=precision
    )


@given(
    frame=hnp.arrays(np.uint16, (3, 4)), limits=st.tuples(FINITE, FINITE).map(sorted)
)
def test_byte_order_and_layout_do_not_matter(
    frame: np.ndarray, limits: list[float]
) -> None:
    pair = (limits[0], limits[1])
    unit = to_unit_rgb(frame, pair)
    np.testing.assert_array_equal(to_unit_rgb(frame.astype(">u2"), pair), unit)
    np.testing.assert_array_equal(to_unit_rgb(frame[::-1], pair), unit[::-1])
    np.testing.assert_array_equal(
        to_unit_rgb(np.asfortranarray(frame)[:, ::2], pair), unit[:, ::2]
    )


def test_eight_bits_are_divided_by_255(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (7, 9, 3), np.uint8)
    np.testing.assert_array_equal(to_unit_rgb(frame), frame / np.float32(255))
    np.testing.assert_array_equal(to_unit_rgb(frame, (0, 255)), frame / np.float32(255))
    mask = np.array([[True, False]])
    np.testing.assert_array_equal(to_unit_rgb(mask)[..., 0], [[1, 0]])


def test_how_channels_become_red_green_and_blue() -> None:
    frame = np.array([[[0, 51, 102, 153]]], np.uint8)
    shown = [
        to_unit_rgb(frame[..., :count])[0, 0].round(4).tolist()
        for count in (1, 2, 3, 4)
    ]
    assert shown[0] == [0.0, 0.0, 0.0]
    assert shown[1] == pytest.approx([0.0, 0.2, 0.0])
    assert shown[2] == shown[3] == pytest.approx([0.0, 0.2, 0.4])
    grey = to_unit_rgb(frame[..., 1])[0, 0].tolist()
    assert grey == pytest.approx([0.2, 0.2, 0.2])


def test_limits_of_each_channel() -> None:
    frame = np.array([[[10, 10, 10, 10]]], np.uint16)
    limits = ((0, 10), (0, 20), (10, 20))
    for channels in (3, 4):
        unit = to_unit_rgb(frame[..., :channels], limits)
        np.testing.assert_allclose(unit[0, 0], [1, 0.5, 0])
    np.testing.assert_allclose(
        to_unit_rgb(frame[..., :2], ((0, 10), (0, 20)))[0, 0], [1, 0.5, 0]
    )
    np.testing.assert_allclose(to_unit_rgb(frame[..., 0], ((0, 20),))[0, 0], [0.5] * 3)


def test_equal_limits_show_nothing() -> None:
    frame = np.full((4, 5), 7, np.uint16)
    assert not to_unit_rgb(frame, (7, 7)).any()
    assert not to_unit_rgb(frame.astype(float), (3, 3)).any()


@pytest.mark.parametrize(
    ("frame", "limits", "message"),
    [
        (np.zeros((2, 2), np.uint16), None, "uint16 needs intensity limits"),
        (np.zeros((2, 2)), None, "float64 needs intensity limits"),
        (np.zeros((2, 2), complex), (0, 1), r"complex128.*np\.abs"),
        (np.zeros((2, 2), object), (0, 1), "object"),
        (np.zeros(2, np.uint8), None, r"\(H, W\).*got \(2,\)"),
        (np.zeros((2, 2, 5), np.uint8), None, r"got \(2, 2, 5\)"),
        (np.zeros((2, 2, 0), np.uint8), None, r"got \(2, 2, 0\)"),
        (np.zeros((2, 2), np.uint8), (5, 4), r"low <= high, got \(5.0, 4.0\)"),
        (np.zeros((2, 2), np.uint8), (0, np.nan), "finite"),
        (np.zeros((2, 2), np.uint8), (-np.inf, 0), "finite"),
        (np.zeros((2, 2), np.uint8), (1, 2, 3, 4), "pair of numbers"),
        (np.zeros((2, 2), np.uint8), (1, 2, -1), "gamma=-1.0 must be"),
        (np.zeros((2, 2), np.uint8), ("a", "b"), "pair of numbers"),
        (np.zeros((2, 2), np.uint8), ((0, 1), (0, 1)), "2 pairs .* for 1 channels"),
        (np.zeros((2, 2, 3), np.uint8), ((0, 1), (0, 1)), "2 pairs .* 3 channels"),
    ],
)
def test_nonsense_is_refused(frame: np.ndarray, limits: Any, message: str) -> None:
    with pytest.raises(StackError, match=message):
        to_unit_rgb(frame, limits)


def test_estimated_limits_are_percentiles_of_the_whole_stack() -> None:
    source = Frames(lambda t: np.arange(1000.0).reshape(20, 50) + 1000 * t, 3)
    low, high = estimate_limits(source)
    assert (low, high) == pytest.approx(np.percentile(np.arange(3000), [0.1, 99.9]))
    assert source.reads == [0, 1, 2]


def test_only_a_few_evenly_spaced_frames_are_read() -> None:
    source = Frames(lambda t: np.full((4, 4), t, np.uint16), 10_001)
    estimate_limits(source, sample=5)
    assert source.reads == [0, 2500, 5000, 7500, 10_000]
    source.reads.clear()
    estimate_limits(source)
    assert len(source.reads) == 8
    with pytest.raises(StackError, match="sample=0"):
        estimate_limits(source, sample=0)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.uint8, (0.0, 255.0)), (np.bool_, (0.0, 1.0))]
)
def test_small_types_show_their_full_range(dtype: type, expected: object) -> None:
    source = Frames(lambda _: np.ones((4, 4), dtype), 100)
    assert estimate_limits(source) == expected
    assert source.reads == [0]


def test_large_frames_are_thinned_out(rng: np.random.Generator) -> None:
    frame = rng.normal(500, 50, (3000, 2500)).astype(np.float32)
    low, high = estimate_limits(open_frames([frame]))
    assert (low, high) == pytest.approx(np.percentile(frame, [0.1, 99.9]), rel=0.01)


def test_a_hot_pixel_does_not_darken_the_rest(rng: np.random.Generator) -> None:
    stack = rng.integers(100, 200, (4, 64, 64), np.uint16)
    stack[2, 5, 5] = 65535
    low, high = estimate_limits(open_frames(stack))
    assert 100 <= low < 110
    assert 190 < high < 200


def test_few_bright_pixels_on_black_are_not_lost() -> None:
    stack = np.zeros((4, 100, 100), np.uint16)
    stack[1, 5, 5:8] = 900
    assert estimate_limits(open_frames(stack)) == (0.0, 900.0)


@pytest.mark.parametrize("value", [0.0, -3.5, 65535.0])
def test_a_constant_stack_becomes_black(value: float) -> None:
    source = Frames(lambda _: np.full((4, 4), value, np.float32), 3)
    limits = estimate_limits(source)
    assert limits == (value, value)
    assert not to_unit_rgb(source.read(0), limits).any()


def test_values_that_are_not_finite_do_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frame = np.linspace(0, 1, 100).reshape(10, 10)
    frame[0, :3] = np.nan, np.inf, -np.inf
    with caplog.at_level(logging.WARNING):
        low, high = estimate_limits(open_frames([frame]))
    assert 0 < low < high < 1
    assert "3 sampled pixels are not finite" in caplog.text
    empty = np.full((3, 3), np.nan)
    assert estimate_limits(open_frames([empty])) == (0.0, 0.0)


@given(FRAMES.filter(lambda frame: frame.size > 0))
def test_estimated_limits_always_suit_the_frame(frame: np.ndarray) -> None:
    source = Frames(lambda _: frame, 1)
    unit = to_unit_rgb(frame, estimate_limits(source))
    assert np.isfinite(unit).all()


def test_colours_share_limits_and_stains_do_not(rng: np.random.Generator) -> None:
    stack = rng.integers(0, 100, (2, 40, 40, 4), np.uint16) * [1, 10, 100, 0]
    stack = stack.astype(np.uint16)
    stack[..., 3] = 65535
    low, high = estimate_limits(open_frames(stack))
    assert (low, high) == pytest.approx((0, 9800), abs=150)
    pairs: Any = estimate_limits(open_frames(stack), per_channel=True)
    assert [pair[1] for pair in pairs] == pytest.approx([99, 990, 9900], rel=0.02)
    two: Any = estimate_limits(open_frames(stack, channels=(0, 2)))
    assert [pair[1] for pair in two] == pytest.approx([99, 9900], rel=0.02)
    shared = estimate_limits(open_frames(stack, channels=(0, 2)), per_channel=False)
    assert shared == pytest.approx((0, 9850), abs=150)
    grey = estimate_limits(open_frames(stack, channels=(1,)), per_channel=True)
    assert grey == pytest.approx((0, 990), abs=20)


def test_a_bad_frame_is_left_out_of_the_estimate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Frames(lambda t: np.full((4, 4), t, np.int16), 3, bad=(0, 2))
    with caplog.at_level(logging.WARNING):
        assert estimate_limits(source) == (1.0, 1.0)
    assert "Frame 0 cannot be read" in caplog.text
    source.bad = (0, 1, 2)
    with pytest.raises(StackError, match="Frame 0 cannot be read"):
        estimate_limits(source)


def test_gamma_is_that_of_napari() -> None:
    frame = np.array([[0, 100, 150, 200, 300]], np.uint16)
    linear = to_unit_rgb(frame, (100, 200))[0, :, 0]
    for gamma in (0.4, 1.0, 2.0):
        rgb = to_unit_rgb(frame, (100, 200, gamma))
        np.testing.assert_allclose(rgb[0, :, 2], linear**gamma, atol=1e-6)
    assert with_gamma((100, 200), 1.0) == (100, 200)
    assert with_gamma((100, 200), 2) == (100, 200, 2.0)
    assert with_gamma(((1, 2), (3, 4)), 0.5) == ((1, 2, 0.5), (3, 4, 0.5))
    for bad in (0, -1, float("inf"), float("nan")):
        with pytest.raises(StackError, match="must be a number above 0"):
            with_gamma((0, 1), bad)
    bytes_ = np.zeros((2, 2), np.uint8)
    assert shows_bytes(bytes_, (0, 255))
    assert not shows_bytes(bytes_, (0, 255, 0.5))


def test_ranges_of_values_do_not_depend_on_the_type() -> None:
    stack = np.zeros((3, 4, 50, 2), np.uint8)
    stack[1, ..., 1] = np.arange(50) + 100
    source = open_frames(stack, channels=(0, 1))
    limits = estimate_limits(source, per_channel=True, by_type=False)
    assert limits == ((0, 0), (0, pytest.approx(149, abs=1)))
    assert estimate_limits(source, per_channel=True) == (0, 255)


def test_limits_lie_within_others() -> None:
    assert narrowed((10, 40), (0, 255)) == (10, 40)
    assert narrowed((10, 40), (20, 255)) == (20, 40)
    assert narrowed((10, 40), (50, 60)) == (50, 60), "all of it is black"
