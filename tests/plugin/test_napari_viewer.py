"""The real layers of napari, without Qt."""

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.label_view import LabelWrite
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.predictors.multiscale import Multiscale
from napari_hqsam2.session.records import FrameScores

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")

FLAT = {
    "scale": (3.0, 0.5, 0.25),
    "translate": (6.0, -20.0, 11.0),
    "rotate": [[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]],
    "shear": [0, 0, 0.3],
    "affine": np.array(
        [[1, 0, 0, 2], [0, 1.5, 0.2, -3], [0, 0, 0.5, 9], [0, 0, 0, 1.0]]
    ),
}
"""A transform that leaves frames frames."""


def add_image(viewer, shape=(5, 20, 30), **options):
    return viewer.add_image(np.zeros(shape, dtype=np.uint8), **options)


@pytest.mark.parametrize("options", [{}, FLAT])
def test_labels_and_prompts_lie_exactly_on_the_image(options):
    viewer = ViewerModel()
    units = ("s", "um", "um")
    image = add_image(viewer, **options, units=units, axis_labels=("t", "y", "x"))
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(image)
    labels = port.add_labels(image)
    for layer in (points, shapes, labels):
        assert layer.axis_labels == ("t", "y", "x")
        assert layer.units == image.units
        for corner in np.ndindex(2, 2, 2):
            expected = image.data_to_world(corner)
            assert layer.data_to_world(corner) == pytest.approx(expected)
    assert port.snapshot_labels(labels, image).is_aligned


def test_points_on_large_images_do_not_hide_what_they_are_on():
    viewer = ViewerModel()
    data = np.zeros((4000, 4000), dtype=np.uint8)
    points, shapes = NapariViewer(viewer).add_prompt_layers(viewer.add_image(data))
    assert list(viewer.layers)[1:] == [points, shapes]  # the other way round, Mesa dies
    least, most = points.canvas_size_limits
    assert 0 < least < most < 20


def test_prompts_with_any_transform_land_where_they_are_seen():
    viewer = ViewerModel()
    image = add_image(viewer, **FLAT)
    points = viewer.add_points(np.zeros((1, 3)))
    port = NapariViewer(viewer)
    places = st.tuples(st.integers(0, 4), st.floats(0, 19), st.floats(0, 29))

    @settings(max_examples=25, deadline=None)
    @given(
        st.tuples(*[st.floats(0.1, 10)] * 3),
        st.tuples(*[st.floats(-100, 100)] * 3),
        st.floats(-180, 180),
        st.floats(-1, 1),
        places,
    )
    def check(scale, translate, angle, shear, place):
        points.scale, points.translate = scale, translate
        points.rotate = (0.0, 0.0, angle)
        points.shear = [0, 0, shear]
        points.data = [points.world_to_data(image.data_to_world(place))]
        found = port.snapshot_points(points, image).coordinates
        np.testing.assert_allclose(found, [place], atol=1e-4)

    check()


def test_units_of_layers_may_differ():
    viewer = ViewerModel()
    if not hasattr(viewer.dims, "units"):
        pytest.skip("this napari shows all layers as if in the same unit")
    image = add_image(viewer, (20, 30), scale=(0.5, 0.5), units=("um", "um"))
    points = viewer.add_points([[2000, 3000]], units=("nm", "nm"))
    found = NapariViewer(viewer).snapshot_points(points, image).coordinates
    np.testing.assert_allclose(found, [[4, 6]])


def test_incomparable_units_are_taken_as_they_are_shown():
    viewer = ViewerModel()
    image = add_image(viewer, (20, 30), units=("um", "um"))
    points = viewer.add_points([[4, 6]])
    found = NapariViewer(viewer).snapshot_points(points, image).coordinates
    np.testing.assert_allclose(found, [[4, 6]])


def test_flat_prompts_lie_on_the_frame_on_show():
    viewer = ViewerModel()
    image = add_image(viewer, (3, 5, 20, 30))
    points = viewer.add_points([[4, 6]])
    deep = viewer.add_points([[2, 4, 6]])
    viewer.dims.current_step = (1, 3, 0, 0)
    port = NapariViewer(viewer)
    assert port.snapshot_points(points, image).coordinates.tolist() == [[1, 3, 4, 6]]
    assert port.snapshot_points(deep, image).coordinates.tolist() == [[1, 2, 4, 6]]


def test_prompts_with_more_axes_than_the_image():
    viewer = ViewerModel()
    image = add_image(viewer, (20, 30), translate=(1, 1))
    points = viewer.add_points([[7, 4, 6]])
    found = NapariViewer(viewer).snapshot_points(points, image).coordinates
    assert found.tolist() == [[3, 5]]


def test_empty_prompt_layers_are_read():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(image)
    assert len(port.snapshot_points(points, image)) == 0
    assert port.snapshot_shapes(shapes, image) == ()


def test_channels_are_dropped_from_prompts_and_labels():
    viewer = ViewerModel()
    image = add_image(
        viewer,
        (2, 5, 20, 30),
        axis_labels=("c", "t", "y", "x"),
        scale=(1, 2, 0.5, 0.5),
    )
    port = NapariViewer(viewer)
    points, _ = port.add_prompt_layers(image)
    points.add([[3, 4, 6]])
    labels = port.add_labels(image)
    viewer.dims.set_current_step(1, 2)
    assert points.ndim == 3
    assert port.snapshot_points(points, image).coordinates.tolist() == [[3, 4, 6]]
    assert labels.data.shape == (5, 20, 30)
    assert labels.scale.tolist() == [2, 0.5, 0.5]
    assert port.snapshot_labels(labels, image).is_aligned
    assert port.current_position(image) == (2,)


def test_channels_that_are_turned_into_space_are_refused():
    viewer = ViewerModel()
    image = add_image(
        viewer, (2, 20, 30), axis_labels=("c", "y", "x"), rotate=(0, 0, 30)
    )
    image.rotate = [[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]]
    with pytest.raises(StackError, match="along its channel axis"):
        NapariViewer(viewer).add_labels(image)


def test_rgb_frames_have_no_channel_axis_of_their_own():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 20, 30, 3), dtype=np.uint8), rgb=True)
    port = NapariViewer(viewer)
    snapshot = port.snapshot_image(image)
    assert snapshot.axes.stack.letters == "TYXC"
    assert snapshot.contrast_limits is None
    assert port.add_labels(image).data.shape == (5, 20, 30)
    assert port.add_prompt_layers(image)[0].ndim == 3


def test_multiscale_takes_the_finest_level():
    viewer = ViewerModel()
    levels = [np.zeros((5, 40, 60)), np.zeros((5, 20, 30))]
    image = viewer.add_image(levels, multiscale=True, contrast_limits=(0, 1))
    snapshot = NapariViewer(viewer).snapshot_image(image)
    assert snapshot.is_multiscale
    assert snapshot.axes.stack.shape == (5, 40, 60)
    assert isinstance(snapshot.stack, Multiscale)
    assert [level.shape for level in snapshot.stack.levels] == [
        (5, 40, 60),
        (5, 20, 30),
    ]
    single = NapariViewer(viewer).snapshot_image(add_image(viewer))
    assert not single.is_multiscale
    assert single.stack is single.data


def test_lazy_data_is_not_computed():
    def explode(block):
        if block.size:
            msg = "computed"
            raise AssertionError(msg)
        return block

    viewer = ViewerModel()
    data = da.zeros((5, 20, 30), chunks=(1, 20, 30)).map_blocks(explode, dtype=float)
    layer = viewer.add_image(np.zeros((5, 20, 30)), contrast_limits=(0, 1))
    snapshot = NapariViewer(viewer).snapshot_image(layer)
    assert snapshot.data is layer.data
    assert data.shape == snapshot.data.shape


def test_slider_labels_name_axes_of_unnamed_layers():
    viewer = ViewerModel()
    image = add_image(viewer)
    viewer.dims.axis_labels = ("z", "y", "x")
    axes = NapariViewer(viewer).snapshot_image(image).axes
    assert (axes.stack.letters, axes.named) == ("ZYX", True)


def test_contrast_limits_are_those_of_the_layer():
    viewer = ViewerModel()
    image = add_image(viewer, contrast_limits=(10, 90))
    assert NapariViewer(viewer).snapshot_image(image).contrast_limits == (10.0, 90.0)


def test_position_follows_sliders_and_display():
    viewer = ViewerModel()
    image = add_image(viewer, scale=(2, 1, 1), translate=(10, 0, 0))
    port = NapariViewer(viewer)
    viewer.dims.set_current_step(0, 3)
    assert port.current_position(image) == (3,)
    viewer.dims.ndisplay = 3
    assert port.current_position(image) is None
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0, 2)
    assert port.current_position(image) is None


def test_position_outside_a_shorter_image_is_none():
    viewer = ViewerModel()
    image = add_image(viewer, (3, 20, 30))
    add_image(viewer, (9, 20, 30))
    viewer.dims.set_current_step(0, 7)
    assert NapariViewer(viewer).current_position(image) is None


def test_new_points_take_object_polarity_and_colour():
    viewer = ViewerModel()
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(add_image(viewer))
    port.set_new_prompts([points, shapes], 3, positive=True)
    points.add([[0, 1, 2]])
    port.set_new_prompts([points, shapes], 4, positive=False)
    points.add([[0, 5, 6]])
    shapes.add_rectangles(np.array([(0, 1, 1), (0, 1, 5), (0, 5, 5), (0, 5, 1)]))
    assert list(points.features["label"]) == ["positive", "negative"]
    assert list(points.features["object_id"]) == [3, 4]
    green, red = points.face_color
    assert green[1] > green[0]
    assert red[0] > red[1]
    assert list(shapes.features["label"]) == ["positive"]
    assert list(shapes.features["object_id"]) == [4]


def test_events_tell_what_happens_and_stop_when_closed():
    viewer = ViewerModel()
    port = NapariViewer(viewer)
    seen = []
    port.events.layers_changed.connect(lambda: seen.append("layers"))
    port.events.layer_removed.connect(lambda _: seen.append("removed"))
    port.events.data_replaced.connect(lambda _: seen.append("data"))
    port.events.shape_added.connect(lambda _, index: seen.append(index))
    port.events.frame_changed.connect(lambda: seen.append("frame"))
    image = add_image(viewer)
    image.name = "other"
    assert "layers" in seen
    seen.clear()
    image.data = np.ones((5, 20, 30))
    assert "data" in seen
    _, shapes = port.add_prompt_layers(image)
    seen.clear()
    corners = np.array([(0, 1, 1), (0, 1, 5), (0, 5, 5), (0, 5, 1.0)])
    shapes.add_rectangles([corners, corners + 1])
    assert [item for item in seen if isinstance(item, int)] == [0, 1]
    viewer.dims.set_current_step(0, 4)
    assert "frame" in seen
    viewer.layers.remove(image)
    assert "removed" in seen
    port.close()
    seen.clear()
    shapes.name = "x"
    add_image(viewer)
    viewer.dims.set_current_step(0, 0)
    viewer.layers.clear()
    assert seen == []


def write(position, top, left, obj_id=1, hw=(20, 30)):
    before = np.zeros(hw, dtype=np.int32)
    after = before.copy()
    after[top : top + 3, left : left + 3] = obj_id
    whole = (slice(0, hw[0]), slice(0, hw[1]))
    return LabelWrite.between(position, whole, before, after)


def test_writing_touches_only_the_pixels_that_change():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    labels = port.add_labels(image)
    labels.data[2, 5:9, 5:9] = 7
    port.write_labels(labels, write((2,), 12, 12))
    assert (labels.data[2] == 7).sum() == 16
    assert (labels.data[2] == 1).sum() == 9
    assert not labels.data[[0, 1, 3, 4]].any()


def test_writing_leaves_the_undo_history_alone():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    labels = port.add_labels(image)
    labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 9)
    port.write_labels(labels, write((2,), 4, 4))
    labels.undo()
    assert labels.data[0, 0, 0] == 0
    assert labels.data[2, 5, 5] == 1


def test_labels_in_zarr_are_written_in_place():
    viewer = ViewerModel()
    image = add_image(viewer)
    array = zarr.create_array(
        store={}, shape=(5, 20, 30), chunks=(1, 20, 30), dtype="int32"
    )
    labels = viewer.add_labels(array)
    port = NapariViewer(viewer)
    assert port.snapshot_labels(labels, image).obstacle == ""
    port.write_labels(labels, write((2,), 4, 4))
    assert (array[2] == 1).sum() == 9


def test_labels_that_got_another_shape_are_not_written():
    viewer = ViewerModel()
    port = NapariViewer(viewer)
    labels = port.add_labels(add_image(viewer))
    labels.data = np.zeros((5, 6, 7), dtype=np.int32)
    with pytest.raises(StackError, match=r"other data of shape \(5, 6, 7\)"):
        port.write_labels(labels, write((2,), 10, 10))
    with pytest.raises(StackError, match="other data"):
        port.write_labels(labels, write((2, 0), 1, 1))


def test_hidden_labels_are_transparent_and_the_others_keep_their_colours():
    viewer = ViewerModel()
    port = NapariViewer(viewer)
    labels = port.add_labels(add_image(viewer))
    own, before = labels.colormap, port.label_colours(labels, [1, 2, 3])
    port.hide_labels(labels, {2}, {1, 3})
    assert labels.get_color(2)[3] == 0
    np.testing.assert_allclose(labels.get_color(3)[:3], before[2], atol=1e-6)
    assert port.label_colours(labels, [1, 2, 3]) == before
    port.hide_labels(labels, set(), {1, 2, 3})
    assert labels.colormap is own


def test_prompts_are_put_back_as_they_were():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(image)
    port.set_new_prompts([points, shapes], 3, positive=True)
    points.add([[0, 1, 2]])
    port.set_new_prompts([points, shapes], 4, positive=False)
    points.add([[1, 5, 6]])
    corners = np.array([(0, 1, 1), (0, 1, 5), (0, 5, 5), (0, 5, 1.0)])
    shapes.add(corners, shape_type="ellipse")
    point, shape = port.drawn_items(points, [1]), port.drawn_items(shapes, [0])
    port.redraw(points, [0, 1], [])
    port.redraw(shapes, [0], [])
    assert (len(points.data), len(shapes.data)) == (0, 0)
    port.redraw(points, [], point)
    port.redraw(shapes, [], shape)
    assert points.data.tolist() == [[1, 5, 6]]
    assert list(points.features["label"]) == ["negative"]
    assert list(points.features["object_id"]) == [4]
    assert points.face_color[0][0] > points.face_color[0][1]
    assert str(points.symbol[0].value) == point[0].kind
    assert list(shapes.shape_type) == ["ellipse"]
    np.testing.assert_allclose(shapes.data[0], corners)
    assert list(shapes.features["object_id"]) == [4]
    assert port.new_prompts(points) == (4, False)
    assert points.mode == "add"


def test_sliders_go_to_a_frame():
    viewer = ViewerModel()
    image = add_image(
        viewer, (3, 5, 20, 30), scale=(2, 1, 1, 1), translate=(7, 1, 0, 0)
    )
    port = NapariViewer(viewer)
    for position in ((2, 4), (0, 1)):
        port.show_frame(image, position)
        assert port.current_position(image) == position


def test_chosen_labels_are_told():
    viewer = ViewerModel()
    port = NapariViewer(viewer)
    labels = port.add_labels(add_image(viewer))
    seen = []
    port.events.label_selected.connect(lambda layer, i: seen.append((layer, i)))
    labels.selected_label = 5
    port.select_label(labels, 5)
    assert seen == [(labels, 5)]


def test_labels_that_cannot_be_written_say_why():
    viewer = ViewerModel()
    image = add_image(viewer)
    fixed = np.zeros((5, 20, 30), dtype=np.int32)
    fixed.flags.writeable = False
    port = NapariViewer(viewer)
    read_only = port.snapshot_labels(viewer.add_labels(fixed), image)
    lazy = port.snapshot_labels(
        viewer.add_labels(da.zeros((5, 20, 30), dtype=int)), image
    )
    assert "read-only" in read_only.obstacle
    assert "computed" in lazy.obstacle


def test_misplaced_labels_are_noticed():
    viewer = ViewerModel()
    image = add_image(viewer, scale=(1, 2, 2))
    port = NapariViewer(viewer)
    labels = viewer.add_labels(np.zeros((5, 20, 30), dtype=int))
    assert not port.snapshot_labels(labels, image).is_aligned
    labels.scale = (1, 2, 2)
    assert port.snapshot_labels(labels, image).is_aligned


def test_dtype_is_widened_for_large_ids_with_a_notice():
    viewer = ViewerModel()
    labels = viewer.add_labels(np.full((5, 20, 30), 3, dtype=np.uint8))
    port = NapariViewer(viewer)
    assert port.make_room(labels, 255) == ""
    assert "int32" in port.make_room(labels, 256)
    assert labels.data.dtype == np.int32
    assert (labels.data == 3).all()
    assert "int64" in port.make_room(labels, 2**31)


def test_zarr_labels_are_not_widened():
    viewer = ViewerModel()
    array = zarr.create_array(store={}, shape=(5, 20, 30), dtype="uint8")
    labels = viewer.add_labels(array)
    with pytest.raises(StackError, match="too small"):
        NapariViewer(viewer).make_room(labels, 300)


def test_companions_are_found_again_and_forgotten_when_gone():
    viewer = ViewerModel()
    image, other = add_image(viewer), add_image(viewer)
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(image)
    labels = port.add_labels(image)
    found = NapariViewer(viewer).companions(image)
    assert (found.points, found.shapes, found.labels) == (points, shapes, labels)
    assert port.companions(other).points is None
    viewer.layers.remove(points)
    assert port.companions(image).points is None


def test_a_path_too_short_to_be_kept_leaves_no_row_behind():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    _, shapes = port.add_prompt_layers(image)
    shapes.add([[[0, 1, 1], [0, 5, 5], [0, 9, 5]]], shape_type="path")
    shapes.mode = "add_path"
    counts = []
    port.events.prompts_changed.connect(
        lambda layer: counts.append(len(port.snapshot_shapes(layer, image)))
    )
    # what napari does with a path that has too few vertices, when it is finished
    shapes._data_view.remove(0)
    shapes.events.data(value=shapes.data, action="added", data_indices=(-1,))
    shapes.events.features()
    assert counts
    assert set(counts) == {0}
    assert len(shapes.features) == len(shapes.data) == 0


def test_the_label_under_the_pointer():
    viewer = ViewerModel()
    image = add_image(viewer, scale=(1, 0.5, 0.5))
    port = NapariViewer(viewer)
    labels = port.add_labels(image)
    labels.data[0, 4:8, 6:9] = 3
    viewer.dims.set_current_step(0, 0)
    viewer.cursor.position = (0, 3, 4)
    assert port.label_under_pointer(labels) == 3
    viewer.cursor.position = (0, 300, 4)
    assert port.label_under_pointer(labels) == 0


def test_scores_lie_in_the_features_of_the_labels():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    labels = port.add_labels(image)
    viewer.dims.set_current_step(0, 0)
    labels.data[0, 4:8, 6:9] = 3
    labels.refresh()
    labels.features = {"index": [2, 3], "stain": ["no", "yes"]}
    item = FrameScores(3, (0,), 4.5, 0.875, 12, (5.5, 7.0), "prompt", "")
    port.show_scores(labels, [item], {3: "mother"})
    (row,) = labels.features.to_dict("records")
    assert row == {
        "index": 3,
        "name": "mother",
        "object_score": 4.5,
        "iou_score": 0.875,
        "area": 12,
        "stain": "yes",
    }
    words = str(labels.get_status((0, 5, 7), world=True))
    assert "mother" in words
    assert "0.875" in words
    port.show_scores(labels, [], {})
    assert not len(labels.features)


def test_features_by_label_value_are_left_alone():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    labels = port.add_labels(image)
    labels.features = {"area": [0, 10, 20]}
    item = FrameScores(3, (0,), 4.5, 0.875, 12, (5.5, 7.0), "prompt", "")
    port.show_scores(labels, [item], {3: "mother"})
    assert list(labels.features.columns) == ["area"]


def test_strokes_of_the_brush_are_told_with_label_and_plane():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    labels = port.add_labels(image)
    told = []
    port.events.painted.connect(lambda *args: told.append(args))
    viewer.dims.set_current_step(0, 2)
    labels.selected_label = 4
    labels.paint((2, 5, 5), 4)
    assert told == [(labels, 4, ((2,),))]
    assert labels.data[2, 5, 5] == 4


def test_points_chosen_with_the_arrow_tool_are_flipped():
    viewer = ViewerModel()
    image = add_image(viewer)
    port = NapariViewer(viewer)
    points, _ = port.add_prompt_layers(image)
    points.add([[0, 5, 5], [0, 9, 9]])
    points.selected_data = {1}
    assert not port.flip_selected(points)
    points.mode = "select"
    assert port.flip_selected(points)
    assert list(points.features["label"]) == ["positive", "negative"]
    assert [str(symbol) for symbol in points.symbol] == ["disc", "cross"]
    assert points.face_color[1][0] > points.face_color[1][1]
    assert port.flip_selected(points)
    assert list(points.features["label"]) == ["positive", "positive"]
    points.selected_data = set()
    assert not port.flip_selected(points)


def test_layers_that_lie_on_the_image_can_be_mixed():
    viewer = ViewerModel()
    scale = {"scale": (1, 0.5, 0.5)}
    grey = {"contrast_limits": (0, 1), **scale}
    data = np.zeros((4, 20, 30))
    image = viewer.add_image(data, name="nuclei", **grey)
    viewer.add_image(data, name="membranes", **grey)
    viewer.add_image([data, data[:, ::2, ::2]], name="levels", multiscale=True, **grey)
    viewer.add_image(data, name="elsewhere", contrast_limits=(0, 1))
    viewer.add_image(data[:2], name="shorter", **grey)
    viewer.add_image(np.zeros((4, 20, 30, 3)), rgb=True, name="colours", **scale)
    port = NapariViewer(viewer)
    names = [choice.name for choice in port.mixable(image)]
    assert names == ["nuclei", "levels", "membranes"]
    channels = viewer.add_image(np.zeros((2, 4, 20, 30)), axis_labels=tuple("ctyx"))
    assert port.mixable(channels) == ()
    port.close()


def test_gamma_is_that_of_the_layer():
    viewer = ViewerModel()
    image = add_image(viewer, contrast_limits=(10, 90), gamma=0.5)
    port = NapariViewer(viewer)
    told = []
    port.events.contrast_changed.connect(told.append)
    assert port.snapshot_image(image).gamma == 0.5
    image.gamma = 1.5
    assert told == [image]
    assert port.snapshot_image(image).gamma == 1.5
    colours = viewer.add_image(np.zeros((20, 30, 3)), rgb=True)
    assert port.snapshot_image(colours).gamma == 1.0
    port.close()


def test_the_next_point_has_its_own_sign_while_the_last_one_is_selected():
    viewer = ViewerModel()
    port = NapariViewer(viewer)
    points, _ = port.add_prompt_layers(add_image(viewer))
    points.add([[0, 5, 5]])
    points.selected_data = {0}  # as after a click
    port.set_new_prompts([points], 1, positive=False)
    points.add([[0, 9, 9]])
    assert [str(symbol) for symbol in points.symbol] == ["disc", "cross"]
    assert list(points.features["label"]) == ["positive", "negative"]
    points.selected_data = {1}
    port.set_new_prompts([points], 1, positive=True)
    points.add([[0, 3, 3]])
    assert [str(symbol) for symbol in points.symbol] == ["disc", "cross", "disc"]
