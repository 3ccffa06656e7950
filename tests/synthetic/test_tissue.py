"""Cells that fill the plane against distances computed the plain way."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2.synthetic.optics import Backdrop
from napari_hqsam2.synthetic.style import STILL, MotionStyle
from napari_hqsam2.synthetic.tissue import Tissue, largest_pieces, partition
from napari_hqsam2.synthetic.tissue_cast import TissueForm, cast_tissue

SIZE = (96, 120)


def plain_tissue(rng: np.random.Generator, cell: np.ndarray | None = None) -> Tissue:
    count = 40
    still = Backdrop.empty(SIZE, 0)
    return Tissue(
        yx=rng.uniform(-5, 125, (1, count, 2)),
        height=rng.uniform(-5, 5, (1, count)),
        weight=rng.uniform(2, 10, count),
        present=np.ones((1, count), bool),
        elongation=np.ones(count),
        angle=np.zeros(count),
        brightness=np.ones(count),
        texel_yx=np.zeros((count, 2)),
        cell=np.arange(count, dtype=np.int32) if cell is None else cell,
        filled=np.ones(count, bool),
        spacing=60.0,
        warp_y=still,
        warp_x=still,
        grain=0.0,
        gap=0.0,
    )


def distances(tissue: Tissue) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    dy = y[..., None] - tissue.yx[0, :, 0]
    dx = x[..., None] - tissue.yx[0, :, 1]
    return np.sqrt(dy**2 + dx**2 + tissue.height[0] ** 2) - tissue.weight


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_belongs_to_the_nearest_seed(seed: int) -> None:
    tissue = plain_tissue(np.random.default_rng(seed))
    found = partition(tissue, 0, SIZE, (0.0, 0.0))
    ordered = np.sort(distances(tissue), axis=2)
    sure = ordered[..., 1] - ordered[..., 0] > 1e-3
    np.testing.assert_array_equal(found.cell[sure], distances(tissue).argmin(2)[sure])
    gap = (ordered[..., 1] - ordered[..., 0]) / 2
    np.testing.assert_allclose(found.depth, gap, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_branches_have_no_wall_between_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell = np.arange(40, dtype=np.int32) // 4 * 4
    tissue = plain_tissue(rng, cell)
    found = partition(tissue, 0, SIZE, (0.0, 0.0))
    by_cell = distances(tissue).reshape(*SIZE, 10, 4).min(axis=3)
    ordered = np.sort(by_cell, axis=2)
    gap = (ordered[..., 1] - ordered[..., 0]) / 2
    sure = gap > 1e-3
    np.testing.assert_array_equal(found.cell[sure], by_cell.argmin(2)[sure] * 4)
    np.testing.assert_allclose(found.depth, gap, atol=1e-3)


def test_owner_is_one_piece_of_each_filled_cell() -> None:
    rng = np.random.default_rng(0)
    tissue, _ = cast_tissue(rng, SIZE, TissueForm(18.0, 0.3, 0.3, 0.4), STILL)
    found = partition(tissue, 0, SIZE, (0.0, 0.0))
    owned = found.owner > 0
    np.testing.assert_array_equal(found.owner[owned], found.cell[owned] + 1)
    np.testing.assert_array_equal(largest_pieces(found.owner), found.owner)
    assert owned.mean() > 0.5


def test_largest_pieces_drops_the_smaller_one() -> None:
    owner = np.zeros((6, 8), np.int32)
    owner[:2, :2], owner[4, 4:7], owner[0, 7] = 3, 5, 5
    expected = owner.copy()
    expected[0, 7] = 0
    np.testing.assert_array_equal(largest_pieces(owner), expected)


def test_divided_cells_are_replaced_by_two() -> None:
    style = MotionStyle(frames=6, division=1.0)
    rng = np.random.default_rng(1)
    tissue, parents = cast_tissue(rng, SIZE, TissueForm(30.0, 0.1, 0.0), style)
    mothers = set(parents.values())
    assert mothers
    for mother in mothers:
        daughters = [child for child, m in parents.items() if m == mother]
        assert len(daughters) == 2
        for child in daughters:
            alive = tissue.present[:, child]
            np.testing.assert_array_equal(alive, ~tissue.present[:, mother])
            assert alive.any()
