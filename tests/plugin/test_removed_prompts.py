"""Prompt layers come and go; what was prompted stays, and can be drawn again."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.state import PluginState

DATA = np.arange(4 * 40 * 60, dtype=np.uint16).reshape(4, 40, 60)
BOX = np.array([[1, 25, 30], [1, 25, 40], [1, 35, 40], [1, 35, 30]], dtype=float)


@pytest.fixture
def main(fake_engine, make_timer):
    """An object with two points, and one with a point and a box."""
    viewer = ViewerModel()
    viewer.add_image(DATA, name="cells", axis_labels=("t", "y", "x"))
    viewer.dims.set_current_step(0, 1)
    main = PluginController(
        PluginState(), NapariViewer(viewer), SyncInference(), fake_engine, make_timer
    )
    main.add_prompt_layers()
    main.state.points.add([[1, 10, 10], [2, 12, 10]])
    main.state.object_id = 2
    main.flip_polarity()
    main.state.points.add([[1, 20, 20]])
    main.state.shapes.add([BOX])
    assert main.segment_frame()
    return main


def remove(main, timers, *kinds):
    for kind in kinds:
        main.viewer._viewer.layers.remove(getattr(main.state, kind))
        for timer in timers:
            timer.ring()


def prompts(main):
    session = main.desk.open.subject.session
    return [session.prompts(obj_id) for obj_id in (1, 2)]


@pytest.mark.parametrize(
    "kinds", [("points",), ("shapes",), ("points", "shapes"), ("shapes", "points")]
)
def test_prompts_and_masks_stay_and_are_drawn_again(main, timers, kinds):
    state = main.state
    before, labels = prompts(main), state.labels.data.copy()
    places = np.sort(state.points.data, axis=0)
    remove(main, timers, *kinds)
    main.objects.rename_object(1, "mother")  # which reads the prompts
    assert prompts(main) == before
    np.testing.assert_array_equal(state.labels.data, labels)
    main.add_prompt_layers()
    assert main.state.message.text.startswith("Click again where the mask is wrong")
    np.testing.assert_array_equal(np.sort(state.points.data, axis=0), places)
    assert [len(state.points.data), len(state.shapes.data)] == [3, 1]
    assert list(state.shapes.features["object_id"]) == [2]
    for timer in timers:
        timer.ring()
    assert prompts(main) == before
    assert main.segment_stack()
    state.points.add([[3, 5, 5]])
    assert main.segment_frame()
    state.points.selected_data = range(4)
    state.points.remove_selected()
    main.review.undo()
    assert prompts(main)[0] == ()


def test_a_new_object_without_layers_is_a_new_one(main, timers):
    remove(main, timers, "points", "shapes")
    main.objects.new_object()
    assert main.state.object_id == 3
    main.state.points.add([[1, 30, 10]])
    assert main.segment_frame()
    assert [row.obj_id for row in main.state.objects] == [1, 2, 3]


def test_what_is_drawn_anew_on_a_frame_counts_there(main, timers):
    state = main.state
    remove(main, timers, "points", "shapes")
    assert "to correct objects" in state.message.text
    layer = main.viewer._viewer.add_points(
        [[1, 30, 10]], features={"object_id": [1], "label": ["positive"]}
    )
    assert state.points is layer
    assert main.segment_frame()
    first, second = prompts(main)
    assert [(p.position, p.points[0].y) for p in first] == [((1,), 30), ((2,), 12)]
    assert second[0].box is not None


def test_prompts_of_a_layer_that_is_not_chosen_any_more_go(main, timers):
    main.state.points = None
    assert main.segment_frame()
    first, second = prompts(main)
    assert first == ()
    assert second[0].box is not None
    assert second[0].points == ()
