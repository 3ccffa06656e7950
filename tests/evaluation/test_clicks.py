"""Simulated clicks and boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_hqsam2.evaluation.clicks import box_of, interior_point, largest_error

MASKS = hnp.arrays(bool, (9, 7))


def test_interior_point_of_a_square_is_its_centre() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:10, 8:13] = True
    assert interior_point(mask) == (7, 10)
    assert box_of(mask) == (8, 5, 12, 9)


def test_interior_point_keeps_away_from_the_image_border() -> None:
    assert interior_point(np.ones((5, 5), dtype=bool)) == (2, 2)


def depths(mask: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


@given(mask=MASKS.filter(np.any))
def test_interior_point_is_the_deepest_pixel(mask: np.ndarray) -> None:
    distance = depths(mask)
    assert distance[interior_point(mask)] == distance.max() > 0


def test_largest_error_adds_what_is_missing_and_removes_what_is_too_much() -> None:
    truth = np.zeros((30, 30), dtype=bool)
    truth[5:15, 5:15] = True
    assert largest_error(np.zeros_like(truth), truth)[2]
    prediction = truth.copy()
    prediction[20:29, 20:29] = True
    assert largest_error(prediction, truth) == (24, 24, False)


def test_largest_error_of_a_perfect_mask_is_a_click_inside() -> None:
    truth = np.zeros((9, 9), dtype=bool)
    truth[2:7, 2:7] = True
    assert largest_error(truth, truth) == (4, 4, True)


@given(guess=MASKS, truth=MASKS.filter(np.any))
def test_a_correction_lies_where_it_says(guess: np.ndarray, truth: np.ndarray) -> None:
    row, column, positive = largest_error(guess, truth)
    assert truth[row, column] == positive
    if (guess != truth).any():
        assert guess[row, column] != positive
        wrong = (truth & ~guess) if positive else (guess & ~truth)
        other = (guess & ~truth) if positive else (truth & ~guess)
        assert depths(wrong)[row, column] >= depths(other).max()
