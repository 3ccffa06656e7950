"""The mask that a click would give, asked for and shown by the controller."""

import threading

import numpy as np
import pytest

from napari_hqsam2.plugin import hover
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference, Task
from napari_hqsam2.plugin.snapshots import PlaceToClick
from napari_hqsam2.plugin.state import PluginState, RunStatus


class HeldInference(SyncInference):
    """Keeps questions of the pointer until they are let go."""

    def __init__(self):
        super().__init__()
        self.held = []

    def submit(self, task):
        if task.key != "hover":
            return super().submit(task)
        self.held.append(task)
        return None

    def answer(self):
        super().submit(self.held.pop(0))


@pytest.fixture
def inference():
    return HeldInference()


@pytest.fixture
def controller(fake_viewer, fake_engine, make_timer, inference):
    return PluginController(
        PluginState(), fake_viewer, inference, fake_engine, make_timer
    )


@pytest.fixture
def state(controller, fake_viewer):
    """With an image, layers for prompts, and the features of the frame."""
    fake_viewer.add_image((3, 20, 30), "TYX")
    controller.add_prompt_layers()
    return controller.state


@pytest.fixture
def move(fake_viewer, timers):
    """Move the pointer, and wait for a moment."""

    def move(y, x, *, ring=True):
        fake_viewer.hovered = PlaceToClick((0,), (y, x))
        fake_viewer.events.pointer_moved.emit()
        if ring:
            timers[1].ring()

    return move


def shown(fake_viewer):
    """Corner and colour of the mask on show, if there is one."""
    previews = [x.data for x in fake_viewer.layers if x.kind == "preview"]
    if not previews or previews[0] is None:
        return None
    (_, mask, colour) = previews[0]
    return tuple(int(i) for i in np.argwhere(mask)[0]), colour


def test_the_mask_of_a_click_is_shown_and_written_nowhere(
    state, move, inference, fake_viewer
):
    state.object_id = 5
    move(10, 12)
    assert shown(fake_viewer) is None
    inference.answer()
    assert shown(fake_viewer) == ((8, 10), (0.005, 0.0, 0.0))
    assert not state.labels.data.any()
    assert state.objects == ()
    assert state.undo_name == ""


def test_the_newest_place_wins(state, move, inference, fake_viewer, timers):
    move(10, 12)
    move(5, 5, ring=False)
    move(6, 20, ring=False)
    assert not timers[1].is_running, "one question at a time"
    assert len(inference.held) == 1
    inference.answer()
    assert shown(fake_viewer)[0] == (8, 10)
    timers[1].ring()
    inference.answer()
    assert shown(fake_viewer)[0] == (4, 18)
    assert not timers[1].is_running


def leave(fake_viewer, state):
    fake_viewer.events.pointer_left.emit()


def draw(fake_viewer, state):
    fake_viewer.events.prompts_changed.emit(state.points)


def go_on(fake_viewer, state):
    fake_viewer.show_frame(state.image, (1,))


def choose(fake_viewer, state):
    state.object_id += 1


def flip(fake_viewer, state):
    state.positive = False


def think(fake_viewer, state):
    state.is_thinking = True


def run(fake_viewer, state):
    state.run = RunStatus("running")


def turn_off(fake_viewer, state):
    state.hover = False


ENDS = [leave, draw, go_on, choose, flip, think, run, turn_off]


@pytest.mark.parametrize("end", ENDS)
def test_it_vanishes(state, move, inference, fake_viewer, end):
    move(10, 12)
    inference.answer()
    assert shown(fake_viewer)
    end(fake_viewer, state)
    assert shown(fake_viewer) is None


@pytest.mark.parametrize("end", ENDS)
def test_an_answer_that_comes_too_late_is_not_shown(
    state, move, inference, fake_viewer, end
):
    move(10, 12)
    end(fake_viewer, state)
    inference.answer()
    assert shown(fake_viewer) is None


@pytest.mark.parametrize("end", [think, run, turn_off])
def test_nothing_is_asked_meanwhile(state, move, inference, fake_viewer, timers, end):
    end(fake_viewer, state)
    move(10, 12)
    assert not timers[1].is_running
    assert inference.held == []


def test_a_pointer_that_would_add_no_point_asks_nothing(
    state, move, inference, fake_viewer, timers
):
    move(10, 12)
    inference.answer()
    fake_viewer.hovered = None
    fake_viewer.events.pointer_moved.emit()
    timers[1].ring()
    assert inference.held == []
    assert shown(fake_viewer) is None


def test_places_without_a_mask_show_none(state, move, inference, fake_viewer):
    move(10, 12)
    inference.answer()
    state.positive = False
    move(11, 12)
    inference.answer()
    assert shown(fake_viewer) is None
    assert state.message.severity != "problem"


def test_without_its_model_the_session_is_not_asked(
    controller, state, move, inference, fake_viewer, fake_engine
):
    loaded = fake_engine.num_loaded
    controller.suspend()
    move(10, 12)
    inference.answer()
    assert shown(fake_viewer) is None
    assert fake_engine.num_loaded == loaded


def test_where_it_takes_long_only_prepared_frames_are_asked_about(
    state, move, inference, fake_viewer, fake_engine, monkeypatch
):
    monkeypatch.setattr(hover, "SLOW", 0.0)
    move(10, 12)
    inference.answer()
    assert shown(fake_viewer)
    fake_engine.prepared.clear()
    move(11, 12)
    inference.answer()
    assert shown(fake_viewer) is None
    state.device = "cpu"
    move(12, 12)
    inference.answer()
    assert shown(fake_viewer), "another device may be quick"


def test_an_error_turns_it_off(state, move, inference, fake_engine):
    fake_engine.error = RuntimeError("no memory left")
    move(10, 12)
    with pytest.raises(RuntimeError):
        inference.answer()
    assert not state.hover
    assert state.message.text == (
        "No more previews. It failed with RuntimeError: no memory left"
    )


def test_whoever_takes_the_layer_away_sees_it_no_more(
    state, move, inference, fake_viewer, timers
):
    move(10, 12)
    inference.answer()
    (layer,) = [x for x in fake_viewer.layers if x.kind == "preview"]
    fake_viewer.remove(layer)
    timers[2].ring()
    assert not state.hover


def test_whoever_clears_the_viewer_sees_it_again(
    state, move, inference, fake_viewer, timers
):
    move(10, 12)
    inference.answer()
    for layer in reversed(fake_viewer.layers.copy()):
        fake_viewer.remove(layer)
    timers[2].ring()
    assert state.hover


def test_closing_takes_the_layer_away(controller, state, move, inference, fake_viewer):
    move(10, 12)
    inference.answer()
    controller.close()
    assert state.hover
    assert all(layer.kind != "preview" for layer in fake_viewer.layers)
    move(5, 5)
    assert inference.held == []


def test_questions_are_asked_in_the_background(state, move, inference, fake_engine):
    move(10, 12)
    task = inference.held[0]
    assert isinstance(task, Task)
    assert task.is_background
    fake_engine.threads.clear()
    worker = threading.Thread(target=inference.answer)
    worker.start()
    worker.join()
    assert threading.get_ident() not in fake_engine.threads
