"""Complete journeys in a real viewer with a window."""

import threading

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_hqsam2.plugin.menu_commands import segment_with_hqsam2
from napari_hqsam2.plugin.widgets.main_widget import SegmentWidget


def open_widget(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-hqsam2", "HQ-SAM 2")
    return widget


def canvas_of(viewer):
    return viewer.window._qt_viewer.canvas.native


@pytest.fixture
def shown(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("napari-hqsam2", "nuclei_timelapse")
    return viewer


def test_menu_click_on_canvas_segment_and_undo(shown, qtbot, fake_engine):
    viewer = shown
    other = viewer.add_image(np.zeros((4, 20, 30)), contrast_limits=(0, 1))
    viewer.layers.selection.active = viewer.layers[0]
    segment_with_hqsam2(viewer)
    widget = open_widget(viewer)
    assert isinstance(widget, SegmentWidget)
    assert widget.state.image is viewer.layers[0]
    viewer.layers.remove(other)
    widget.controller._engine = fake_engine

    viewer.dims.set_current_step(0, 12)
    getattr(viewer, "scene", viewer).camera.center = (0, 60, 50)
    canvas = canvas_of(viewer)
    qtbot.wait(200)
    centre = QPoint(canvas.width() // 2, canvas.height() // 2)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=centre)
    points = widget.state.points
    assert len(points.data) == 1
    np.testing.assert_allclose(points.data[0], [12, 60, 50], atol=1)

    qtbot.mouseClick(widget.run.frame, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.state.run.is_busy, timeout=20_000)
    labels = widget.state.labels
    assert labels.data[12, 60, 50] == 1
    labels.undo()
    assert not labels.data.any()

    qtbot.mouseClick(widget.run.stack, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.state.run.is_busy, timeout=20_000)
    assert labels.data.any(axis=(1, 2)).all()


def test_drawing_a_rectangle_with_the_mouse(shown, qtbot):
    viewer = shown
    segment_with_hqsam2(viewer)
    widget = open_widget(viewer)
    shapes = widget.state.shapes
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
        qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    assert len(shapes.data) == 2
    assert list(shapes.features["object_id"]) == [1, 2]


def test_closing_the_dock_during_a_run(shown, qtbot, fake_engine):
    viewer = shown
    segment_with_hqsam2(viewer)
    widget = open_widget(viewer)
    state = widget.state
    widget.controller._engine = fake_engine
    state.points.add([[0, 50, 50]])
    fake_engine.before_frame = lambda _: threading.Event().wait(0.02)
    qtbot.mouseClick(widget.run.stack, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: state.run.done >= 2, timeout=20_000)
    labels = state.labels
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: fake_engine.is_released, timeout=10_000)
    assert labels.data.any()
    qtbot.waitUntil(lambda: not state.run.is_busy, timeout=10_000)
    viewer.add_image(np.zeros((4, 20, 30)), contrast_limits=(0, 1))
