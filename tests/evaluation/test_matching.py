"""Matching of instances: by hand, and as an optimal assignment gives it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment
from skimage.metrics import contingency_table

from napari_hqsam2.evaluation.matching import THRESHOLDS, Pair, best_pairs, match

LABELS = hnp.arrays(np.int32, (3, 4, 5), elements=st.integers(0, 4))


def test_best_pairs_by_hand() -> None:
    truth = np.array([[1, 1, 1, 0, 7, 7]])
    found = np.array([[2, 2, 5, 5, 0, 0]])
    assert best_pairs(truth, found) == [Pair(1, 2, 2 / 3), Pair(7, 0, 0.0)]


def test_match_by_hand() -> None:
    pairs = [Pair(1, 2, 0.9), Pair(3, 4, 0.6), Pair(5, 0, 0.0)]
    low, high = match(pairs, 4, 0.5), match(pairs, 4, 0.75)
    assert (low.true_positives, low.false_positives, low.false_negatives) == (2, 2, 1)
    assert (low.precision, low.recall) == (2 / 4, 2 / 3)
    assert low.f1 == pytest.approx(4 / 7)
    assert low.matched_score == pytest.approx(0.75)
    assert low.panoptic_quality == pytest.approx(0.75 * 4 / 7)
    assert (high.true_positives, high.matched_score) == (1, 0.9)


def test_nothing_matches_nothing() -> None:
    empty = match([], 0, 0.5)
    assert (empty.precision, empty.recall, empty.f1, empty.panoptic_quality) == (0,) * 4


def test_one_that_covers_two_counts_once() -> None:
    pairs = best_pairs(np.array([[1, 1, 2, 2]]), np.array([[3, 3, 3, 3]]))
    assert [pair.iou for pair in pairs] == [0.5, 0.5]
    assert match(pairs, 1, 0.5).true_positives == 1


def test_low_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.5"):
        match([], 0, 0.3)


@given(truth=LABELS, found=LABELS, threshold=st.sampled_from(THRESHOLDS))
def test_matches_are_an_optimal_assignment(
    truth: np.ndarray, found: np.ndarray, threshold: float
) -> None:
    table = np.asarray(contingency_table(truth, found).todense())
    table = np.pad(table, [(0, 5 - table.shape[0]), (0, 5 - table.shape[1])])
    sizes = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    ious = (table / np.maximum(sizes, 1))[1:, 1:]
    good = ious >= threshold
    rows, columns = linear_sum_assignment(-good.astype(float) - ious / 100)
    num_true, num_found = (len(np.unique(each[each > 0])) for each in (truth, found))
    matches = match(best_pairs(truth, found), num_found, threshold)
    assert matches.true_positives == good[rows, columns].sum()
    assert matches.false_negatives == num_true - matches.true_positives
    assert matches.false_positives == num_found - matches.true_positives
    if matches.true_positives:
        matched = ious[rows, columns][good[rows, columns]]
        assert matches.matched_score == pytest.approx(matched.mean())
