"""Review of one object, undo and redo, driven with the mouse."""

import gc
import weakref
from dataclasses import replace

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_hqsam2.plugin.rows import ObjectRow, Timeline, TimelineFrame
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.plugin.widgets.review_panel import TWO_LINES, ReviewPanel

FRAMES = (
    TimelineFrame(),
    TimelineFrame(90, 0.9, "prompt"),
    TimelineFrame(80, 0.4, "tracked", doubt="area drops from 200 to 80 px"),
    TimelineFrame(85, 0.9, "tracked", is_locked=True),
)
OBJECTS = tuple(
    ObjectRow(obj_id, "cell", (1, 0, 0), "T 1 to 3", 3, doubts=(((2,), "it shrinks"),))
    for obj_id in (1, 2)
)


class FakeController:
    """Goes to frames and locks them; of the rest it notes that it was asked."""

    def __init__(self, state):
        self.state = state
        self.calls = []
        self.refuses = False

    def go_to_frame(self, frame):
        self.state.timeline = replace(self.state.timeline, current=frame)

    def next_doubt(self):
        self.calls.append("next")

    def previous_doubt(self):
        self.calls.append("previous")

    def lock_here(self, is_locked):
        self.calls.append(("lock", is_locked))
        if self.refuses:
            return
        timeline = self.state.timeline
        frames = list(timeline.frames)
        shown = frames[timeline.current]
        frames[timeline.current] = replace(shown, is_locked=is_locked)
        self.state.timeline = replace(timeline, frames=tuple(frames))

    def undo(self):
        self.calls.append("undo")
        self.state.redo_name, self.state.undo_name = self.state.undo_name, ""

    def redo(self):
        self.calls.append("redo")
        self.state.undo_name, self.state.redo_name = self.state.redo_name, ""

    def copy_as_python(self):
        self.calls.append("copy")


@pytest.fixture
def opened(qtbot):
    """Panel with four frames, the second on show."""
    state = PluginState(timeline=Timeline("T", 1, FRAMES), objects=OBJECTS)
    controller = FakeController(state)
    panel = ReviewPanel(controller)
    qtbot.addWidget(panel)
    panel.resize(300, 200)
    panel.show()
    return panel, controller


def click(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_the_frame_on_show_is_told_in_words(opened):
    panel, controller = opened
    assert panel.words.text() == "Frame 1 · 90 px · 90% sure\nPrompted"
    controller.go_to_frame(2)
    assert panel.words.text().endswith("Doubtful: area drops from 200 to 80 px")


def test_a_click_on_the_timeline_goes_there(opened):
    panel, controller = opened
    strip = panel.timeline
    where = strip.rect().center()
    where.setX(round(strip.x_of(3.5)))
    QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=where)
    assert controller.state.timeline.current == 3
    assert panel.words.text().startswith("Frame 3")


def test_nothing_moves_from_frame_to_frame(opened):
    panel, controller = opened
    heights = set()
    for frame in range(len(FRAMES)):
        controller.go_to_frame(frame)
        heights.add(panel.sizeHint().height())
    assert len(heights) == 1
    assert panel.words.fontMetrics().lineSpacing() * 2 <= TWO_LINES


def test_doubtful_frames_are_one_click_away(opened):
    panel, controller = opened
    click(panel.next)
    click(panel.previous)
    assert controller.calls == ["next", "previous"]
    assert "2 in all, 1 of this one" in panel.next.toolTip()
    controller.state.objects = controller.state.objects[1:]
    assert "1 in all, 0 of this one" in panel.next.toolTip()
    assert panel.next.isEnabled()
    controller.state.objects = ()
    assert not panel.next.isEnabled()
    assert not panel.previous.isEnabled()
    assert "no doubtful" in panel.next.toolTip()


def test_a_frame_is_accepted_and_taken_back(opened):
    panel, controller = opened
    click(panel.lock)
    assert controller.state.timeline.frames[1].is_locked
    assert panel.lock.isChecked()
    assert panel.lock.text() == "Accepted"
    click(panel.lock)
    assert not controller.state.timeline.frames[1].is_locked
    assert controller.calls == [("lock", True), ("lock", False)]
    controller.go_to_frame(3)
    assert panel.lock.isChecked()
    controller.go_to_frame(0)
    assert not panel.lock.isChecked()
    assert not panel.lock.isEnabled()


def test_the_button_says_what_is_even_if_the_controller_refuses(opened):
    panel, controller = opened
    controller.refuses = True
    click(panel.lock)
    assert controller.calls == [("lock", True)]
    assert not panel.lock.isChecked()
    assert panel.lock.text() == "Accept"


def test_undo_and_redo_say_what_they_do(opened):
    panel, controller = opened
    assert not panel.undo.isEnabled()
    assert panel.undo.toolTip() == "Nothing to undo"
    controller.state.undo_name = "propagate"
    assert panel.undo.toolTip() == "Undo: propagate"
    click(panel.undo)
    assert not panel.undo.isEnabled()
    assert panel.redo.toolTip() == "Redo: propagate"
    click(panel.redo)
    assert panel.undo.isEnabled()
    assert controller.calls == ["undo", "redo"]


def test_without_a_timeline_only_the_steps_are_shown(opened):
    panel, controller = opened
    controller.state.timeline = None
    assert not panel.timeline.isVisible()
    assert not panel.lock.isVisible()
    assert panel.undo.isVisible()
    click(panel.copy)
    assert controller.calls == ["copy"]


def test_the_panel_fits_a_narrow_dock(opened):
    panel, _ = opened
    assert panel.minimumSizeHint().width() <= 300


def test_a_closed_panel_is_gone_and_not_missed(qtbot):
    controller = FakeController(PluginState(timeline=Timeline("T", 1, FRAMES)))
    alive = weakref.ref(ReviewPanel(controller))
    gc.collect()
    assert alive() is None
    controller.go_to_frame(2)


def test_nothing_is_squeezed_in_the_dock_of_a_viewer(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    panel = ReviewPanel(FakeController(PluginState(timeline=Timeline("T", 1, FRAMES))))
    content = QWidget()
    layout = QVBoxLayout(content)
    layout.addWidget(panel)
    layout.addStretch(1)
    viewer.window.add_dock_widget(content, area="right")
    qtbot.waitUntil(lambda: panel.height() == panel.sizeHint().height())
    for button in (panel.next, panel.lock, panel.undo, panel.copy):
        assert button.height() >= button.minimumSizeHint().height()
