"""Tasks of the inference thread, through the controller that hands them in."""

import numpy as np
import pytest

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.state import PluginState


@pytest.fixture
def controller(fake_viewer, fake_engine, make_timer):
    return PluginController(
        PluginState(), fake_viewer, SyncInference(), fake_engine, make_timer
    )


@pytest.fixture
def touching(controller, fake_viewer, timers):
    """A mask of object 1 on frame 1, and a click of object 2 beside it."""
    fake_viewer.add_image((3, 20, 30), "TYX")
    fake_viewer.position = (1,)
    points = fake_viewer.add_points([[1, 5, 6]], [1])
    timers[0].ring()
    points.data = np.array([[1.0, 5, 6], [1.0, 5, 9]])
    points.obj_ids, points.positive = [1, 2], [True, True]
    return points


def draw(fake_viewer, timers, points):
    fake_viewer.events.prompts_changed.emit(points)
    timers[0].ring()


def test_other_objects_keep_their_pixels(controller, touching, fake_viewer, timers):
    draw(fake_viewer, timers, touching)
    frame = controller.state.labels.data[1]
    assert frame[5, 4:12].tolist() == [1] * 5 + [2] * 3


def test_other_objects_are_painted_over_when_told(
    controller, touching, fake_viewer, timers
):
    controller.state.overlap = "overwrite"
    draw(fake_viewer, timers, touching)
    frame = controller.state.labels.data[1]
    assert frame[5, 4:12].tolist() == [1] * 3 + [2] * 5
    controller.review.undo()
    assert frame[5, 4:12].tolist() == [1] * 5 + [0] * 3


def test_accepted_frames_are_never_painted_over(
    controller, touching, fake_viewer, timers
):
    controller.state.overlap = "overwrite"
    controller.review.lock_here(True)
    draw(fake_viewer, timers, touching)
    assert controller.segment_stack()
    labels = controller.state.labels.data
    assert labels[1, 5, 4:12].tolist() == [1] * 5 + [2] * 3
    assert labels[0, 5, 4:12].tolist()[3:] == [2] * 5


def test_when_asked_other_objects_lose_pixels_only_on_a_word(
    controller, touching, fake_viewer, timers
):
    state = controller.state
    state.overlap = "ask"
    draw(fake_viewer, timers, touching)
    frame = state.labels.data[1]
    assert frame[5, 4:12].tolist() == [1] * 5 + [2] * 3
    assert [(d.obj_id, d.holder, d.area) for d in state.disputes] == [(2, 1, 10)]
    controller.objects.take_disputed()
    assert frame[5, 4:12].tolist() == [1] * 3 + [2] * 5
    assert state.disputes == ()
    assert state.message.text == "Took 10 pixels."
    controller.review.undo()
    assert frame[5, 4:12].tolist() == [1] * 5 + [2] * 3
    assert len(state.disputes) == 1


def test_disputes_are_those_of_the_image_on_show(
    controller, touching, fake_viewer, timers
):
    state, image = controller.state, controller.state.image
    state.overlap = "ask"
    draw(fake_viewer, timers, touching)
    labels, found = state.labels, state.disputes
    state.image = fake_viewer.add_image((3, 20, 30), "TYX")
    assert found
    assert state.disputes == ()
    state.image, state.labels = image, labels
    assert state.disputes == found


def test_prompts_on_accepted_frames_are_drawn_as_they_were(
    controller, touching, fake_viewer, timers
):
    state = controller.state
    controller.review.lock_here(True)
    names = state.undo_name
    draw(fake_viewer, timers, touching)
    touching.data = np.array([[1.0, 9, 9], [1.0, 5, 9], [2.0, 5, 6], [1.0, 7, 7]])
    touching.obj_ids, touching.positive = [1, 2, 1, 1], [True] * 4
    before = state.labels.data[1].copy()
    draw(fake_viewer, timers, touching)
    rows = sorted(zip(touching.data.tolist(), touching.obj_ids, strict=True))
    assert rows == [([1, 5, 6], 1), ([1, 5, 9], 2), ([2, 5, 6], 1)]
    np.testing.assert_array_equal(state.labels.data[1], before)
    assert "Accepted at T = 1: the prompts of object 1" in state.message.text
    assert names == "lock"
    while state.undo_name:
        controller.review.undo()
    assert not state.labels.data.any()
    assert len(touching.data) == 0


def test_a_click_before_the_frame_is_accepted_no_more_is_taken_back(
    controller, touching, fake_viewer, timers
):
    controller.review.lock_here(True)
    touching.data = np.array([[1.0, 5, 6], [1.0, 9, 9]])
    touching.obj_ids = [1, 1]
    fake_viewer.events.prompts_changed.emit(touching)
    controller.review.lock_here(False)
    assert touching.data.tolist() == [[1, 5, 6]]
    controller.segment_frame()
    assert controller.state.message.severity == "done"


def test_prompts_elsewhere_are_told_when_they_count(
    controller, touching, fake_viewer, timers
):
    state = controller.state
    draw(fake_viewer, timers, touching)
    assert "Click again where" in state.message.text
    touching.data = np.vstack([touching.data, [[2.0, 5, 6]]])
    touching.obj_ids, touching.positive = [1, 2, 1], [True] * 3
    draw(fake_viewer, timers, touching)
    assert state.message.text.startswith("Prompts at T = 2, which is not on show, get")
    assert not state.labels.data[2].any()
    touching.data[:, 1] += 1
    draw(fake_viewer, timers, touching)
    assert "at T = 2" in state.message.text
