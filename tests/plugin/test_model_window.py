"""What the model sees, shown and hidden by the controller."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.segmentation.crops import Crop


@pytest.fixture
def controller(fake_viewer, fake_engine, make_timer):
    return PluginController(
        PluginState(), fake_viewer, SyncInference(), fake_engine, make_timer
    )


def views(fake_viewer):
    return [layer.data for layer in fake_viewer.layers if layer.kind == "view"]


def frames(fake_viewer):
    return [int(view.picture[0, 0, 0]) for view in views(fake_viewer)]


def test_it_follows_the_sliders_until_it_is_hidden(controller, fake_viewer):
    image = fake_viewer.add_image((6, 20, 30), "TYX")
    controller.toggle_view()
    assert frames(fake_viewer) == [0]
    fake_viewer.show_frame(image, (4,))
    assert frames(fake_viewer) == [4]
    controller.toggle_view()
    fake_viewer.show_frame(image, (2,))
    assert frames(fake_viewer) == []


def test_it_shows_the_window_of_the_current_object(controller, fake_viewer, timers):
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.position = (1,)
    controller.toggle_view()
    fake_viewer.add_points([[1, 5, 6], [1, 15, 20]], [1, 2])
    timers[0].ring()
    assert [view.crop for view in views(fake_viewer)] == [Crop(3, 4, 5, 5)]
    controller.objects.select_object(2)
    assert [view.crop for view in views(fake_viewer)] == [Crop(13, 18, 5, 5)]
    assert (controller.state.labels.data[1] > 0).sum() == 50


def test_a_new_contrast_is_shown(controller, fake_viewer, fake_engine):
    image = fake_viewer.add_image((6, 20, 30), "TYX")
    controller.toggle_view()
    image.limits = (0.0, 9.0)
    fake_viewer.events.contrast_changed.emit(image)
    assert fake_engine.sessions[0].settings.contrast_limits == (0.0, 9.0)
    assert len(views(fake_viewer)) == 1


def test_layers_that_are_mixed_are_shown(controller, fake_viewer, fake_engine):
    image = fake_viewer.add_image((6, 20, 30), "TYX")
    other = fake_viewer.add_image((6, 20, 30), "TYX")
    controller.state.image = image
    controller.toggle_view()
    session = fake_engine.sessions[0]
    assert session.settings.mix is None
    controller.state.mix = (None, image, other)
    mix = session.settings.mix
    assert mix.red is None
    assert (mix.green.stack, mix.green.name) == (None, image.name)
    assert (mix.blue.stack is other.data, mix.blue.name) == (True, other.name)
    other.limits = (3.0, 7.0)
    fake_viewer.events.contrast_changed.emit(other)
    assert session.settings.mix.blue.contrast_limits == (3.0, 7.0)
    fake_viewer.remove(other)
    assert controller.state.mix is None
    assert session.settings.mix is None


def test_deleting_the_layer_ends_it(controller, fake_viewer):
    fake_viewer.add_image((6, 20, 30), "TYX")
    controller.toggle_view()
    fake_viewer.remove(fake_viewer.layers[-1])
    assert not controller.state.shows_view
    assert views(fake_viewer) == []


def test_another_image_and_no_image(controller, fake_viewer, timers):
    first = fake_viewer.add_image((6, 20, 30), "TYX")
    second = fake_viewer.add_image((6, 20, 30), "TYX")
    controller.state.image = first
    controller.toggle_view()
    controller.state.image = second
    timers[-1].ring()
    assert [x.made_for for x in fake_viewer.layers if x.kind == "view"] == [second]
    fake_viewer.remove(second)
    assert [x.made_for for x in fake_viewer.layers if x.kind == "view"] == [first]
    fake_viewer.remove(first)
    assert views(fake_viewer) == []


def test_labels_are_not_added_while_an_image_is(fake_engine, make_timer, timers):
    viewer = ViewerModel()
    controller = PluginController(
        PluginState(shows_view=True),
        NapariViewer(viewer),
        SyncInference(),
        fake_engine,
        make_timer,
    )
    image = viewer.add_image(np.zeros((6, 20, 30)), contrast_limits=(0, 1))
    assert list(viewer.layers) == [image]
    timers[-1].ring()
    controller.add_prompt_layers()
    kinds = sorted(type(layer).__name__ for layer in viewer.layers)
    assert kinds == ["Image", "Image", "Labels", "Points", "Shapes"]


def test_there_is_nothing_to_be_seen_without_an_image(controller, fake_viewer):
    controller.toggle_view()
    assert controller.state.message.text.startswith("Open an image")
    fake_viewer.add_image((6, 20, 30), "TYX")
    assert views(fake_viewer) == []
    assert not controller.state.shows_view


def test_what_cannot_be_seen_is_told(controller, fake_viewer, monkeypatch):
    fake_viewer.add_image((6, 20, 30), "TYX")

    def refuse(_):
        msg = "The contrast limits are equal."
        raise StackError(msg)

    monkeypatch.setattr(fake_viewer, "snapshot_image", refuse)
    controller.toggle_view()
    assert controller.state.message.text == "The contrast limits are equal."
    assert not controller.state.shows_view


def test_closing_takes_the_layer_away(controller, fake_viewer):
    fake_viewer.add_image((6, 20, 30), "TYX")
    controller.toggle_view()
    controller.close()
    assert views(fake_viewer) == []
