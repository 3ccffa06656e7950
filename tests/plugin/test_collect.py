import numpy as np
import pytest

from napari_hqsam2.errors import PromptError
from napari_hqsam2.plugin.axis_names import name_axes
from napari_hqsam2.plugin.collect import STROKE_POINTS
from napari_hqsam2.plugin.collect import collect_prompts as collect
from napari_hqsam2.plugin.snapshots import PointSet, Shape


def collect_prompts(axes, points, shapes, default_object=1):
    return tuple(item.prompts for item in collect(axes, points, shapes, default_object))


AXES = name_axes(("t", "y", "x"), (4, 20, 30))


def points(*rows, ids=None, positive=None):
    count = len(rows)
    return PointSet(
        np.array(rows, dtype=float).reshape(count, 3),
        np.array([True] * count if positive is None else positive, dtype=bool),
        tuple(ids or [1] * count),
    )


def box(t, y0, x0, y1, x1, **options):
    corners = [(t, y0, x0), (t, y0, x1), (t, y1, x1), (t, y1, x0)]
    return Shape("rectangle", np.array(corners, dtype=float), **options)


def polygon(t, *yx, **options):
    return Shape("polygon", np.array([(t, *v) for v in yx], dtype=float), **options)


def test_points_are_sorted_by_frame_and_object():
    chosen = points((2, 5, 6), (0, 1, 2), (2.4, 7, 8), ids=[1, 2, 1])
    prompts = collect_prompts(AXES, chosen, ())
    assert [(p.position, p.obj_id, len(p.points)) for p in prompts] == [
        ((0,), 2, 1),
        ((2,), 1, 2),
    ]
    assert prompts[1].points[1].y == 7.0


def test_box_and_points_of_one_object_go_together():
    chosen = points((1, 5, 6), positive=[False])
    (prompt,) = collect_prompts(AXES, chosen, [box(1, 2, 3, 9, 12, obj_id=1)])
    assert (prompt.box.y0, prompt.box.x1) == (2, 12)
    assert not prompt.points[0].positive


def test_boxes_without_object_are_objects_of_their_own():
    shapes = [box(0, 1, 1, 5, 5), box(0, 8, 8, 12, 12), box(0, 1, 9, 4, 14, obj_id=2)]
    prompts = collect_prompts(AXES, None, shapes)
    assert [p.obj_id for p in prompts] == [1, 2, 3]
    assert prompts[1].box.x0 == 9


def test_points_that_could_belong_to_several_boxes_are_refused():
    shapes = [box(0, 1, 1, 5, 5), box(0, 8, 8, 12, 12)]
    with pytest.raises(PromptError, match="do not say which object"):
        collect_prompts(AXES, points((0, 2, 2), ids=[0]), shapes)


def test_polygons_are_masks_and_negative_ones_are_cut_out():
    square = [(2, 2), (2, 12), (12, 12), (12, 2)]
    hole = [(5, 5), (5, 9), (9, 9), (9, 5)]
    (prompt,) = collect_prompts(
        AXES,
        None,
        [polygon(0, *square, obj_id=3), polygon(0, *hole, obj_id=3, positive=False)],
    )
    assert prompt.mask.shape == (20, 30)
    assert prompt.mask[3, 3]
    assert not prompt.mask[7, 7]


def test_negative_polygon_alone_is_refused():
    alone = polygon(0, (2, 2), (2, 9), (9, 9), obj_id=3, positive=False)
    with pytest.raises(PromptError, match="leaves nothing"):
        collect_prompts(AXES, None, [alone])


def test_strokes_are_points_along_the_line():
    stroke = Shape("path", np.array([(1, 2, 2), (1, 2, 10), (1, 10, 10)], dtype=float))
    (prompt,) = collect_prompts(AXES, None, [stroke])
    assert 2 <= len(prompt.points) <= STROKE_POINTS
    assert (prompt.points[0].y, prompt.points[0].x) == (2, 2)
    assert (prompt.points[-1].y, prompt.points[-1].x) == (10, 10)


def test_boxes_are_cut_to_the_image():
    (prompt,) = collect_prompts(AXES, None, [box(0, -5, -5, 6, 50)])
    assert (prompt.box.y0, prompt.box.x0, prompt.box.y1, prompt.box.x1) == (0, 0, 6, 30)


@pytest.mark.parametrize(
    ("chosen", "shapes", "message"),
    [
        (
            points((0, 25, 5)),
            (),
            r"Point 0 on T = 0 lies at \(y, x\) = \(25, 5\), outside",
        ),
        (points((9, 5, 5)), (), r"Point 0 lies at T = 9, outside the stack \(0 to 3\)"),
        (points((-1, 5, 5)), (), "outside the stack"),
        (points((0, np.nan, 5)), (), "not a number"),
        (None, [box(0, 40, 40, 50, 50)], r"Shape 0 \(rectangle\) on T = 0 .* outside"),
        (None, [box(0, 3, 3, 3, 9)], "area"),
        (None, [box(0, 3, 3, 6, 9, positive=False)], "negative box"),
        (
            None,
            [box(0, 1, 1, 5, 5, obj_id=1), box(0, 8, 8, 12, 12, obj_id=1)],
            "second box for object 1",
        ),
        (None, [polygon(0, (40, 40), (40, 50), (50, 50))], "holds no pixel"),
        (
            None,
            [Shape("line", np.array([(0, 1, 1), (2, 5, 5)], dtype=float))],
            "spans several frames",
        ),
        (
            points((0, 3, 3)),
            [polygon(0, (2, 2), (2, 9), (9, 9), obj_id=1)],
            "a mask and clicks",
        ),
    ],
)
def test_unusable_prompts_are_refused_by_name(chosen, shapes, message):
    with pytest.raises(PromptError, match=message):
        collect_prompts(AXES, chosen, shapes)


def test_single_image_has_no_leading_index():
    axes = name_axes(("y", "x"), (20, 30))
    chosen = PointSet(np.array([[3.0, 4.0]]), np.array([True]), (1,))
    (prompt,) = collect_prompts(axes, chosen, ())
    assert prompt.position == ()


def test_prompts_know_what_they_were_drawn_as():
    chosen = points((2, 5, 6), (0, 1, 2), (2, 7, 8), ids=[1, 2, 1])
    shapes = [box(0, 1, 1, 5, 5, obj_id=2), box(2, 1, 1, 9, 9, obj_id=1)]
    drawn = [(d.point_indices, d.shape_indices) for d in collect(AXES, chosen, shapes)]
    assert drawn == [((1,), (0,)), ((0, 2), (1,))]
