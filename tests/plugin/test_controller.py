"""The controller with a viewer and a model of Python objects: no Qt, no napari."""

import threading

import numpy as np
import pytest

from napari_hqsam2.errors import CheckpointError, PromptError, SessionError
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.costs import cost_key
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.run_sizes import run_size
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.segmentation.masks import ObjectMask


@pytest.fixture
def state():
    return PluginState()


@pytest.fixture
def controller(state, fake_viewer, fake_engine, make_timer):
    return PluginController(
        state, fake_viewer, SyncInference(), fake_engine, make_timer
    )


@pytest.fixture
def during(fake_engine):
    """Lets a test do something while a frame of a run is being computed."""

    def set_up(frame, action):
        def before(number):
            if number == frame:
                action()

        fake_engine.before_frame = before

    return set_up


@pytest.fixture
def drawn(controller, fake_viewer, timers):
    """An image with a click on frame 1 of objects 1 and 2, taken over."""
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.position = (1,)
    points = fake_viewer.add_points([[1, 5, 6], [1, 15, 20]], [1, 2])
    timers[0].ring()
    return points


def edit(fake_viewer, timers, layer):
    fake_viewer.events.prompts_changed.emit(layer)
    timers[0].ring()


def filled(labels):
    return labels.data.any(axis=(1, 2)).nonzero()[0].tolist()


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
    assert "follow through the stack" in state.message.text
    state.live = False
    controller.layers.hint()
    assert "this frame first" in state.message.text


def test_prompts_drawn_before_the_widget_opened_are_taken(
    state, fake_viewer, fake_engine
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    points = fake_viewer.add_points([[0, 5, 6]])
    PluginController(state, fake_viewer, SyncInference(), fake_engine)
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
    assert fake_viewer.writes == [(1,), (2,), (3,), (0,)]
    rows = [(row.obj_id, row.span, row.num_frames) for row in state.objects]
    assert rows == [(1, "T 0 to 3", 4), (2, "T 0 to 3", 4)]


def test_this_frame_touches_no_other_frame_and_is_one_step(
    controller, state, fake_viewer
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[2, 5, 6], [1, 9, 9]])
    fake_viewer.position = (2,)
    assert controller.segment_frame()
    assert filled(state.labels) == [2]
    assert state.undo_name == "segment frame"
    controller.review.undo()
    assert filled(state.labels) == []


def test_second_run_goes_on_in_the_same_labels_and_keeps_other_pixels(
    controller, state, fake_viewer
):
    fake_viewer.add_image((3, 20, 30), "TYX")
    points = fake_viewer.add_points([[0, 5, 6]])
    controller.segment_stack()
    first = state.labels
    first.data[1, 18, 28] = 77
    points.data, points.obj_ids = np.array([[0, 5.0, 6], [0, 15.0, 20]]), [1, 2]
    points.positive = [True, True]
    controller.segment_stack()
    assert state.labels is first
    assert (first.data[:, 5, 6] == 1).all()
    assert (first.data[:, 15, 20] == 2).all()
    assert first.data[1, 18, 28] == 77


def test_range_direction_and_object_are_heeded(controller, state, fake_viewer):
    fake_viewer.add_image((9, 20, 30), "TYX")
    fake_viewer.add_points([[4, 5, 6], [4, 15, 20]], [1, 2])
    state.frames, state.direction = (3, 6), "forward"
    state.only_current, state.object_id = True, 2
    controller.segment_stack()
    assert filled(state.labels) == [4, 5]
    assert not (state.labels.data == 1).any()


def test_only_what_changed_is_followed_again(controller, state, fake_viewer):
    fake_viewer.add_image((9, 20, 30), "TYX")
    fake_viewer.add_points([[4, 5, 6]])
    controller.segment_stack()
    state.only_changed = True
    fake_viewer.writes.clear()
    assert controller.segment_stack()
    assert fake_viewer.writes == []
    assert "Nothing has changed" in state.message.text


def test_choices_reach_the_session_and_are_noted(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[2, 5, 6]])
    fake_viewer.position = (2,)
    state.tracking, state.resolution = "local", 256
    assert controller.segment_stack()
    (session,) = fake_engine.sessions
    assert (session.settings.tracking, session.settings.resolution) == ("local", 256)
    noted = state.labels.provenance
    assert (noted["tracking"], noted["resolution"]) == ("local", "256")
    state.model = "sam2.1_hiera_tiny"
    assert state.resolution is None
    state.resolution = 512
    state.model = "sam2.1_hiera_large"
    assert state.resolution == 512
    assert controller.segment_frame()
    assert state.labels.provenance["resolution"] == "512"
    assert session.settings.model == "sam2.1_hiera_large"
    state.resolution = None
    assert controller.segment_frame()
    assert state.labels.provenance["resolution"] == "the model's own"
    assert fake_engine.sessions == [session]
    assert len(state.objects) == 1


def test_impossible_resolution_is_refused(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[2, 5, 6]])
    state.resolution = 250
    assert not controller.segment_stack()
    assert "resolution=250 is not a multiple of 32" in state.message.text


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


def test_frame_without_prompts_is_refused(controller, state, drawn, fake_viewer):
    fake_viewer.position = (3,)
    assert not controller.segment_frame()
    assert "no prompt at T=3" in state.message.text
    assert not controller.is_busy


def test_cancel_keeps_finished_frames(controller, state, drawn, during):
    seen = []

    def cancel():
        seen.append((state.run.phase, state.run.done, state.run.total))
        controller.cancel()
        seen.append(state.run.phase)

    during(2, cancel)
    assert controller.segment_stack()
    assert seen == [("running", 2, 6), "cancelling"]
    assert filled(state.labels) == [1, 2]
    assert state.message.text == "Cancelled. 2 of 6 frames are kept."
    assert not controller.is_busy
    assert state.undo_name == "follow"


def test_only_one_run_at_a_time(controller, drawn, during):
    answers = []
    during(1, lambda: answers.append(controller.segment_stack()))
    assert controller.segment_stack()
    assert answers == [False]


@pytest.mark.parametrize("removed", ["image", "labels"])
def test_layer_removed_during_a_run_ends_it(
    controller, state, drawn, fake_viewer, during, removed
):
    labels = state.labels
    during(2, lambda: fake_viewer.remove(getattr(state, removed)))
    controller.segment_stack()
    assert filled(labels) == [1, 2]
    name = {"image": "image", "labels": "Labels"}[removed]
    told = f"The {name} layer was removed. 2 of 6 frames are kept."
    assert state.message.text == told
    assert not controller.is_busy
    assert len(state.objects) == (2 if removed == "labels" else 0)


def test_replaced_image_data_ends_the_run(
    controller, state, drawn, fake_viewer, during
):
    during(1, lambda: fake_viewer.events.data_replaced.emit(state.image))
    controller.segment_stack()
    assert "image layer was given other data" in state.message.text


def test_labels_with_new_data_of_another_shape_end_the_run(
    controller, state, drawn, during
):
    def replace():
        state.labels.data = np.zeros((3, 3), dtype=np.int32)

    during(1, replace)
    with pytest.raises((ValueError, IndexError)):
        controller.segment_stack()
    assert state.message.severity == "problem"
    assert not controller.is_busy


def test_objects_of_an_image_that_nobody_worked_on_begin_at_one(
    controller, state, drawn, fake_viewer
):
    first = state.image
    state.object_id = 7
    state.image = fake_viewer.add_image((4, 20, 30), "TYX")
    assert state.object_id == 1
    state.object_id = 5
    state.image = first
    assert state.object_id == 5


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
    assert state.message.text == "no weights here"


def test_unknown_error_is_told_once_with_what_is_kept(
    controller, state, drawn, fake_viewer, fake_engine
):
    fake_engine.error, fake_engine.fail_at = RuntimeError("out of memory"), 1
    with pytest.raises(RuntimeError):
        controller.segment_stack()
    assert state.message.severity == "problem"
    assert "RuntimeError: out of memory" in state.message.text
    assert "(1 finished frame is kept.)" in state.message.text
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


def test_the_first_object_gets_layers_for_its_prompts(controller, state, fake_viewer):
    fake_viewer.add_image((4, 20, 30), "TYX")
    controller.objects.new_object()
    assert state.points is not None
    assert state.object_id == 1


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


def test_close_frees_the_model_and_stops_listening(
    controller, state, drawn, fake_viewer, fake_engine
):
    controller.close()
    assert fake_engine.is_released
    assert fake_viewer.is_closed
    before = state.labels.data.copy()
    fake_viewer.events.prompts_changed.emit(drawn)
    assert not controller.segment_stack() or (state.labels.data == before).all()


def test_two_controllers_do_not_share_anything(fake_viewer, fake_engine):
    other_viewer = type(fake_viewer)()
    one = PluginController(PluginState(), fake_viewer, SyncInference(), fake_engine)
    two = PluginController(PluginState(), other_viewer, SyncInference(), fake_engine)
    fake_viewer.add_image((4, 20, 30), "TYX")
    assert one.state.image is not None
    assert two.state.image is None


def test_start_raises_for_scripts(controller):
    with pytest.raises(ValueError, match="no image layer"):
        controller.starter.start("stack")


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


def test_everything_happens_in_this_thread(drawn, fake_viewer, fake_engine):
    here = {threading.get_ident()}
    assert (fake_viewer.threads, fake_engine.threads) == (here, here)


# live


def test_clicks_show_their_masks_at_once_and_the_frame_only(state, drawn):
    assert filled(state.labels) == [1]
    assert [row.name for row in state.objects] == ["object 1", "object 2"]
    assert not state.is_thinking
    assert state.undo_name == "prompts"
    assert state.timeline.frames[1].kind == "prompt"
    assert state.timeline.current == 1


def test_moving_a_prompt_moves_the_mask_and_deleting_takes_it_away(
    state, drawn, fake_viewer, timers
):
    drawn.data[0] = [1, 10, 25]
    edit(fake_viewer, timers, drawn)
    labels = state.labels.data
    assert (labels[1, 10, 25], labels[1, 5, 6]) == (1, 0)
    drawn.data, drawn.obj_ids, drawn.positive = drawn.data[1:], [2], [True]
    edit(fake_viewer, timers, drawn)
    assert set(np.unique(labels)) == {0, 2}


def test_negative_points_alone_are_a_hint_and_no_error(
    state, drawn, fake_viewer, timers
):
    drawn.positive[0] = False
    edit(fake_viewer, timers, drawn)
    assert "negative points" in state.message.text
    assert fake_viewer.notes == []
    assert not state.is_thinking


def test_what_goes_wrong_has_its_type(state, drawn, fake_viewer, fake_engine, timers):
    fake_engine.error = KeyError("axes")
    drawn.data[0] = [1, 10, 25]
    with pytest.raises(KeyError):
        edit(fake_viewer, timers, drawn)
    assert state.message.text == "It failed with KeyError: 'axes'"
    assert not state.is_thinking


def test_live_can_be_turned_off(controller, state, fake_viewer, timers):
    state.live = False
    fake_viewer.add_image((4, 20, 30), "TYX")
    fake_viewer.add_points([[0, 5, 6]])
    timers[0].ring()
    assert not state.labels.data.any()
    assert len(state.objects) == 1
    state.live = True
    assert filled(state.labels) == [0]


def test_a_script_that_adds_prompts_elsewhere_segments_nothing(
    state, drawn, fake_viewer, timers
):
    drawn.data = np.vstack([drawn.data, [4, 8, 8]])
    drawn.obj_ids.append(7)
    drawn.positive.append(True)
    edit(fake_viewer, timers, drawn)
    assert filled(state.labels) == [1]
    assert [row.obj_id for row in state.objects] == [1, 2, 7]


def test_features_of_the_frame_on_show_are_computed_ahead(
    controller, state, drawn, fake_viewer, fake_engine
):
    controller.review.go_to_frame(4)
    assert fake_engine.prepared == [(4,), (5,), (3,)]
    assert state.timeline.current == 4
    controller.review.go_to_frame(5)
    assert fake_engine.prepared[3:] == [(5,), (4,)]
    state.live = False
    controller.review.go_to_frame(2)
    assert len(fake_engine.prepared) == 5


# verbs


def test_undo_and_redo_redraw_the_prompts(
    controller, state, drawn, fake_viewer, timers
):
    drawn.data[0] = [1, 10, 25]
    edit(fake_viewer, timers, drawn)
    controller.review.undo()
    assert sorted(drawn.data.tolist()) == [[1, 5, 6], [1, 15, 20]]
    assert state.labels.data[1, 5, 6] == 1
    assert not timers[0].is_running
    controller.review.redo()
    assert sorted(drawn.data.tolist()) == [[1, 10, 25], [1, 15, 20]]
    assert state.labels.data[1, 10, 25] == 1
    controller.review.undo()
    controller.review.undo()
    assert len(drawn.data) == 0
    assert state.objects == ()
    assert (state.undo_name, state.redo_name) == ("", "prompts")
    controller.review.undo()
    assert not state.labels.data.any()


def test_the_object_under_the_pointer_becomes_the_current_one(
    controller, state, drawn, fake_viewer
):
    assert len(drawn.data) == 2
    fake_viewer.pointer = (1, 15, 20)
    controller.objects.pick_object()
    assert state.object_id == 2
    fake_viewer.pointer = (1, 0, 0)
    controller.objects.pick_object()
    assert state.object_id == 2
    assert "no object under the pointer" in state.message.text


def test_the_object_under_the_pointer_joins_the_current_one(
    controller, state, drawn, fake_viewer
):
    controller.segment_stack()
    before = state.labels.data.copy()
    fake_viewer.pointer = (1, 15, 20)
    state.object_id = 7
    controller.objects.join_pointed()
    assert "Choose an object first" in state.message.text
    state.object_id = 2
    controller.objects.join_pointed()
    assert "This is the current object" in state.message.text
    state.object_id = 1
    controller.objects.join_pointed()
    assert state.message.text == "Now object 2 is a part of object 1."
    assert [row.obj_id for row in state.objects] == [1]
    np.testing.assert_array_equal(state.labels.data, before > 0)
    fake_viewer.pointer = (1, 0, 0)
    controller.objects.join_pointed()
    assert "no object under the pointer" in state.message.text
    controller.review.undo()
    np.testing.assert_array_equal(state.labels.data, before)
    assert sorted(drawn.obj_ids) == [1, 2]


def test_through_z_then_from_each_slice_through_t(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((3, 4, 20, 30), "TZYX")
    fake_viewer.position = (1, 2)
    fake_viewer.add_points([[1, 2, 5, 6]])
    state.axis, state.then_axis = "Z", "T"
    state.frames = (1, 4)
    seen = []
    state.events.run.connect(lambda run: seen.append((run.done, run.total)))
    assert controller.segment_stack()
    found = {tuple(at) for at in np.argwhere(state.labels.data.any(axis=(2, 3)))}
    assert found == {(t, z) for t in range(3) for z in (1, 2, 3)}
    done = [number for number, total in seen if total]
    assert done == sorted(done)
    assert all(number <= total for number, total in seen)
    assert "through Z, slices 1 to 3, then through T" in state.message.text
    text = fake_engine.sessions[0].as_python()
    assert "propagate('T'" in text
    assert "start=1" in text
    controller.review.undo()
    assert not state.labels.data.any(axis=(2, 3))[0].any()


def test_scores_of_the_frame_on_show_follow_the_sliders(
    controller, state, drawn, fake_viewer
):
    assert len(drawn.data) == 2
    labels = state.labels
    assert {i: item.iou_score for i, item in labels.scores.items()} == {1: 0.9, 2: 0.9}
    assert labels.names == {1: "object 1", 2: "object 2"}
    fake_viewer.show_frame(state.image, (4,))
    assert labels.scores == {}
    assert controller.segment_stack()
    assert labels.scores[2].position == (4,)


def test_frames_painted_by_hand_are_accepted(
    controller, state, drawn, fake_viewer, during
):
    assert len(drawn.data) == 2
    labels = state.labels
    paint = fake_viewer.events.painted.emit
    labels.data[2, 3:6, 3:6] = 1
    paint(labels, 1, ((2,),))
    assert state.objects[0].num_locked == 1
    assert "Accepted as painted" in state.message.text
    assert (state.objects[0].span, state.objects[0].num_frames) == ("T 1 to 2", 2)
    assert (state.timeline.frames[2].area, state.timeline.frames[2].kind) == (9, "mask")
    paint(labels, 1, ((2,),))
    labels.data[3:5, 12:14, 12:14] = 9
    paint(labels, 9, ((3,), (4,), (5,)))
    assert [(row.obj_id, row.num_locked) for row in state.objects] == [
        (1, 1),
        (2, 0),
        (9, 2),
    ]
    before = labels.data[2] == 1

    def paint_again():
        labels.data[4, 0, 0] = 2
        paint(labels, 2, ((4,),))

    during(1, paint_again)
    assert controller.segment_stack()
    np.testing.assert_array_equal(labels.data[2] == 1, before)
    assert state.objects[1].num_locked == 1
    controller.review.undo()
    assert state.objects[1].num_locked == 0


def test_painting_elsewhere_changes_nothing(controller, state, drawn, fake_viewer):
    assert len(drawn.data) == 2
    other = fake_viewer.add_labels(state.image)
    fake_viewer.events.painted.emit(other, 1, ((2,),))
    fake_viewer.events.painted.emit(state.labels, 0, ((2,),))
    assert [row.num_locked for row in state.objects] == [0, 0]
    assert not controller.is_busy


def test_where_the_model_computes_is_told(controller, state, drawn):
    assert len(drawn.data) == 2
    assert state.whereabouts == "a quick square maker"
    controller.suspend()
    controller.review.go_to_frame(2)
    assert state.whereabouts == "a quick square maker"
    state.live = False
    controller.suspend()
    controller.review.go_to_frame(3)
    assert state.whereabouts == ""


def test_nothing_is_asked_for_again_and_again_without_a_session(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((6, 20, 30), "TYX")
    controller.desk.begin()
    state.object_id = 7
    assert fake_engine.sessions == []
    assert state.timeline is None


def test_undo_takes_whole_runs_back(controller, state, drawn):
    controller.segment_stack()
    assert len(filled(state.labels)) == 6
    controller.review.undo()
    assert filled(state.labels) == [1]
    assert len(drawn.data) == 2
    controller.review.redo()
    assert len(filled(state.labels)) == 6


def test_deleted_objects_come_back_with_their_prompts(controller, state, drawn):
    controller.objects.delete_object(1)
    assert [row.obj_id for row in state.objects] == [2]
    assert drawn.obj_ids == [2]
    assert not (state.labels.data == 1).any()
    controller.review.undo()
    assert sorted(drawn.obj_ids) == [1, 2]
    assert (state.labels.data == 1).any()


def test_objects_are_cut_at_the_frame_on_show(controller, state, drawn, fake_viewer):
    controller.segment_stack()
    labels = state.labels.data
    before = labels.copy()
    fake_viewer.show_frame(state.image, (4,))
    controller.objects.cut_object(1, "split")
    assert "From T 4 on it is object 3" in state.message.text
    assert [row.span for row in state.objects] == ["T 0 to 3", "T 0 to 5", "T 4 to 5"]
    controller.objects.cut_object(2, "after")
    assert "Removed object 2 from T 4 on" in state.message.text
    fake_viewer.show_frame(state.image, (1,))
    controller.objects.cut_object(1, "before")
    assert [row.span for row in state.objects] == ["T 2 to 3", "T 0 to 3", "T 4 to 5"]
    assert drawn.obj_ids == [2], "the click on object 1 went with its frame"
    with pytest.raises(SessionError, match="nothing to split"):
        controller.objects.cut_object(1, "split")
    assert "nothing to split" in state.message.text
    for _ in range(3):
        controller.review.undo()
    np.testing.assert_array_equal(labels, before)
    assert sorted(drawn.obj_ids) == [1, 2]


def test_objects_are_renamed_hidden_and_selected(controller, state, drawn, fake_viewer):
    controller.objects.rename_object(2, "daughter")
    controller.objects.hide_object(1, is_hidden=True)
    assert [row.name for row in state.objects] == ["object 1", "daughter"]
    assert fake_viewer.hidden == {1}
    controller.objects.hide_object(1, is_hidden=False)
    assert fake_viewer.hidden == set()
    controller.objects.select_object(2)
    assert state.labels.selected == 2
    fake_viewer.events.label_selected.emit(state.labels, 1)
    assert state.object_id == 1


def test_accepted_frames_hold(controller, state, drawn, fake_viewer):
    controller.segment_stack()
    controller.review.go_to_frame(3)
    state.labels.data[3] = 0
    state.labels.data[3, 2:6, 20:26] = 1
    controller.review.toggle_lock()
    assert state.timeline.frames[3].is_locked
    assert state.objects[0].num_locked == 1
    controller.segment_stack()
    assert (state.labels.data[3, 2:6, 20:26] == 1).all()
    controller.review.lock_here(is_locked=False)
    assert not state.timeline.frames[3].is_locked


def test_ways_to_make_masks_of_an_object_are_compared(
    controller, state, drawn, fake_engine
):
    def modes():
        return [row.hq_mode for row in state.objects]

    state.object_id = 1
    seen = []
    for _ in range(3):
        controller.objects.next_hq_mode()
        seen.append((*modes(), state.message.text))
    assert seen == [
        ("only", None, "Masks of object 1: High-quality head alone."),
        ("off", None, "Masks of object 1: Plain SAM 2."),
        (None, None, "Masks of object 1: High quality."),
    ]
    assert state.hq_mode == "add"
    state.hq_mode = "off"
    controller.objects.next_hq_mode()
    controller.objects.set_hq_mode(2, "off")
    assert modes() == ["add", "off"]
    assert fake_engine.modes == {1: "add", 2: "off"}
    controller.review.undo()
    assert modes() == ["add", None]
    assert controller.segment_frame()
    assert state.labels.provenance["hq_modes"] == "{1: 'add'}"
    state.model = "sam2.1_hiera_large"
    controller.objects.next_hq_mode()
    assert modes() == ["add", None]
    assert "no high-quality head" in state.message.text


def test_another_way_shows_on_the_frame_unless_it_is_accepted(
    controller, state, drawn, fake_engine
):
    state.object_id = 1
    fake_engine.modes.clear()
    controller.objects.next_hq_mode()
    assert fake_engine.modes == {1: "only"}, "that object alone"
    assert state.undo_name == "masks of object"
    controller.review.lock_here(is_locked=True)
    fake_engine.modes.clear()
    controller.objects.next_hq_mode()
    state.live = False
    controller.objects.set_hq_mode(2, "only")
    assert fake_engine.modes == {}
    assert [row.hq_mode for row in state.objects] == ["off", "only"]


def test_masks_are_not_compared_before_there_are_any(controller, state, drawn):
    state.object_id = 7
    controller.objects.next_hq_mode()
    assert "Click on an object first" in state.message.text
    assert len(state.objects) == 2


def test_what_a_run_took_is_remembered_for_its_settings(controller, state, drawn):
    hw = controller.layers.axes.stack.hw

    def expected():
        return controller.costs.expect(cost_key(state, hw), 4)

    controller.segment_frame()
    assert (expected(), state.num_measured) == (None, 0)
    totals = []
    state.events.run.connect(lambda status: totals.append(status.total))
    controller.segment_stack()
    objects, cost = len(state.objects), expected()
    assert max(totals) == run_size(controller.layers.axes, state, state.objects).steps
    assert state.num_measured == 1
    assert (cost.objects, cost.peak_bytes) == (4, None)
    known = controller.costs.expect(cost_key(state, hw), objects)
    assert 0 < known.seconds * 4 / objects == pytest.approx(cost.seconds)
    state.resolution = 256
    assert expected() is None


def test_next_doubtful_frame(controller, state, drawn, fake_engine):
    controller.review.next_doubt()
    assert "no doubtful frames" in state.message.text
    fake_engine.before_frame = lambda n: setattr(fake_engine, "finds", n not in (2, 4))
    controller.segment_stack()
    doubts = [(r.obj_id, p) for r in state.objects for (p,), _ in r.doubts]
    assert {obj_id for obj_id, _ in doubts} == {1, 2}
    first, *_, last = doubts

    def here():
        assert state.timeline.frames[state.timeline.current].doubt
        return state.object_id, state.timeline.current

    state.object_id = 1
    controller.review.go_to_frame(0)
    seen = []
    for _ in doubts:
        controller.review.next_doubt()
        seen.append(here())
    assert seen == doubts
    assert state.message.text == f"Object {last[0]}, T = {last[1]}: the object is gone."
    controller.review.next_doubt()
    assert here() == first
    controller.review.previous_doubt()
    assert here() == last


def test_doubtful_frames_of_other_lines_are_found(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((2, 6, 20, 30), "TZYX")
    state.points = fake_viewer.add_points([[1, 0, 5, 6]], [1])
    state.axis, fake_viewer.position = "Z", (1, 0)
    fake_engine.before_frame = lambda n: setattr(fake_engine, "finds", n != 2)
    controller.segment_stack()
    fake_viewer.show_frame(state.image, (0, 0))
    controller.review.next_doubt()
    assert fake_viewer.position == (1, 2)


def test_everything_on_a_frame_is_one_step(
    controller, state, drawn, fake_viewer, fake_engine
):
    square = np.ones((3, 3), dtype=bool)
    fake_engine.found = (
        ObjectMask(1, 10, 10, square, 1.0, 0.9),
        ObjectMask(2, 4, 5, square, 1.0, 0.9),
        ObjectMask(3, 0, 0, square, 1.0, 0.25),
    )
    told = []
    state.events.message.connect(lambda message: told.append(message.text))
    parts = []
    state.events.run.connect(lambda run: parts.append((run.phase, run.done, run.total)))
    before = state.num_measured
    controller.objects.propose_everything()
    assert parts[1:-1] == [("running", number, 4) for number in (1, 2, 3, 4)]
    assert state.num_measured == before, "parts of a frame are no frames"
    assert [row.obj_id for row in state.objects] == [1, 2, 3, 4]
    assert [row.confidence for row in state.objects[2:]] == pytest.approx(
        [0.9, 0.25], rel=1e-3
    )
    assert [row.num_doubts for row in state.objects[2:]] == [0, 1]
    assert (state.labels.data[1, 10:13, 10:13] == 3).all()
    assert state.object_id == 3
    assert state.undo_name == "find all"
    assert "Looking for objects on T = 1 …" in told
    controller.review.undo()
    assert [row.obj_id for row in state.objects] == [1, 2]
    controller.review.redo()
    controller.segment_stack()
    assert (state.labels.data[:, 10:13, 10:13] == 3).all()


def test_what_was_cancelled_does_not_seem_to_go_on(controller, state, drawn):
    phases = []

    def follow(run):
        phases.append((run.phase, run.done))
        if (run.phase, run.done) == ("running", 2):
            controller.cancel()

    state.events.run.connect(follow)
    controller.objects.propose_everything()
    assert phases[-2:] == [("cancelling", 2), ("idle", 0)]
    assert [row.obj_id for row in state.objects] == [1, 2]


def test_parts_that_were_looked_through_are_no_frames_that_are_kept(
    controller, state, drawn, fake_engine, monkeypatch
):
    def fail(*given):
        given[-2](3, 4)
        raise PromptError("The frame is gone.")

    monkeypatch.setattr(fake_engine, "propose", fail)
    with pytest.raises(PromptError):
        controller.objects.propose_everything()
    assert state.message.text == "The frame is gone."
    assert not state.run.is_busy


def test_copied_script_does_the_same(controller, state, drawn, fake_viewer):
    controller.review.copy_as_python()
    assert "session.segment((1,), (1, 2))" in fake_viewer.clipboard
    assert "Copied" in state.message.text


def test_each_image_keeps_its_objects(controller, state, drawn, fake_viewer):
    first, points, labels = state.image, state.points, state.labels
    controller.objects.rename_object(1, "mother")
    second = fake_viewer.add_image((4, 20, 30), "TYX")
    state.image = second
    assert state.objects == ()
    assert state.timeline is None
    state.image, state.points, state.labels = first, points, labels
    assert [row.name for row in state.objects] == ["mother", "object 2"]


def test_thousand_objects_stay_quick(controller, state, fake_viewer, timers):
    fake_viewer.add_image((3, 400, 400), "TYX")
    places = np.stack(np.mgrid[5:395:12, 5:395:12], axis=-1).reshape(-1, 2)[:1000]
    rows = np.hstack([np.zeros((len(places), 1)), places])
    fake_viewer.add_points(rows, list(range(1, len(rows) + 1)))
    timers[0].ring()
    assert len(state.objects) == len(rows)
    assert len(np.unique(state.labels.data)) == len(rows) + 1


def test_what_is_odd_about_the_frame_on_show_is_told(
    controller, state, drawn, fake_viewer, fake_engine
):
    stack = fake_engine.sessions[0]._stack
    stack.frames(stack.line((0,), "T"), range(6)).read(3)
    assert state.oddity == ""
    fake_viewer.show_frame(state.image, (3,))
    assert state.oddity.startswith("has the value 0 everywhere")
    fake_viewer.show_frame(state.image, (2,))
    assert state.oddity == ""


def test_each_channel_is_shown_over_its_own_range_within_the_slider(
    controller, state, fake_viewer, fake_engine, timers
):
    image = fake_viewer.add_image((3, 4, 20, 30), "CTYX")
    image.data[0, :, :, ::2] = 40
    image.data[1, :, ::2] = 250
    image.data[2] = 7
    image.limits = (5.0, 255.0)
    points = fake_viewer.add_points([[1, 5, 6]])
    timers[0].ring()
    session = fake_engine.sessions[-1]
    assert session.channel_ranges() == ((0, 40), (0, 250), (7, 7))
    assert session.settings.contrast_limits == ((5, 40), (5, 250), (5, 255))
    image.limits = (20.0, 100.0)
    points.data = points.data + 1
    edit(fake_viewer, timers, points)
    limits = session.settings.contrast_limits
    assert limits == ((20, 40), (20, 100), (20, 100))
    state.channels = (0, 1)
    controller.segment_frame()
    assert session.settings.contrast_limits == limits[:2]
    state.channels = (1,)
    controller.segment_frame()
    assert session.settings.contrast_limits == (20, 100)
    assert len(fake_engine.sessions) == 2


def test_a_new_object_is_asked_for_by_its_number(controller, state, drawn):
    state.object_id = 2
    controller.layers.hint()
    assert state.message.text.startswith("Click again where the mask is wrong")
    controller.objects.new_object()
    assert state.message.text == "Click on object 3, or follow through the stack."


def test_what_to_do_is_said_again_when_the_model_is_loaded(
    controller, state, fake_viewer, fake_engine
):
    fake_viewer.add_image((6, 20, 30), "TYX")
    told = []
    state.events.message.connect(lambda message: told.append(message.text))
    controller.add_prompt_layers()
    assert fake_engine.num_loaded == 1
    hint = "Click on an object, or draw a rectangle around it."
    assert told[-2:] == ["Loading the model …", hint]
    assert fake_viewer.status == hint
