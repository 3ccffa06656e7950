"""Matching of true and found instances, in any number of dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import LabelArray

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True, slots=True)
class Pair:
    """A true instance and the found one that overlaps it best."""

    label: int
    found: int
    """0 if none overlaps it."""
    iou: float


@dataclass(frozen=True, slots=True)
class Matches:
    """Counts at one IoU threshold."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    matched_score: float
    """Mean IoU of the true positives; 0 without any."""

    @property
    def precision(self) -> float:
        """Share of the found instances that are true."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the true instances that are found."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        wrong = self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, 2 * self.true_positives + wrong)

    @property
    def panoptic_quality(self) -> float:
        """F1 times the mean IoU of what matches (Kirillov et al., CVPR 2019)."""
        return self.f1 * self.matched_score


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def best_pairs(truth: LabelArray, found: LabelArray) -> list[Pair]:
    """For every true instance, in ascending order, the found one of largest IoU.

    Parameters
    ----------
    truth, found : ndarray
        Labels of one shape; 0 and below are background.
    """
    true_values, true_ranks = np.unique(np.maximum(truth, 0), return_inverse=True)
    values, ranks = np.unique(np.maximum(found, 0), return_inverse=True)
    joint = true_ranks.ravel() * len(values) + ranks.ravel()
    joint_values, shared = np.unique(joint, return_counts=True)
    rows, columns = np.divmod(joint_values, len(values))
    sizes = np.bincount(true_ranks.ravel())[rows] + np.bincount(ranks.ravel())[columns]
    overlaps = shared / (sizes - shared)
    counts = (true_values[rows] > 0) & (values[columns] > 0)
    best = {int(value): Pair(int(value), 0, 0.0) for value in true_values if value > 0}
    for row, column, overlap in zip(
        rows[counts], columns[counts], overlaps[counts], strict=True
    ):
        label = int(true_values[row])
        if overlap > best[label].iou:
            best[label] = Pair(label, int(values[column]), float(overlap))
    return list(best.values())


def match(pairs: Sequence[Pair], num_found: int, threshold: float) -> Matches:
    """Count what matches at an IoU of at least `threshold`.

    Above one half no instance can match two others, so that the best pairs are the best
    assignment; at exactly one half the lesser count of both sides holds.

    Parameters
    ----------
    pairs : sequence of Pair
        Of all true instances, from `best_pairs`.
    num_found : int
        Number of found instances.
    threshold : float
        At least 0.5.

    Raises
    ------
    ValueError
        The threshold is lower, where matching needs an assignment.
    """
    if threshold < 0.5:
        msg = f"The threshold must be at least 0.5, got {threshold}."
        raise ValueError(msg)
    good = {pair.found: pair for pair in pairs if pair.found and pair.iou >= threshold}
    score = sum(pair.iou for pair in good.values()) / len(good) if good else 0.0
    return Matches(
        threshold, len(good), num_found - len(good), len(pairs) - len(good), score
    )
