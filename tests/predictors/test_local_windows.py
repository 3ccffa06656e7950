"""Where local tracking looks."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_hqsam2.predictors.local_windows import (
    LEAST_MARGIN,
    SIDES,
    WHOLE_GRID,
    CellBox,
    Sighting,
    Window,
    grown,
    next_window,
    touches_border,
    wider_window,
    window_around,
)

Grids = st.tuples(st.integers(4, 80), st.integers(4, 80))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[CellBox, tuple[int, int]]:
    """A box inside a grid, and the grid."""
    grid = draw(Grids)
    top, left = (draw(st.integers(0, length - 1)) for length in grid)
    bottom = draw(st.integers(top + 1, grid[0]))
    right = draw(st.integers(left + 1, grid[1]))
    return CellBox(top, left, bottom, right), grid


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, tuple[int, int]]:
    """A window inside a grid, and the grid."""
    grid = draw(st.tuples(st.integers(11, 80), st.integers(11, 80)))
    usable = [side for side in SIDES if side < WHOLE_GRID * min(grid)]
    assume(usable)
    side = draw(st.sampled_from(usable))
    top, left = (draw(st.integers(0, length - side)) for length in grid)
    return Window(top, left, side), grid


def is_sound(window: Window, grid: tuple[int, int]) -> bool:
    return (
        window.side in SIDES
        and window.side < WHOLE_GRID * min(grid)
        and 0 <= window.top <= grid[0] - window.side
        and 0 <= window.left <= grid[1] - window.side
    )


def covers(window: Window, box: CellBox) -> bool:
    return (
        window.top <= box.top
        and window.left <= box.left
        and box.bottom <= window.top + window.side
        and box.right <= window.left + window.side
    )


@given(boxes(), st.integers(0, 60))
def test_a_window_is_sound_and_holds_its_object(
    case: tuple[CellBox, tuple[int, int]], least: int
) -> None:
    box, grid = case
    window = window_around(box, grid, least_side=least)
    if window is None:
        needed = max(box.longer_side * 2, box.longer_side + 2 * LEAST_MARGIN, least)
        assert needed + 8 >= WHOLE_GRID * min(grid) or needed + 16 > SIDES[-1]
        return
    assert is_sound(window, grid)
    assert covers(window, box)
    assert window.side >= least
    assert not touches_border(box, window, grid)
    room = [
        (box.top - window.top, window.top == 0),
        (box.left - window.left, window.left == 0),
        (window.top + window.side - box.bottom, window.top + window.side == grid[0]),
        (window.left + window.side - box.right, window.left + window.side == grid[1]),
    ]
    assert all(cells >= LEAST_MARGIN - 1 or is_edge for cells, is_edge in room)


@given(windows(), st.integers(1, 8))
def test_a_grown_window_holds_the_old_one(
    case: tuple[Window, tuple[int, int]], steps: int
) -> None:
    window, grid = case
    larger = grown(window, grid, steps)
    if larger is not None:
        assert is_sound(larger, grid)
        assert SIDES.index(larger.side) == SIDES.index(window.side) + steps
        bottom, right = window.top + window.side, window.left + window.side
        assert covers(larger, CellBox(window.top, window.left, bottom, right))


@given(windows())
def test_a_lost_object_is_looked_for_ever_wider_until_everywhere(
    case: tuple[Window, tuple[int, int]],
) -> None:
    window, grid = case
    seen = [window.side]
    looked: Window | None = window
    while looked is not None:
        looked = next_window(Sighting(looked, None), 1, grid)
        seen += [] if looked is None else [looked.side]
        assert len(seen) <= len(SIDES)
    assert seen == sorted(set(seen))
    assert next_window(Sighting(None, None), 1, grid) is None


@given(boxes(), st.integers(1, 20))
def test_the_next_window_follows_the_object(
    case: tuple[CellBox, tuple[int, int]], gap: int
) -> None:
    box, grid = case
    tight = window_around(box, grid)
    window = next_window(Sighting(tight, box), gap, grid)
    if gap == 1:
        assert window == tight
    if window is not None:
        assert is_sound(window, grid)
        assert covers(window, box)
        assert tight is not None
        assert SIDES.index(window.side) == SIDES.index(tight.side) + gap - 1
    assert next_window(None, gap, grid) is None


def test_a_side_one_step_too_large_is_kept_and_a_larger_one_is_not() -> None:
    grid, box = (64, 64), CellBox(30, 30, 32, 32)
    sides = {
        last: next_window(Sighting(Window(20, 20, last), box), 1, grid)
        for last in (8, 12, 16, 20)
    }
    assert {last: w and w.side for last, w in sides.items()} == {
        8: 8, 12: 12, 16: 8, 20: 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        (CellBox(11, 11, 17, 17), False),
        (CellBox(10, 11, 17, 17), True),
        (CellBox(11, 10, 17, 17), True),
        (CellBox(11, 11, 18, 17), True),
        (CellBox(11, 11, 17, 18), True),
    ],
)
def test_touching_the_border(box: CellBox, touches: bool) -> None:
    assert touches_border(box, Window(10, 10, 8), (32, 32)) is touches


def test_the_border_of_the_image_does_not_count() -> None:
    grid = (20, 20)
    assert not touches_border(CellBox(0, 0, 4, 4), Window(0, 0, 8), grid)
    assert not touches_border(CellBox(16, 16, 20, 20), Window(12, 12, 8), grid)
    assert touches_border(CellBox(0, 4, 4, 8), Window(0, 0, 8), grid)


@given(windows())
def test_a_wider_window_moves_to_the_object(
    case: tuple[Window, tuple[int, int]],
) -> None:
    window, grid = case
    box = CellBox(window.top, window.left, window.top + 2, window.left + 2)
    wider = wider_window(box, window, grid)
    if wider is not None:
        assert is_sound(wider, grid)
        assert wider.side > window.side
        assert covers(wider, box)
        assert not touches_border(box, wider, grid)
