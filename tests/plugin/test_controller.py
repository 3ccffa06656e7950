"""The controller with a viewer and an engine of Python objects: no Qt, no napari."""

import threading

import numpy as np
import pytest

from napari_hqsam2.errors import CheckpointError, PromptError
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.runner import SyncRunner
from napari_hqsam2.plugin.state import PluginState


class HeldRunner(SyncRunner):
    """Starts nothing until told to, so that a test can act in between."""

    def __init__(self):
        super().__init__()
        self.callbacks = None
        self.frames = None
        self.cancelled = False

    def start(self, engine, request, callbacks):
        self.callbacks = callbacks
        self.cancelled = False
        self.frames = engine.run(request, callbacks.on_report, lambda: self.cancelled)
        return self

    def cancel(self):
        self.cancelled = True

    def step(self, number=1):
        for _ in range(number):
            self.callbacks.on_frame(next(self.frames))

    def finish(self):
        for frame in self.frames:
            self.callbacks.on_frame(frame)
        self.callbacks.on_done(self.cancelled)


@pytest.fixture
def state():
    return PluginState()


@pytest.fixture
def controller(state, fake_viewer, fake_engine):
    return PluginController(state, fake_viewer, SyncRunner(), fake_engine)


@pytest.fixture
def held(state, fake_viewer, fake_engine):
    runner = HeldRunner()
    return PluginController(state, fake_viewer, runner, fake_engine), runner


def test_no_image_is_refused_with_the_next_step(controller, state, fake_viewer):
    assert not controller.segment_stack()
    assert "no image layer" in state.message.text
    assert state.message.severity == "problem"
    assert fake_viewer.notes == [state.message.text]


def test_layers_are_chosen_as_they_come(controller, state, fake_viewer):
    image = fake_viewer.add_image((4, 20, 30), "TYX")
    assert state.image is image
    assert state.axis == "T"
    assert "Add prompt layers" in state.message.text
    points = fake_viewer.add_points([[0, 5, 6]])
    assert state.points is points
    assert "this frame first" in state.message.text


def test_prompts_drawn_before_the_widget_opened_are_taken(
    state, fake_viewer, fake_engine
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    points = fake_viewer.add_points([[0, 5, 6]])
    PluginController(state, fake_viewer, SyncRunner(), fake_engine)
    assert state.points is points


def test_run_writes_new_labels_frame_by_frame(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[1, 5, 6], [1, 15, 20]], [1, 2])
    assert controller.segment_stack()
    labels = state.labels.data
    assert labels.shape == (4, 20, 30)
    assert (labels[:, 5, 6] == 1).all()
    assert (labels[:, 15, 20] == 2).all()
    assert not state.run.is_busy
    assert state.message.text == "Done: 2 objects through T, frames 0 to 3."
    assert state.labels.provenance["model"] == "sam2.1_hq_hiera_nano"
    assert fake_viewer.edits == [False] * 4


def test_this_frame_touches_no_other_frame_and_is_one_edit(
    controller, state, fake_viewer
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[2, 5, 6], [1, 9, 9]])
    fake_viewer.position = (2,)
    assert controller.segment_frame()
    labels = state.labels.data
    assert labels[2, 5, 6] == 1
    assert not labels[[0, 1, 3]].any()
    assert fake_viewer.edits == [True]


def test_second_run_goes_on_in_the_same_labels_and_keeps_other_objects(
    controller, state, fake_viewer
):
    fake_viewer.add_image((3, 20, 30), "TYX")
    points = fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    first = state.labels
    first.data[1, 18, 28] = 77
    points.data, points.obj_ids = np.array([[0, 15.0, 20]]), [2]
    controller.segment_stack()
    assert state.labels is first
    assert (first.data[:, 5, 6] == 1).all()
    assert (first.data[:, 15, 20] == 2).all()
    assert first.data[1, 18, 28] == 77


def test_range_and_direction_reach_the_engine(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((9, 20, 30), "TYX")
    fake_viewer.add_points([[4, 5, 6]])
    state.frames, state.direction = (3, 6), "forward"
    controller.segment_stack()
    request = fake_engine.requests[0]
    assert request.frames == (3, 6)
    assert request.settings.direction == "forward"
    assert state.labels.data.any(axis=(1, 2)).nonzero()[0].tolist() == [4, 5]


def test_axis_of_a_volume_over_time(controller, state, fake_viewer):
    fake_viewer.add_image((3, 5, 20, 30), "TZYX")
    fake_viewer.add_points([[1, 2, 5, 6]])
    assert state.axis == "Z"
    state.axis = "T"
    controller.segment_stack()
    filled = state.labels.data.any(axis=(2, 3))
    assert filled.tolist() == [[False, False, True, False, False]] * 3


def test_labels_of_another_shape_are_refused(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    state.labels = fake_viewer.add_labels(fake_viewer.add_image((4, 9, 9), "TYX"))
    assert not controller.segment_stack()
    assert "needs labels of shape (4, 20, 30)" in state.message.text


def test_no_single_frame_on_show_is_refused(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    fake_viewer.position = None
    assert not controller.segment_frame()
    assert "2D display" in state.message.text


def test_object_without_pixels_is_told(controller, state, fake_viewer, fake_engine):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    fake_engine.finds = False
    controller.segment_stack()
    assert "Object 1 was not found" in state.message.text


def test_cancel_keeps_finished_frames(held, state, fake_viewer):
    controller, runner = held
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    assert state.run.phase == "starting"
    runner.step(2)
    assert (state.run.phase, state.run.done, state.run.total) == ("running", 2, 6)
    controller.cancel()
    assert state.run.phase == "cancelling"
    runner.finish()
    assert state.labels.data.any(axis=(1, 2)).tolist() == [True, True] + [False] * 4
    assert state.message.text == "Cancelled. 2 of 6 frames are kept."
    assert not controller.is_busy


def test_only_one_run_at_a_time(held, fake_viewer):
    controller, runner = held
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    assert controller.segment_stack()
    assert not controller.segment_stack()
    runner.finish()
    assert controller.segment_stack()
    runner.finish()


@pytest.mark.parametrize("removed", ["image", "labels"])
def test_layer_removed_during_a_run_ends_it(held, state, fake_viewer, removed):
    controller, runner = held
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    runner.step(2)
    labels = state.labels
    fake_viewer.remove(getattr(state, removed))
    assert runner.cancelled
    runner.finish()
    assert labels.data.any(axis=(1, 2)).tolist() == [True, True] + [False] * 4
    assert "was removed" in state.message.text
    assert not controller.is_busy


def test_frames_under_way_are_still_written_after_the_image_went(
    held, state, fake_viewer
):
    controller, runner = held
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    runner.step(1)
    under_way = next(runner.frames)
    labels = state.labels
    fake_viewer.remove(state.image)
    runner.callbacks.on_frame(under_way)
    assert labels.data[1].any()
    runner.finish()


def test_replaced_image_data_ends_the_run(held, state, fake_viewer):
    controller, runner = held
    image = fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    runner.step(1)
    fake_viewer.events.data_replaced.emit(image)
    assert runner.cancelled
    runner.finish()
    assert "replaced" in state.message.text


def test_labels_with_new_data_of_another_shape_end_the_run(held, state, fake_viewer):
    controller, runner = held
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    runner.step(1)
    state.labels.data = np.zeros((3, 3), dtype=np.int32)
    runner.step(1)
    assert runner.cancelled
    runner.finish()
    assert "other shape" in state.message.text


def test_removed_choices_are_forgotten(controller, state, fake_viewer):
    first = fake_viewer.add_image((4, 20, 30), "TYX")
    points = fake_viewer.add_points([[0, 5, 6]])
    second = fake_viewer.add_image((4, 20, 30), "ZYX")
    assert state.image is first
    fake_viewer.remove(first)
    assert state.image is second
    assert state.axis == "Z"
    fake_viewer.remove(points)
    assert state.points is None


def test_known_error_is_told_and_the_run_is_over(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    fake_engine.error = CheckpointError("no weights here")
    with pytest.raises(CheckpointError):
        controller.segment_stack()
    assert not controller.is_busy
    assert not state.run.is_busy


def test_error_from_a_thread_is_told_once(held, state, fake_viewer):
    controller, runner = held
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    runner.step(1)
    runner.callbacks.on_error(RuntimeError("out of memory"))
    assert state.message.severity == "problem"
    assert "RuntimeError: out of memory" in state.message.text
    assert "(1 finished frames are kept.)" in state.message.text
    assert len(fake_viewer.notes) == 1
    assert not controller.is_busy


def test_new_object_is_the_next_free_label(controller, state, fake_viewer):
    image = fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6], [0, 9, 9]], [1, 4])
    state.positive = False
    assert controller.layers.new_object() == 5
    assert state.positive
    state.labels = fake_viewer.add_labels(image)
    state.labels.data[0, 0, 0] = 90
    assert controller.layers.new_object() == 91


def test_labels_in_use_are_not_overwritten_by_the_first_object(
    controller, state, fake_viewer
):
    image = fake_viewer.add_image((4, 20, 30), "TYX")
    controller.layers.add_prompt_layers()
    labels = fake_viewer.add_labels(image)
    labels.data[0, 0, 0] = 12
    state.labels = labels
    assert state.object_id == 13
    assert state.points.next_prompt == (13, True)


def test_second_box_on_a_frame_is_a_new_object(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    controller.layers.add_prompt_layers()
    shapes = state.shapes
    for y in (2, 9):
        corners = [(0, y, 2), (0, y, 6), (0, y + 4, 6), (0, y + 4, 2)]
        shapes.data.append(np.array(corners, dtype=float))
        shapes.obj_ids.append(state.object_id)
        fake_viewer.events.shape_added.emit(shapes, len(shapes.data) - 1)
    assert shapes.obj_ids == [1, 2]
    assert state.object_id == 2
    later = [(3, 2, 2), (3, 2, 6), (3, 6, 6), (3, 6, 2)]
    shapes.data.append(np.array(later, dtype=float))
    shapes.obj_ids.append(2)
    fake_viewer.events.shape_added.emit(shapes, 2)
    assert shapes.obj_ids == [1, 2, 2]


def test_box_around_a_click_belongs_to_its_object_and_one_elsewhere_does_not(
    controller, state, fake_viewer
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    controller.layers.add_prompt_layers()
    state.points.data = np.array([[0, 4.0, 4], [2, 15, 15]])
    state.points.positive, state.points.obj_ids = [True, True], [1, 1]
    shapes = state.shapes
    for x in (2, 20):
        corners = [(0, 2, x), (0, 2, x + 4), (0, 6, x + 4), (0, 6, x)]
        shapes.data, shapes.obj_ids = [np.array(corners, dtype=float)], [1]
        fake_viewer.events.shape_added.emit(shapes, 0)
        assert shapes.obj_ids == ([1] if x == 2 else [2])


def test_selected_prompt_sets_object_and_polarity(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    controller.layers.add_prompt_layers()
    state.points.next_prompt = (6, False)
    fake_viewer.events.defaults_changed.emit(state.points)
    assert (state.object_id, state.positive) == (6, False)


def test_large_ids_are_announced(controller, state, fake_viewer):
    fake_viewer.add_image((1, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]], [5000])
    controller.segment_stack()
    assert "widened" in fake_viewer.notes
    assert state.labels.data[0, 5, 6] == 5000


def test_close_cancels_and_frees(held, state, fake_viewer, fake_engine):
    controller, runner = held
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    runner.step(1)
    labels = state.labels
    controller.close()
    assert runner.cancelled
    assert fake_engine.is_released
    assert fake_viewer.is_closed
    before = labels.data.copy()
    runner.finish()
    assert (labels.data == before).all()


def test_two_controllers_do_not_share_anything(fake_viewer, fake_engine):
    other_viewer = type(fake_viewer)()
    one = PluginController(PluginState(), fake_viewer, SyncRunner(), fake_engine)
    two = PluginController(PluginState(), other_viewer, SyncRunner(), fake_engine)
    fake_viewer.add_image((4, 20, 30), "TYX")
    assert one.state.image is not None
    assert two.state.image is None


def test_prepare_raises_for_scripts(controller):
    with pytest.raises(ValueError, match="no image layer"):
        controller.prepare("stack")


def test_messages_name_the_problem_of_bad_features(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")

    def refuse(*_):
        msg = "features are wrong"
        raise PromptError(msg)

    fake_viewer.snapshot_points = refuse
    fake_viewer.add_points([[0, 5, 6]])
    assert state.message.text == "features are wrong"
    assert controller.layers.new_object() == 2
    assert not controller.segment_stack()


def test_main_thread_runner_uses_this_thread(controller, fake_viewer, fake_engine):
    fake_viewer.add_image((2, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    assert fake_engine.threads == {threading.get_ident()}
