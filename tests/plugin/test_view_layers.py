"""The layer with what the model sees, among the real layers of napari."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.session.model_view import ModelView
from napari_hqsam2.session.packed_masks import PackedMask

LYING = {
    "scale": (3.0, 0.5, 0.25),
    "translate": (6.0, -20.0, 11.0),
    "rotate": [[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]],
    "shear": [0, 0, 0.3],
    "units": ("s", "um", "um"),
}
VIEW = ModelView(np.zeros((10, 20, 3), dtype=np.uint8), Crop(8, 12, 20, 60))


@pytest.mark.parametrize("channels", [0, 1])
def test_a_view_lies_where_it_was_seen(channels):
    viewer = ViewerModel()
    options = dict(LYING)
    if channels:
        options = {
            "scale": (1, 3, 0.5, 0.25),
            "translate": (0, 6, 9, 1),
            "units": ("pixel", *LYING["units"]),
            "axis_labels": ("c", "t", "y", "x"),
        }
    shape = (2,) * channels + (5, 40, 80)
    image = viewer.add_image(np.zeros(shape), **options)
    layer = NapariViewer(viewer).show_view(image, (3,), VIEW)
    assert layer.rgb
    for own, there in (
        ((0, -0.5, -0.5), (3, 7.5, 11.5)),
        ((0, 9.5, 19.5), (3, 27.5, 71.5)),
    ):
        expected = image.data_to_world((0,) * channels + there)[channels:]
        assert layer.data_to_world(own) == pytest.approx(expected)


def test_one_layer_is_moved_and_taken_away():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 40, 80)))
    points = viewer.add_points(ndim=3)
    port = NapariViewer(viewer)
    first = port.show_view(image, (3,), VIEW)
    assert viewer.layers.selection.active is points
    assert list(viewer.layers) == [image, first, points]
    assert [choice.handle for choice in port.images()] == [image]
    assert port.show_view(image, (1,), VIEW) is first
    assert first.data_to_world((0, 0, 0))[0] == 1
    port.hide_view(image)
    port.hide_view(image)
    assert list(viewer.layers) == [image, points]


def test_a_preview_lies_on_its_pixels_below_the_points():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 40, 80)), **LYING)
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(image)
    mask = np.zeros((40, 80), dtype=bool)
    mask[8:12, 12:20] = True
    mask[7, 15] = True
    packed = PackedMask.of(mask)
    layer = port.show_preview(points, image, (3,), packed, (1.0, 0.5, 0.0))
    assert list(viewer.layers) == [image, layer, points, shapes]
    assert viewer.layers.selection.active is points
    for own, there in (((0, 0, 0), (3, 7, 12)), ((0, 4, 7), (3, 11, 19))):
        assert layer.data_to_world(own) == pytest.approx(image.data_to_world(there))
    assert layer.data.shape == (1, 5, 8, 4)
    assert layer.data[0, 1, 3].tolist() == [255, 128, 0, 64], "inside, below row 7"
    assert layer.data[0, 1, 2].tolist() == [255, 128, 0, 255], "on the border"
    assert layer.data[0, 0, 0, 3] == 0, "not of the mask"
    assert [choice.handle for choice in port.images()] == [image]
    port.hide_preview(image)
    assert not layer.visible
    view = port.show_view(image, (3,), VIEW)
    assert port.show_preview(points, image, (1,), packed, (0, 0, 1)) is layer
    assert layer.visible
    port.remove_preview(image)
    assert list(viewer.layers) == [image, view, points, shapes]


def test_views_go_when_nobody_goes_through_the_layers():
    viewer, waiting = ViewerModel(), []
    image = viewer.add_image(np.zeros((5, 40, 80)), **LYING)
    port = NapariViewer(viewer, later=waiting.append)
    first = port.show_view(image, (3,), VIEW)
    port.hide_view(image)
    assert first in viewer.layers
    assert not first.visible
    second = port.show_view(image, (3,), VIEW)
    assert second is not first
    assert [choice.handle for choice in port.images()] == [image]
    viewer.layers.remove(first)
    waiting.pop()()
    assert list(viewer.layers) == [image, second]
    port.hide_view(image)
    port.close()
    assert list(viewer.layers) == [image]


def test_places_to_click_are_those_of_the_tool_that_adds_points():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 40, 80)), **LYING)
    port = NapariViewer(viewer)
    points, shapes = port.add_prompt_layers(image)
    port.show_frame(image, (2,))
    viewer.cursor.position = image.data_to_world((2, 10.25, 70.5))
    place = port.place_to_click(points, image)
    assert place.position == (2,)
    assert place.yx == pytest.approx((10.25, 70.5))
    points.mode = "select"
    assert port.place_to_click(points, image) is None
    points.mode = "add"
    viewer.layers.selection.active = shapes
    assert port.place_to_click(points, image) is None
    viewer.layers.selection.active = points
    viewer.cursor.position = image.data_to_world((2, 39.6, 70.5))
    assert port.place_to_click(points, image) is None
    viewer.cursor.position = image.data_to_world((2, 39.4, -0.4))
    assert port.place_to_click(points, image) is not None
    viewer.dims.ndisplay = 3
    assert port.place_to_click(points, image) is None


def test_moves_of_the_pointer_are_told_until_the_end():
    viewer = ViewerModel()
    before = list(viewer.mouse_move_callbacks)
    port = NapariViewer(viewer)
    heard = []
    port.events.pointer_moved.connect(lambda: heard.append("moved"))
    port.events.pointer_left.connect(lambda: heard.append("left"))

    def move():
        viewer.mouse_over_canvas = True
        for callback in viewer.mouse_move_callbacks:
            callback(viewer, None)
        viewer.mouse_over_canvas = False

    move()
    assert heard == ["moved", "left"]
    port.close()
    move()
    assert heard == ["moved", "left"]
    assert viewer.mouse_move_callbacks == before
