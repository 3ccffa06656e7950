"""Which masks of a grid of clicks become objects, and crops of large images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.segmentation.crops import OVERLAP, Crop, crops_of
from napari_hqsam2.segmentation.proposals import (
    Chooser,
    ProposalSettings,
    _first_of_each,
    grid_points,
    stability_scores,
)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(16, 900))
def test_crops_cover_the_image_and_overlap(height: int, width: int, side: int) -> None:
    crops = crops_of((height, width), side)
    assert len(set(crops)) == len(crops)
    for length, places in (
        (height, sorted({(c.top, c.top + c.height) for c in crops})),
        (width, sorted({(c.left, c.left + c.width) for c in crops})),
    ):
        assert places[0][0] == 0
        assert places[-1][1] == length
        for (_, stop), (start, _) in pairwise(places):
            assert stop - start >= int(OVERLAP * side) - 1
        assert all(stop - start == min(side, length) for start, stop in places)


def test_inner_sides_are_those_that_cut() -> None:
    crop = Crop(0, 10, 50, 40)
    assert crop.inner_sides((50, 60)) == (False, True, False, True)
    assert np.zeros((50, 60))[crop.window].shape == (50, 40)


@given(st.integers(1, 40))
def test_the_grid_is_whole_and_coarse_first(per_side: int) -> None:
    points = grid_points(per_side)
    whole = (np.arange(per_side) + 0.5) / per_side
    assert {(round(x, 4), round(y, 4)) for x, y in points.tolist()} == {
        (round(float(x), 4), round(float(y), 4)) for x in whole for y in whole
    }
    for step in (4, 2):
        if per_side % step == 0:
            coarse = points[: len(points) // step**2]
            index = np.round(coarse * per_side - 0.5).astype(int)
            assert (index % step == index[0, 0] % step).all()


def test_stability_counts_pixels_between_two_thresholds() -> None:
    logits = torch.tensor([[[2.0, 0.5], [-0.5, -2.0]], [[-3.0, -3.0], [-3.0, -3.0]]])
    assert stability_scores(logits).tolist() == [pytest.approx(1 / 3), 0]


def test_best_of_each_point() -> None:
    rows = torch.tensor([4, 0, 0, 4, 2])
    values = torch.tensor([0.1, 0.3, 0.2, 0.9, 0.5])
    assert _first_of_each(rows, values).tolist() == [1, 4, 3]


def disc(y: int, x: int, radius: int, side: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_chosen_objects_share_little() -> None:
    owners = np.zeros((64, 64), dtype=np.int32)
    chooser = Chooser(owners, max_overlap=0.25)
    assert chooser.takes(owners, disc(20, 20, 10))
    assert not chooser.takes(owners, disc(20, 21, 10)), "the same again"
    assert not chooser.takes(owners, disc(20, 20, 4)), "a part"
    assert not chooser.takes(owners, disc(30, 30, 28)), "it swallows the first"
    assert chooser.takes(owners, disc(20, 37, 9)), "a neighbour that overlaps a little"
    first, second = disc(20, 20, 10), disc(20, 37, 9)
    np.testing.assert_array_equal(owners == 1, first)
    np.testing.assert_array_equal(owners == 2, second & ~first)
    assert chooser.areas == [0, first.sum(), (second & ~first).sum()]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("points_per_side", 0, "at least 1"),
        ("min_area", -1, "at least 0"),
        ("min_stability", 1.5, "from 0 to 1"),
        ("max_overlap", -0.1, "from 0 to 1"),
    ],
)
def test_impossible_settings_say_what_is_possible(
    name: str, value: float, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"{name}={value} must be {allowed}"):
        ProposalSettings(**{name: value})
