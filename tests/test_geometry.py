"""Coordinate conversions are exact, invertible and refuse what lies outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2 import geometry
from napari_hqsam2.errors import PromptError
from napari_hqsam2.prompts import BoxPrompt, PointPrompt

sizes = st.integers(1, 20_000)
input_sizes = st.sampled_from([256, 512, 1024])
coordinates = st.floats(-1e5, 1e5, allow_nan=False)
pairs = st.lists(st.tuples(coordinates, coordinates), min_size=0, max_size=8)


def as_pairs(values: list[tuple[float, float]]) -> np.ndarray:
    return np.array(values, dtype=float).reshape(-1, 2)


@given(pairs, sizes, sizes, input_sizes)
def test_points_come_back_unchanged(values, height, width, input_size):
    yx = as_pairs(values)
    xy = geometry.data_yx_to_sam_xy(yx, (height, width), input_size)
    back = geometry.sam_xy_to_data_yx(xy, (height, width), input_size)
    np.testing.assert_allclose(back, yx, atol=1e-6)


@given(st.floats(-0.5, 1.0), sizes, sizes, input_sizes)
def test_a_place_on_the_image_is_the_same_place_on_the_network_input(
    fraction, height, width, input_size
):
    """The prompt encoder samples at p * S / W + 0.5 input pixels from the left edge."""
    y, x = fraction * height - 0.5, fraction * width - 0.5
    ((p_x, p_y),) = geometry.data_yx_to_sam_xy([(y, x)], (height, width), input_size)
    seen_x = (p_x * input_size / width + 0.5) / input_size
    seen_y = (p_y * input_size / height + 0.5) / input_size
    assert seen_x == pytest.approx(fraction, abs=1e-9)
    assert seen_y == pytest.approx(fraction, abs=1e-9)


def test_coordinates_are_those_of_sam_if_the_image_has_the_size_of_the_input():
    xy = geometry.data_yx_to_sam_xy([(3.0, 7.0)], (512, 512), 512)
    np.testing.assert_array_equal(xy, [(7.0, 3.0)])


def test_no_points_keep_their_shape():
    assert geometry.data_yx_to_sam_xy(np.zeros((0, 2)), (9, 9), 512).shape == (0, 2)


def test_coordinates_of_another_shape_are_refused():
    with pytest.raises(PromptError, match=r"shape \(N, 2\), got \(3,\)"):
        geometry.data_yx_to_sam_xy([1.0, 2.0, 3.0], (9, 9), 512)


corners = st.tuples(st.integers(-50, 500), st.integers(1, 500))


@given(corners, corners, sizes, sizes, input_sizes)
def test_whole_pixel_boxes_come_back_unchanged(
    vertical, horizontal, height, width, input_size
):
    (y0, rows), (x0, columns) = vertical, horizontal
    box = BoxPrompt(y0, x0, y0 + rows, x0 + columns)
    xyxy = geometry.box_to_sam_xyxy(box, (height, width), input_size)
    back = geometry.sam_xyxy_to_box(xyxy, (height, width), input_size)
    np.testing.assert_allclose(
        (back.y0, back.x0, back.y1, back.x1),
        (box.y0, box.x0, box.y1, box.x1),
        atol=1e-6,
    )


def test_box_corners_lie_on_the_outermost_pixel_centres():
    xyxy = geometry.box_to_sam_xyxy(BoxPrompt(3, 10, 8, 30), (512, 512), 512)
    np.testing.assert_array_equal(xyxy, (10, 3, 29, 7))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(2.5, 7.5, id="along-pixel-edges"),
        pytest.param(3.0, 8.0, id="half-open-indices"),
        pytest.param(2.7, 7.2, id="between"),
    ],
)
def test_drawn_rectangles_hold_the_pixels_whose_centres_they_hold(low, high):
    vertices = [(high, low), (low, low), (low, high), (high, high)]
    box = geometry.rectangle_to_box(vertices)
    assert geometry.box_pixels(box) == (3, 3, 8, 8)


@pytest.mark.parametrize("error", [-1e-5, 0.0, 1e-5])
def test_rounding_in_the_transforms_of_layers_moves_no_edge(error):
    box = BoxPrompt(3 + error, 4 - error, 8 - error, 9 + error)
    assert geometry.box_pixels(box) == (3, 4, 8, 9)
    corners = geometry.box_to_sam_xyxy(box, (20, 30), 64)
    exact = geometry.box_to_sam_xyxy(BoxPrompt(3, 4, 8, 9), (20, 30), 64)
    np.testing.assert_array_equal(corners, exact)


def test_a_rotated_rectangle_becomes_the_box_around_it():
    box = geometry.rectangle_to_box([(0, 5), (5, 10), (10, 5), (5, 0)])
    assert (box.y0, box.x0, box.y1, box.x1) == (0, 0, 10, 10)


@given(corners, corners)
def test_boxes_come_back_from_their_rectangles(vertical, horizontal):
    (y0, rows), (x0, columns) = vertical, horizontal
    box = BoxPrompt(y0, x0, y0 + rows, x0 + columns)
    assert geometry.rectangle_to_box(geometry.box_to_rectangle(box)) == box


def test_one_corner_is_no_rectangle():
    with pytest.raises(PromptError, match="at least two opposite corners, got 1"):
        geometry.rectangle_to_box([(1.0, 2.0)])


def test_a_rectangle_without_area_is_refused():
    with pytest.raises(PromptError, match="y0 < y1 and x0 < x1"):
        geometry.rectangle_to_box([(1.0, 2.0), (1.0, 5.0)])


def test_a_box_between_pixel_centres_is_refused():
    with pytest.raises(PromptError, match="holds no pixel"):
        geometry.box_pixels(BoxPrompt(3.2, 0, 3.8, 10))


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=6),
)
def test_the_box_of_a_mask_holds_it_and_touches_it_on_each_side(height, width, pixels):
    mask = np.zeros((height, width), dtype=bool)
    for row, column in pixels:
        mask[row % height, column % width] = True
    box = geometry.mask_to_box(mask)
    if not pixels:
        assert box is None
        return
    assert box is not None
    top, left, bottom, right = geometry.box_pixels(box)
    inside = mask[top:bottom, left:right]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


@pytest.mark.parametrize(
    ("y", "x"), [(-0.5, 0), (0, -0.5), (9.5, 0), (0, 19.5), (9, 19)]
)
def test_points_on_the_outermost_pixels_are_fine(y, x):
    geometry.check_point(PointPrompt(y, x), (10, 20))


@pytest.mark.parametrize(("y", "x"), [(-0.6, 0), (0, -0.6), (9.6, 0), (0, 19.6)])
def test_points_outside_are_refused_with_coordinates_and_size(y, x):
    with pytest.raises(PromptError, match=r"10 x 20 pixels") as caught:
        geometry.check_point(PointPrompt(y, x), (10, 20))
    assert f"({y:g}, {x:g})" in str(caught.value)


def test_boxes_are_cut_to_the_image():
    assert geometry.clip_box(BoxPrompt(-5, 4, 30, 99), (10, 20)) == BoxPrompt(
        0, 4, 10, 20
    )


@pytest.mark.parametrize(
    "box",
    [
        BoxPrompt(-9, 0, -0.5, 5),
        BoxPrompt(0, -9, 5, 0),
        BoxPrompt(10, 0, 15, 5),
        BoxPrompt(0, 20, 5, 25),
        BoxPrompt(9.5, 0, 12, 5),
    ],
)
def test_boxes_without_a_pixel_of_the_image_are_refused(box):
    with pytest.raises(PromptError, match="outside the image of 10 x 20 pixels"):
        geometry.clip_box(box, (10, 20))


@given(st.floats(-30, 30), st.floats(0.1, 40), st.floats(-30, 30), st.floats(0.1, 40))
def test_cutting_keeps_exactly_the_pixels_on_the_image(y0, rows, x0, columns):
    box = BoxPrompt(y0, x0, y0 + rows, x0 + columns)
    row, column = np.mgrid[:10, :20]
    y0, x0, y1, x1 = (edge - geometry.SNAP for edge in (box.y0, box.x0, box.y1, box.x1))
    inside = (row >= y0) & (row < y1) & (column >= x0) & (column < x1)
    if not inside.any():
        with pytest.raises(PromptError):
            geometry.clip_box(box, (10, 20))
        return
    top, left, bottom, right = geometry.box_pixels(geometry.clip_box(box, (10, 20)))
    expected = np.zeros_like(inside)
    expected[top:bottom, left:right] = True
    assert top >= 0
    assert left >= 0
    assert bottom <= 10
    assert right <= 20
    np.testing.assert_array_equal(inside, expected)
