"""Components and areas against a plain flood fill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_hqsam2.ops import connected_components as components
from napari_hqsam2.ops.connected_components import (
    connected_components,
    small_components,
)
from napari_hqsam2.predictors.postprocess import (
    fill_holes,
    keep_largest_logit,
    remove_islands,
)

MASKS = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


def flood(mask: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    found, waiting = {start}, [start]
    while waiting:
        y, x = waiting.pop()
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
                if inside and mask[near] and near not in found:
                    found.add(near)
                    waiting.append(near)
    return found


@given(MASKS)
def test_labels_and_areas(masks: np.ndarray) -> None:
    labels, areas = connected_components(torch.from_numpy(masks))
    assert labels.dtype == areas.dtype == torch.int32
    for mask, label, area in zip(masks, labels.numpy(), areas.numpy(), strict=True):
        assert np.array_equal(label > 0, mask)
        for y, x in np.argwhere(mask):
            component = flood(mask, (int(y), int(x)))
            assert {tuple(p) for p in np.argwhere(label == label[y, x])} == component
            assert area[y, x] == len(component)
        assert (area[~mask] == 0).all()


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, H, W\) boolean"):
        connected_components(torch.zeros(4, 4))


def test_holes_are_filled_up_to_their_area_even_at_the_border() -> None:
    logits = torch.full((1, 1, 8, 8), 3.0)
    logits[0, 0, 2, 2] = -1.0
    logits[0, 0, 0, 5:7] = -1.0
    logits[0, 0, 4:7, 4:7] = -1.0
    filled = fill_holes(logits, 2)
    assert filled[0, 0, 2, 2] == pytest.approx(0.1)
    assert (filled[0, 0, 0, 5:7] > 0).all()
    assert (filled[0, 0, 4:7, 4:7] < 0).all()
    assert torch.equal(fill_holes(logits, 0), logits)
    islands = remove_islands(-logits, 2)
    assert islands[0, 0, 2, 2] == -10.0
    assert (islands[0, 0, 4:7, 4:7] > 0).all()


def test_the_largest_logit_wins() -> None:
    logits = torch.tensor([[[[1.0, 5.0, -2.0]]], [[[2.0, 4.0, -3.0]]]])
    kept = keep_largest_logit(logits)
    assert kept[:, 0, 0].tolist() == [[-10.0, 5.0, -2.0], [2.0, -10.0, -10.0]]


def test_labels_count_in_raster_order_within_each_mask() -> None:
    text = ["..#.#", "#.#..", "#...#"]
    mask = torch.tensor([[char == "#" for char in line] for line in text])
    labels, areas = connected_components(torch.stack((mask, mask.flip(0), ~mask)))
    assert labels[0].tolist() == [[0, 0, 1, 0, 2], [3, 0, 1, 0, 0], [3, 0, 0, 0, 4]]
    assert labels[1].tolist() == [[1, 0, 0, 0, 2], [1, 0, 3, 0, 0], [0, 0, 3, 0, 4]]
    assert areas[0].tolist() == [[0, 0, 2, 0, 1], [2, 0, 2, 0, 0], [2, 0, 0, 0, 1]]
    assert labels[2].max() == 1


@given(MASKS, st.integers(0, 9), st.integers(1, 100))
def test_small_components_are_those_of_small_area(
    masks: np.ndarray, area: int, at_once: int
) -> None:
    mask = torch.from_numpy(masks)
    labels, areas = connected_components(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "PIXELS_AT_ONCE", at_once)
        small = small_components(mask, area)
        in_parts = connected_components(mask)
    assert torch.equal(small, (areas > 0) & (areas <= area))
    assert torch.equal(in_parts[0], labels)
    assert torch.equal(in_parts[1], areas)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_nothing_has_no_components(shape: tuple[int, int, int]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    for result in connected_components(mask):
        assert result.shape == shape
    assert small_components(mask, 3).shape == shape
