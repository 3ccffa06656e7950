"""CSV files become prompts: simple tables and napari's own exports."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import PromptError
from napari_hqsam2.prompt_tables import read_prompts
from napari_hqsam2.prompts import BoxPrompt, PointPrompt

TYX = StackAxes("TYX", (10, 32, 48))
TZYX = StackAxes("TZYX", (4, 10, 32, 48))


@pytest.fixture
def table(tmp_path):
    def write(text: str, name: str = "prompts.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_simple_table_of_points(table):
    path = table(
        "t,y,x,object_id,label\n3,4.5,6,2,positive\n3,7,8,2,negative\n0,1,2,1,1\n"
    )
    first, second = read_prompts(TYX, points=path)
    assert (first.position, first.obj_id) == ((0,), 1)
    assert (second.position, second.obj_id) == ((3,), 2)
    assert second.points == (PointPrompt(4.5, 6), PointPrompt(7, 8, positive=False))


def test_case_spaces_order_of_columns_and_a_byte_order_mark_do_not_matter(table):
    path = table("\ufeffX, Y ,T,Label\n1,2,3, NEG \n4,5,6,+\n")
    first, second = read_prompts(TYX, points=path)
    assert first.points == (PointPrompt(2, 1, positive=False),)
    assert (second.position, second.points) == ((6,), (PointPrompt(5, 4),))


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_what_is_between_columns(table, between):
    path = table("t,y,x,label\n3,4.5,6,negative\n".replace(",", between))
    (prompt,) = read_prompts(TYX, points=path)
    assert prompt.points == (PointPrompt(4.5, 6, positive=False),)


def test_decimal_commas_and_missing_columns_are_told(table):
    with pytest.raises(PromptError, match="column 'y' must be a number, got '4,5'"):
        read_prompts(TYX, points=table("t;y;x\n3;4,5;6\n"))
    with pytest.raises(PromptError, match=r"no column 'x'; the columns are t, y, ex\."):
        read_prompts(TYX, points=table("t,y,ex\n3,4,5\n"))


def test_text_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes("t,y,x,Größe\n0,1,2,3\n".encode("latin-1"))
    with pytest.raises(PromptError, match=r"points\.csv is no text in UTF-8 .*save it"):
        read_prompts(TYX, points=path)


def test_rows_without_ids_are_objects_of_their_own(table):
    points = table("t,y,x\n0,1,1\n0,2,2\n", "points.csv")
    boxes = table("t,y0,x0,y1,x1,object_id\n0,1,1,5,5,2\n", "boxes.csv")
    free = table("t,y0,x0,y1,x1\n0,1,1,5,5\n", "free.csv")
    assert [p.obj_id for p in read_prompts(TYX, points=points)] == [1, 2]
    # ids that the boxes name are left to them
    assert [p.obj_id for p in read_prompts(TYX, points=points, boxes=boxes)] == [
        1,
        2,
        3,
    ]
    assert [p.obj_id for p in read_prompts(TYX, points=points, boxes=free)] == [1, 2, 3]


def test_points_and_box_of_one_object_on_one_frame_come_together(table):
    points = table("t,y,x,object_id\n4,1,1,7\n", "points.csv")
    boxes = table("t,y0,x0,y1,x1,object_id\n4,0,0,5,6,7\n", "boxes.csv")
    (prompt,) = read_prompts(TYX, points=points, boxes=boxes)
    assert prompt.box == BoxPrompt(0, 0, 5, 6)
    assert prompt.points == (PointPrompt(1, 1),)


def test_a_column_of_an_axis_of_length_one_may_be_left_out(table):
    axes = StackAxes("TZYX", (1, 10, 32, 48))
    path = table("z,y,x\n5,1,1\n")
    assert read_prompts(axes, points=path)[0].position == (0, 5)
    with pytest.raises(PromptError, match="column 't' is missing; the stack has T=4"):
        read_prompts(TZYX, points=path)


def test_frames_are_rounded_to_the_nearest(table):
    path = table("t,z,y,x\n2.9999,5.4,1,1\n")
    assert read_prompts(TZYX, points=path)[0].position == (3, 5)


@pytest.mark.parametrize("axes", [TYX, StackAxes("TYXC", (10, 32, 48, 3))])
def test_points_that_napari_exported(tmp_path, axes):
    from napari.layers import Points  # noqa: PLC0415
    from napari_builtins.io import napari_write_points  # noqa: PLC0415

    layer = Points(
        [[0, 3, 4], [2, 5, 6]],
        features={"label": ["positive", "negative"], "object_id": [1, 2]},
    )
    data, metadata, _ = layer.as_layer_data_tuple()
    path = tmp_path / "points.csv"
    napari_write_points(str(path), data, metadata)
    first, second = read_prompts(axes, points=path)
    assert (first.position, first.obj_id) == ((0,), 1)
    assert first.points == (PointPrompt(3, 4),)
    assert second.points == (PointPrompt(5, 6, positive=False),)


def test_rectangles_that_napari_exported(tmp_path):
    from napari.layers import Shapes  # noqa: PLC0415
    from napari_builtins.io import napari_write_shapes  # noqa: PLC0415

    corners = np.array([(2, 1, 3), (2, 1, 9), (2, 6, 9), (2, 6, 3)], dtype=float)
    layer = Shapes([corners, np.add(corners, [1, 2, 2])], shape_type="rectangle")
    data, metadata, _ = layer.as_layer_data_tuple()
    path = tmp_path / "shapes.csv"
    napari_write_shapes(str(path), data, metadata)
    first, second = read_prompts(TYX, boxes=path)
    assert (first.position, first.obj_id) == ((2,), 1)
    assert first.box == BoxPrompt(1, 3, 6, 9)
    assert (second.position, second.box) == ((3,), BoxPrompt(3, 5, 8, 11))


def test_points_exported_with_a_channel_axis_lose_it(table):
    axes = StackAxes("TCYX", (10, 2, 32, 48))
    path = table("index,axis-0,axis-1,axis-2,axis-3\n0,7,1,3,4\n")
    (prompt,) = read_prompts(axes, points=path)
    assert (prompt.position, prompt.points) == ((7,), (PointPrompt(3, 4),))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("t,y,x\n0,1,here\n", "line 2: column 'x' must be a number, got 'here'"),
        ("t,y,x\n0,1,nan\n", "column 'x' must be a number"),
        ("t,y\n0,1\n", "no column 'x'; the columns are t, y"),
        ("t,y,x\n0,1,\n", "column 'x' must be a number, got ''"),
        ("t,y,x\n0,1,1\n0,1\n", "line 3: column 'x'"),
        ("t,y,x,object_id\n0,1,1,0\n", "object_id must be a whole number of 1"),
        ("t,y,x,object_id\n0,1,1,1.5\n", "object_id must be a whole number of 1"),
        ("t,y,x,label\n0,1,1,maybe\n", "positive or negative, got 'maybe'"),
        ("index,axis-0,axis-1\n0,1,1\n", "has 2 coordinates, but the stack needs 3"),
    ],
)
def test_points_that_cannot_be_understood_are_named(table, text, problem):
    with pytest.raises(PromptError, match=problem):
        read_prompts(TYX, points=table(text))


SHAPES = "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("t,y0,x0,y1,x1\n0,5,5,5,9\n", "line 2: A box needs y0 < y1"),
        (
            "t,y0,x0,y1,x1,object_id\n0,1,1,5,5,3\n0,2,2,5,5,3\n",
            "line 3: object 3 already has a box",
        ),
        (SHAPES + "0,ellipse,0,0,1,1\n", "a box is a rectangle, got .* 'ellipse'"),
        (
            SHAPES + "0,rectangle,0,0,1,1\n0,rectangle,1,1,5,5\n",
            "corners of this rectangle lie on different frames",
        ),
        (SHAPES + "0,rectangle,0,0,1,1\n", "line 2: .* at least two opposite corners"),
    ],
)
def test_boxes_that_cannot_be_understood_are_named(table, text, problem):
    with pytest.raises(PromptError, match=problem):
        read_prompts(TYX, boxes=table(text))


def test_no_file_is_refused():
    with pytest.raises(PromptError, match="give a CSV file"):
        read_prompts(TYX)


def test_a_column_of_an_axis_that_the_stack_has_not(table):
    image = StackAxes("YXC", (32, 48, 3))
    (prompt,) = read_prompts(image, points=table("t,z,y,x\n0,0,1,2\n"))
    assert prompt.position == ()
    with pytest.raises(PromptError, match="column 'z' is 3, but the stack has no Z"):
        read_prompts(TYX, points=table("t,z,y,x\n1,3,1,2\n"))
