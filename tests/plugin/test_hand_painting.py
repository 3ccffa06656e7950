"""Strokes of the brush, taken back and made again."""

import numpy as np
import pytest

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.state import PluginState

SPOT, OTHER = np.s_[3:6, 3:6], np.s_[10:14, 10:12]


@pytest.fixture
def main(fake_viewer, fake_engine, make_timer, timers):
    """An image with a click on frame 1 of object 1, taken over."""
    main = PluginController(
        PluginState(), fake_viewer, SyncInference(), fake_engine, make_timer
    )
    fake_viewer.add_image((6, 20, 30), "TYX")
    fake_viewer.position = (1,)
    fake_viewer.add_points([[1, 5, 6]], [1])
    timers[0].ring()
    return main


@pytest.fixture
def paint(main, fake_viewer):
    def paint(obj_id, frame, where=SPOT):
        fake_viewer.stroke(main.state.labels, obj_id, frame, where)

    return paint


def locked(main):
    session = main.desk.open.subject.session
    return {obj_id: session.locked(obj_id) for obj_id in session.obj_ids}


def test_undo_of_a_stroke_takes_back_what_it_has_accepted(main, paint):
    steps = main.state.undo_name
    paint(1, 2)
    assert locked(main) == {1: ((2,),)}
    assert main.state.undo_name == "paint"
    main.painting.undo()
    assert locked(main) == {1: ()}
    assert not main.state.labels.data[2].any()
    assert "no longer accepted" in main.state.message.text
    assert (main.state.undo_name, main.state.redo_name) == (steps, "paint")
    main.painting.redo()
    assert locked(main) == {1: ((2,),)}
    assert (main.state.labels.data[2][SPOT] == 1).all()
    assert (main.state.undo_name, main.state.redo_name) == ("paint", "")


def test_strokes_on_a_frame_that_was_segmented(main, paint):
    paint(1, 1, OTHER)
    assert locked(main) == {1: ((1,),)}
    main.painting.undo()
    assert locked(main) == {1: ()}
    assert main.state.labels.data[1].any(), "the answer to the click is there"


def test_a_frame_stays_accepted_until_its_first_stroke_is_taken_back(main, paint):
    paint(1, 2)
    paint(1, 2, OTHER)
    main.painting.undo()
    assert locked(main) == {1: ((2,),)}
    main.painting.undo()
    assert locked(main) == {1: ()}


def test_other_frames_that_were_painted_stay_accepted(main, paint):
    paint(1, 2)
    paint(1, 3)
    main.painting.undo()
    assert locked(main) == {1: ((2,),)}


def test_an_object_that_a_stroke_has_made_goes_with_it(main, paint):
    paint(9, 3)
    assert locked(main) == {1: (), 9: ((3,),)}
    main.painting.undo()
    assert locked(main) == {1: ()}
    assert [row.obj_id for row in main.state.objects] == [1]
    main.painting.redo()
    assert locked(main) == {1: (), 9: ((3,),)}


def test_what_was_done_since_stays(main, paint):
    paint(1, 2)
    main.objects.rename_object(1, "mother")
    main.painting.undo()
    assert locked(main) == {1: ()}
    assert main.state.objects[0].name == "mother"
    main.review.undo()
    assert locked(main) == {1: ((2,),)}, "the step before is back"
    main.review.undo()
    assert main.state.objects[0].name == "object 1"


def test_what_a_run_has_started_from_is_given_up_too(main, paint):
    paint(1, 2)
    assert main.segment_stack()
    assert locked(main) == {1: ((2,),)}
    main.painting.undo()
    assert locked(main) == {1: ()}


def test_a_frame_that_was_accepted_before_stays(main, paint):
    main.review.lock_here(is_locked=True)
    paint(1, 1, OTHER)
    main.painting.undo()
    assert locked(main) == {1: ((1,),)}


def test_what_the_user_has_given_up_is_not_accepted_again(main, paint):
    paint(1, 2)
    main.review.go_to_frame(2)
    main.review.lock_here(is_locked=False)
    paint(1, 3)
    main.painting.undo()
    main.painting.redo()
    assert locked(main) == {1: ((3,),)}


def test_strokes_that_are_taken_back_in_a_run_are_followed_after_it(
    main, paint, fake_engine
):
    paint(1, 2)

    def before(number):
        if number == 1:
            main.painting.undo()

    fake_engine.before_frame = before
    assert main.segment_stack()
    assert locked(main) == {1: ()}


def test_without_labels_there_is_nothing_to_take_back(main, paint, fake_viewer):
    paint(1, 2)
    main.state.labels = None
    main.painting.undo()
    assert len(fake_viewer.strokes) == 1
