"""Complete journeys in a real viewer with a window."""

import sys
import threading

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_hqsam2.plugin import run_tasks
from napari_hqsam2.plugin.menu_commands import segment_with_hqsam2
from napari_hqsam2.plugin.widgets.main_widget import SegmentWidget


def open_widget(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-hqsam2", "HQ-SAM 2")
    return widget


def canvas_of(viewer):
    return viewer.window._qt_viewer.canvas.native


def click_canvas(qtbot, viewer):
    canvas = canvas_of(viewer)
    qtbot.wait(200)
    place = QPoint(canvas.width() // 2, canvas.height() // 2)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)


def move_pointer(canvas, place):
    where, none = QPointF(place), Qt.MouseButton.NoButton
    there, keys = canvas.mapToGlobal(where), Qt.KeyboardModifier.NoModifier
    move = QMouseEvent(QEvent.Type.MouseMove, where, there, none, none, keys)
    QApplication.sendEvent(canvas, move)


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def finish(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.state.run.is_busy, timeout=20_000)


@pytest.fixture
def shown(make_napari_viewer, fake_engine, monkeypatch):
    """A viewer with a time-lapse at frame 12, and the plugin with a quick model."""
    monkeypatch.setattr(
        "napari_hqsam2.plugin.widgets.main_widget.ModelEngine", lambda: fake_engine
    )
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("napari-hqsam2", "nuclei_timelapse")
    viewer.dims.set_current_step(0, 12)
    getattr(viewer, "scene", viewer).camera.center = (0, 60, 50)
    return viewer


@pytest.fixture
def opened(shown):
    """The viewer, and the widget with prompt layers."""
    shown.layers.selection.active = shown.layers[0]
    segment_with_hqsam2(shown)
    return shown, open_widget(shown)


def test_click_on_canvas_shows_a_mask_that_follows_the_click(opened, qtbot):
    viewer, widget = opened
    assert isinstance(widget, SegmentWidget)
    assert widget.state.image is viewer.layers["nuclei over time"]
    click_canvas(qtbot, viewer)
    points, state = widget.state.points, widget.state
    assert len(points.data) == 1
    np.testing.assert_allclose(points.data[0], [12, 60, 50], atol=1)
    qtbot.waitUntil(lambda: len(state.objects) == 1, timeout=10_000)
    qtbot.waitUntil(lambda: not state.is_thinking, timeout=10_000)
    labels = state.labels
    assert labels.data[12, 60, 50] == 1
    assert widget.objects.objects.isVisibleTo(widget)
    assert labels.data.any(axis=(1, 2)).sum() == 1

    points.data = points.data + np.array([0, 20, 0])
    qtbot.waitUntil(lambda: labels.data[12, 80, 50] == 1, timeout=10_000)
    assert labels.data[12, 60, 50] == 0
    points.selected_data = {0}
    points.remove_selected()
    qtbot.waitUntil(lambda: not labels.data.any(), timeout=10_000)

    canvas = canvas_of(viewer)
    canvas.setFocus()
    viewer.layers.selection.active = points
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: len(points.data) == 1, timeout=10_000)
    assert labels.data[12, 80, 50] == 1
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: labels.data[12, 60, 50] == 1, timeout=10_000)
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(canvas, Qt.Key.Key_Z, both)
    qtbot.waitUntil(lambda: labels.data[12, 80, 50] == 1, timeout=10_000)


def test_keys_for_objects_polarity_and_accepting(opened, qtbot):
    viewer, widget = opened
    state, canvas = widget.state, canvas_of(viewer)
    click_canvas(qtbot, viewer)
    qtbot.waitUntil(lambda: len(state.objects) == 1, timeout=10_000)
    qtbot.waitUntil(lambda: state.timeline is not None, timeout=10_000)
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_K)
    qtbot.waitUntil(lambda: state.objects[0].num_locked == 1, timeout=10_000)
    click_canvas(qtbot, viewer)
    qtbot.waitUntil(lambda: "Accepted at T" in state.message.text, timeout=10_000)
    assert len(state.points.data) == 1
    qtbot.keyClick(canvas, Qt.Key.Key_Q)
    assert not state.positive
    qtbot.keyClick(canvas, Qt.Key.Key_N)
    assert (state.object_id, state.positive) == (2, True)
    viewer.layers.selection.active = state.image
    qtbot.keyClick(canvas, Qt.Key.Key_N)
    assert state.object_id == 3
    qtbot.keyClick(canvas, Qt.Key.Key_J)
    assert "no doubtful frames" in widget.run.message.text()


def test_follow_undo_and_copy(opened, qtbot):
    _, widget = opened
    state = widget.state
    state.points.add([[12, 60, 50]])
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    labels = state.labels
    assert labels.data.any(axis=(1, 2)).all()
    assert widget.review.timeline.isVisibleTo(widget)

    def is_listed():
        assert [each.span for each in state.objects] == ["T 0 to 31"], state.objects

    qtbot.waitUntil(is_listed, timeout=20_000)
    click(qtbot, widget.review.copy)
    clipboard = QApplication.clipboard()
    qtbot.waitUntil(lambda: "session.propagate" in clipboard.text(), timeout=10_000)
    click(qtbot, widget.review.undo)
    qtbot.waitUntil(lambda: not labels.data.any(), timeout=10_000)


def test_what_is_told_last_stays(opened, qtbot, monkeypatch):
    """Progress bars process events: what is told meanwhile waits for its turn."""
    monkeypatch.setattr(run_tasks, "REPORT_EVERY", -1)
    _, widget = opened
    state, spans = widget.state, []
    state.events.objects.connect(lambda rows: spans.extend(row.span for row in rows))
    state.points.add([[12, 60, 50]])
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    forth = [f"T 12 to {last}" for last in range(13, 32)]
    back = [f"T {first} to 31" for first in range(11, -1, -1)]
    told = list(dict.fromkeys(spans))
    assert [span for span in told if span in forth + back] == forth + back
    assert spans[-1] == "T 0 to 31"


def test_drawing_a_rectangle_with_the_mouse(opened, qtbot):
    viewer, widget = opened
    shapes, state = widget.state.shapes, widget.state
    viewer.layers.selection.active = shapes
    assert shapes.mode == "add_rectangle"
    canvas = canvas_of(viewer)
    qtbot.wait(200)
    start = QPoint(canvas.width() // 2 - 30, canvas.height() // 2 - 30)
    for offset in (0, 60):
        begin, end = start + QPoint(offset, 0), start + QPoint(offset + 40, 50)
        qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=begin)
        for step in range(1, 6):
            qtbot.mouseMove(canvas, begin + (end - begin) * step / 5)
            qtbot.wait(30)
        qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    assert len(shapes.data) == 2
    assert list(shapes.features["object_id"]) == [1, 2]
    qtbot.waitUntil(lambda: len(state.objects) == 2, timeout=10_000)
    qtbot.waitUntil(lambda: not state.is_thinking, timeout=10_000)
    assert set(np.unique(state.labels.data)) == {0, 1, 2}


def test_closing_the_dock_during_a_run(opened, qtbot, fake_engine):
    viewer, widget = opened
    state = widget.state
    state.live = False
    state.points.add([[0, 50, 50]])
    fake_engine.before_frame = lambda _: threading.Event().wait(0.02)
    click(qtbot, widget.run.stack)
    qtbot.waitUntil(lambda: state.run.done >= 2, timeout=20_000)
    labels = state.labels
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: fake_engine.is_released, timeout=10_000)
    assert labels.data.any()
    qtbot.waitUntil(lambda: not state.run.is_busy, timeout=10_000)
    viewer.add_image(np.zeros((4, 20, 30)), contrast_limits=(0, 1))


def test_the_viewer_stays_usable_while_many_objects_are_followed(
    opened, qtbot, fake_engine
):
    _, widget = opened
    state = widget.state
    places = np.stack(np.mgrid[5:125:12, 5:125:12], axis=-1).reshape(-1, 2)
    rows = np.hstack([np.full((len(places), 1), 12), places])
    state.live, state.frames = False, (8, 18)
    state.points.add(rows)
    features = state.points.features.copy()
    features["object_id"] = np.arange(1, len(rows) + 1)
    state.points.features = features
    turn, late = threading.Event(), []

    def wait_for_a_turn(number):
        turn.clear()
        if not turn.wait(20):
            late.append(number)

    # no frame is done before the event loop has had a turn
    fake_engine.before_frame = wait_for_a_turn
    timer = QTimer()
    timer.timeout.connect(turn.set)
    timer.start(0)
    click(qtbot, widget.run.stack)
    qtbot.waitUntil(lambda: not state.run.is_busy, timeout=120_000)
    timer.stop()
    assert late == []
    assert len(np.unique(state.labels.data)) == len(rows) + 1
    assert "torchvision" not in sys.modules


def test_the_pointer_shows_what_a_click_would_give(opened, qtbot):
    viewer, widget = opened
    state, canvas = widget.state, canvas_of(viewer)
    qtbot.waitUntil(lambda: state.whereabouts != "", timeout=10_000)
    qtbot.wait(200)
    place = QPoint(canvas.width() // 2, canvas.height() // 2)

    def preview():
        layers = [x for x in viewer.layers if x.name.startswith("Preview")]
        return next((layer for layer in layers if layer.visible), None)

    def is_shown():
        layer = preview()
        middle = layer and layer.data_to_world((0, 2, 2))
        return layer is not None and np.allclose(middle, (12, 60, 50), atol=1)

    def point_at(offset):
        move_pointer(canvas, place + QPoint(offset, 0))
        qtbot.wait(50)

    viewer.mouse_over_canvas = True
    point_at(40)
    point_at(0)
    qtbot.waitUntil(is_shown, timeout=10_000)
    layer = preview()
    assert viewer.layers.selection.active is state.points
    assert viewer.layers.index(layer) < viewer.layers.index(state.points)
    assert not state.labels.data.any()
    assert widget.image.currentText() == "nuclei over time"

    left = canvas
    while left is not None:  # which one listens depends on napari's version
        QApplication.sendEvent(left, QEvent(QEvent.Type.Leave))
        left = left.parentWidget()
    assert preview() is None
    viewer.mouse_over_canvas = True
    state.points.mode = "pan_zoom"
    point_at(6)
    qtbot.wait(400)
    assert preview() is None
    state.points.mode = "add"
    point_at(0)
    qtbot.waitUntil(is_shown, timeout=10_000)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    assert preview() is None
    qtbot.waitUntil(lambda: state.labels.data[12, 60, 50] == 1, timeout=10_000)
    state.hover = False
    qtbot.waitUntil(lambda: len(viewer.layers) == 4)


def test_a_script_may_remove_all_layers_that_it_sees(opened, qtbot):
    viewer, widget = opened
    state, canvas = widget.state, canvas_of(viewer)
    qtbot.waitUntil(lambda: state.whereabouts != "", timeout=10_000)
    viewer.mouse_over_canvas = True
    move_pointer(canvas, QPoint(canvas.width() // 2, canvas.height() // 2))
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=10_000)
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    qtbot.wait(300)
    assert len(viewer.layers) == 0
    assert state.hover


def test_undo_of_strokes_is_followed(opened, qtbot):
    viewer, widget = opened
    state, canvas = widget.state, canvas_of(viewer)
    qtbot.waitUntil(lambda: state.labels is not None, timeout=10_000)
    labels = state.labels
    viewer.layers.selection.active = labels
    labels.mode, labels.brush_size = "paint", 6
    click_canvas(qtbot, viewer)
    qtbot.waitUntil(lambda: len(state.objects) == 1, timeout=10_000)
    assert state.objects[0].num_locked == 1
    assert labels.data[12, 60, 50] == 1
    control = Qt.KeyboardModifier.ControlModifier
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_Z, control)
    qtbot.waitUntil(lambda: not state.objects, timeout=10_000)
    assert not labels.data.any()
    both = control | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(canvas, Qt.Key.Key_Z, both)
    qtbot.waitUntil(lambda: len(state.objects) == 1, timeout=10_000)
    assert state.objects[0].num_locked == 1
    assert labels.data[12, 60, 50] == 1
    state.labels = None
    qtbot.keyClick(canvas, Qt.Key.Key_Z, control)
    assert not labels.data.any(), "napari's own undo, as without the plugin"
