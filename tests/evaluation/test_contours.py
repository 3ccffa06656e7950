"""J and F against cases worked out by hand, and against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.morphology import dilation, disk

from napari_hqsam2.evaluation.contours import (
    Statistics,
    contour,
    contour_f,
    tolerance,
)

MASKS = hnp.arrays(bool, (8, 11))


def test_contour_of_a_square() -> None:
    mask = np.zeros((6, 6), bool)
    mask[2:4, 2:4] = True
    expected = np.zeros((6, 6), bool)
    expected[1:4, 1:4] = True
    expected[2, 2] = False
    np.testing.assert_array_equal(contour(mask), expected)


def test_f_of_lines_that_are_apart() -> None:
    truth, guess = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[:, 10:], guess[:, 12:] = True, True
    assert contour_f(guess, truth, 1) == 0
    assert contour_f(guess, truth, 2) == 1
    half = truth.copy()
    half[10:] = False
    # 11 of 20 contour pixels of the truth are near the half's left edge; of its 20, 11.
    assert contour_f(half, truth, 1) == pytest.approx(11 / 20)


def test_f_without_contours() -> None:
    nothing, all_of_it = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    some = nothing.copy()
    some[2, 2] = True
    assert contour_f(nothing, nothing) == contour_f(nothing, all_of_it) == 1
    assert contour_f(some, nothing) == contour_f(nothing, some) == 0


@given(guess=MASKS, truth=MASKS, radius=st.integers(1, 3))
def test_f_is_that_of_dilated_contours(
    guess: np.ndarray, truth: np.ndarray, radius: int
) -> None:
    found, real = contour(guess), contour(truth)
    if not (found.any() and real.any()):
        return
    near_real, near_found = (dilation(each, disk(radius)) for each in (real, found))
    precision = (found & near_real).sum() / found.sum()
    recall = (real & near_found).sum() / real.sum()
    both = precision + recall
    expected = 2 * precision * recall / both if both else 0
    assert contour_f(guess, truth, radius) == pytest.approx(expected)


def test_tolerance_of_the_published_size() -> None:
    assert tolerance((480, 854)) == 8


def test_statistics_by_hand() -> None:
    found = Statistics.of([1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.5, 0.9])
    assert found.mean == pytest.approx(0.55)
    assert found.recall == pytest.approx(4 / 8)
    # Quarters begin at 0, 2, 4, 5 and end at 7: the first has three frames, the last
    # three.
    assert found.decay == pytest.approx(0.8 - (0.0 + 0.5 + 0.9) / 3)
    assert all(math.isnan(value) for value in (Statistics.of([]).mean,))


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_decay_takes_the_quarters_of_the_published_code(values: list[float]) -> None:
    ids = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[ids[0] : ids[1] + 1], values[ids[3] : ids[4] + 1]
    expected = np.mean(first) - np.mean(last)
    assert Statistics.of(values).decay == pytest.approx(expected)
