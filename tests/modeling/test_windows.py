"""Windows of the feature grid against slices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.modeling.windows import GridWindows, at_cells


@st.composite
def windows(draw: st.DrawFn) -> GridWindows:
    """One to four windows anywhere in a grid, borders included."""
    grid = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    side = draw(st.integers(1, min(grid)))
    corner = st.tuples(*(st.integers(0, length - side) for length in grid))
    corners = draw(st.lists(corner, min_size=1, max_size=4))
    top, left = torch.tensor(corners).T
    return GridWindows(top, left, side, grid)


def slices(part: GridWindows, row: int, scale: int) -> tuple[slice, slice]:
    top, left, side = int(part.top[row]), int(part.left[row]), part.side
    return (
        slice(scale * top, scale * (top + side)),
        slice(scale * left, scale * (left + side)),
    )


def maps_on(part: GridWindows, count: int, scale: int) -> torch.Tensor:
    height, width = part.grid
    size = (count, 3, scale * height, scale * width)
    return torch.arange(float(torch.Size(size).numel())).reshape(size)


@given(windows(), st.integers(1, 4), st.booleans())
def test_crop(part: GridWindows, scale: int, shared: bool) -> None:
    maps = maps_on(part, 1 if shared else len(part), scale)
    got = part.crop(maps)
    assert got.shape == (len(part), 3, scale * part.side, scale * part.side)
    for row in range(len(part)):
        where = slices(part, row, scale)
        assert torch.equal(got[row], maps[0 if shared else row][:, *where])


@given(windows(), st.integers(1, 4))
def test_paste(part: GridWindows, scale: int) -> None:
    whole = maps_on(part, len(part), scale)
    got = part.paste(part.crop(whole), -7.0)
    assert got.shape == whole.shape
    for row in range(len(part)):
        expected = torch.full_like(whole[row], -7.0)
        where = slices(part, row, scale)
        expected[:, *where] = whole[row][:, *where]
        assert torch.equal(got[row], expected)


@given(windows())
def test_cells(part: GridWindows) -> None:
    height, width = part.grid
    tokens = torch.arange(height * width * 2).reshape(1, -1, 2)
    maps = tokens.transpose(1, 2).unflatten(2, part.grid)
    cropped = part.crop(maps).flatten(2).transpose(1, 2)
    assert torch.equal(at_cells(tokens, part.index()), cropped)
    own = tokens.repeat(len(part), 1, 1)
    assert torch.equal(at_cells(own, part.index()), cropped)


@given(windows())
def test_some_objects(part: GridWindows) -> None:
    assert torch.equal(part[1:].index(), part.index()[1:])
    last = torch.tensor([len(part) - 1, 0])
    assert torch.equal(part[last].index(), part.index()[last])


def test_what_cannot_be() -> None:
    corner = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="5 x 5 cells does not fit into a grid of 4"):
        GridWindows(corner, corner, 5, (4, 9))
    with pytest.raises(ValueError, match="0 x 0"):
        GridWindows(corner, corner, 0, (4, 9))
    part = GridWindows(corner, corner, 2, (4, 9))
    with pytest.raises(ValueError, match=r"7 pixels high .* multiple of 4"):
        part.crop(torch.zeros(1, 1, 7, 9))
    with pytest.raises(ValueError, match=r"3 pixels high .* multiple of 2"):
        part.paste(torch.zeros(1, 1, 3, 3), 0.0)
