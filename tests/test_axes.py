"""Axis letters are checked, and guessed only where one reading is likely."""

from __future__ import annotations

import pytest

from napari_hqsam2.axes import StackAxes, resolve_axes
from napari_hqsam2.errors import StackError


@pytest.mark.parametrize(
    ("shape", "letters"),
    [
        ((5, 6), "YX"),
        ((7, 64, 48), "TYX"),
        ((7, 64, 48, 3), "TYXC"),
        ((7, 64, 48, 4), "TYXC"),
        ((2, 7, 64, 48), "TZYX"),
    ],
)
def test_guesses(shape, letters):
    assert resolve_axes(shape).letters == letters


@pytest.mark.parametrize("shape", [(64, 48, 3), (64, 48, 4), (64,), (2, 2, 2, 9, 9)])
def test_unclear_shapes_are_not_guessed(shape):
    with pytest.raises(StackError, match="axes='"):
        resolve_axes(shape)


def test_a_stack_knows_its_parts():
    axes = resolve_axes((2, 3, 7, 64, 48), "tczyx")
    assert axes.letters == "TCZYX"
    assert (axes.leading, axes.leading_shape) == ("TZ", (2, 7))
    assert (axes.hw, axes.num_frames) == ((64, 48), 14)
    assert (axes.labels_letters, axes.labels_shape) == ("TZYX", (2, 7, 64, 48))
    assert axes.where((1, 5)) == "T=1, Z=5"


def test_frames_may_lie_anywhere():
    axes = resolve_axes((64, 48, 7), "YXZ")
    assert (axes.labels_letters, axes.labels_shape) == ("ZYX", (7, 64, 48))


@pytest.mark.parametrize(
    ("letters", "problem"),
    [
        ("TYX", "names 3 axes but the array has 4"),
        ("TTYX", "names an axis twice"),
        ("TZCX", "must hold Y and X"),
        ("T1YX", "upper-case letters only"),
        ("TÄYX", "upper-case letters only"),
    ],
)
def test_letters_that_do_not_fit_are_refused(letters, problem):
    with pytest.raises(StackError, match=problem):
        resolve_axes((2, 3, 4, 5), letters)


def test_an_empty_array_is_refused():
    with pytest.raises(StackError, match="empty: T=0, Y=8, X=8"):
        resolve_axes((0, 8, 8))


@pytest.mark.parametrize(
    ("letters", "shape", "axis", "expected"),
    [
        ("TZYX", (2, 3, 8, 8), None, "Z"),
        ("TZYX", (2, 1, 8, 8), None, "T"),
        ("TZYX", (1, 1, 8, 8), None, "Z"),
        ("TZYX", (2, 3, 8, 8), "T", "T"),
        ("TZYX", (2, 3, 8, 8), "t", "T"),
        ("CTYX", (2, 3, 8, 8), None, "T"),
    ],
)
def test_propagation_axis(letters, shape, axis, expected):
    assert StackAxes(letters, shape).propagation_axis(axis) == expected


@pytest.mark.parametrize("axis", ["C", "Y", "P", "TZ", ""])
def test_other_axes_cannot_be_followed_along(axis):
    axes = StackAxes("TZYXC", (2, 3, 8, 8, 3))
    with pytest.raises(StackError, match="choose one of T, Z"):
        axes.propagation_axis(axis)


def test_a_single_frame_has_no_axis_to_follow():
    with pytest.raises(StackError, match="Use segment_image"):
        StackAxes("YXC", (8, 8, 3)).propagation_axis()
