"""IoU and boundary IoU: by hand, and as pycocotools and plain erosion give them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as run_lengths
from scipy import ndimage

from napari_hqsam2.evaluation.measures import (
    Scores,
    boundary_iou,
    boundary_width,
    iou,
    rim,
)

MASKS = hnp.arrays(bool, (9, 13))


def square(low: int, high: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[low:high, low:high] = True
    return mask


def test_iou_of_shifted_squares() -> None:
    assert iou(square(4, 8), square(6, 10)) == pytest.approx(4 / 28)
    assert iou(square(0, 0), square(0, 0)) == 1
    assert iou(square(0, 0), square(1, 2)) == 0


@given(guess=MASKS, truth=MASKS.filter(np.any))
def test_iou_is_that_of_pycocotools(guess: np.ndarray, truth: np.ndarray) -> None:
    runs = [run_lengths.encode(np.asfortranarray(m, np.uint8)) for m in (guess, truth)]
    assert iou(guess, truth) == pytest.approx(
        run_lengths.iou(runs[:1], runs[1:], [0])[0, 0]
    )


def test_boundary_iou_looks_at_the_rim_alone() -> None:
    truth = square(4, 14)
    hole = truth.copy()
    hole[8:10, 8:10] = False
    # The rim has 100 - 36 pixels; the hole has one of its own, 6 x 6 without 2 x 2.
    assert boundary_iou(truth, truth) == 1
    assert boundary_iou(hole, truth) == pytest.approx(64 / 96)
    assert boundary_iou(square(0, 0), square(0, 0)) == 1


def test_the_border_of_the_image_is_outside() -> None:
    assert rim(np.ones((9, 9), bool), 1).sum() == 81 - 49


@given(mask=MASKS, width=st.integers(1, 4))
def test_rim_is_what_erosions_take_away(mask: np.ndarray, width: int) -> None:
    padded = np.pad(mask, 1)
    core = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=width)
    np.testing.assert_array_equal(rim(mask, width), mask & ~core[1:-1, 1:-1])


@given(guess=MASKS, truth=MASKS)
def test_a_rim_as_wide_as_the_object_gives_iou(
    guess: np.ndarray, truth: np.ndarray
) -> None:
    assert boundary_iou(guess, truth, 13) == pytest.approx(iou(guess, truth))


def test_width_of_the_rim_is_two_per_cent_of_the_diagonal() -> None:
    assert boundary_width((300, 400)) == 10
    assert boundary_width((10, 10)) == 1


def test_scores_are_averaged_by_kind_of_prompt() -> None:
    scores = Scores()
    scores.add("box", square(4, 8), square(4, 8))
    scores.add("box", square(0, 0), square(4, 8))
    assert scores.means() == {"box": 0.5, "box_boundary": 0.5}
