"""The layer with what the model sees, among the real layers of napari."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.session.model_view import ModelView

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
