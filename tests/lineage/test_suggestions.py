"""Divisions are seen where there are any, and advice says so."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.measuring import measure
from napari_hqsam2.lineage.suggestions import DivisionLimits, suggest_divisions


def suggested(labels, *known, **options):
    letters = "TYX" if labels.ndim == 3 else "TZYX"
    table = measure(labels, StackAxes(letters, labels.shape))
    return suggest_divisions(table, known, **options)


def test_a_mother_that_ends(dividing, division):
    (found,) = suggested(dividing)
    assert found.division == division
    assert 0.5 < found.score <= 1


def test_a_mother_whose_label_goes_on(dividing):
    dividing[dividing == 2] = 1
    (found,) = suggested(dividing)
    assert found.division == Division(3, 1, (1, 3))


def test_what_is_known_is_not_said_again(dividing, division):
    assert suggested(dividing, division) == ()
    assert suggested(dividing, Division(3, 9, (2,))) == ()


@pytest.mark.parametrize(
    "limits",
    [
        {"reach": 0.5},
        {"least_sum": 1.0},
        {"most_sum": 0.6},
        {"least_score": 0.99},
    ],
)
def test_limits(dividing, limits):
    assert suggested(dividing, limits=DivisionLimits(**limits)) == ()


def test_unequal_daughters(dividing):
    dividing[3:, :13][dividing[3:, :13] == 3] = 0
    assert suggested(dividing, limits=DivisionLimits(least_symmetry=0.9)) == ()
    assert len(suggested(dividing)) == 1


def test_a_new_cell_beside_one_that_stays_whole(dividing):
    dividing[3:][dividing[3:] == 2] = 0
    for time in range(3, 6):
        dividing[time][dividing[2] == 1] = 1
    assert suggested(dividing) == ()


def test_volumes_and_their_voxels(volume, division):
    assert [s.division for s in suggested(volume)] == [division]
    far = np.array([1.0, 40.0, 1.0])
    assert suggested(volume, voxel_size=far, limits=DivisionLimits(reach=0.4)) == ()


def test_limits_that_cannot_be():
    with pytest.raises(ValueError, match="reach is a number of at least 0, got -1"):
        DivisionLimits(reach=-1)
