"""The line that offers unsaved work, and the choice whether any is kept."""

import time

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_hqsam2.plugin.preferences import Preferences
from napari_hqsam2.plugin.state import PluginState, RunStatus, Unsaved
from napari_hqsam2.plugin.widgets.main_widget import SegmentWidget
from napari_hqsam2.plugin.widgets.recovery_line import RecoveryLine, unsaved_words


def at(*moment):
    return time.mktime((*moment, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ((2026, 3, 1, 9, 5), "Unsaved work of today, 09:05: 7 objects."),
        ((2026, 2, 28, 23, 59), "Unsaved work of yesterday, 23:59: 7 objects."),
        ((2026, 2, 3, 14, 0), "Unsaved work of 3 February, 14:00: 7 objects."),
        ((2025, 12, 31, 8, 0), "Unsaved work of 31 December 2025, 08:00: 7 objects."),
    ],
)
def test_words_say_when_and_how_much(tmp_path, when, words):
    unsaved = Unsaved(tmp_path, at(*when), 7)
    assert unsaved_words(unsaved, at(2026, 3, 1, 10, 0)) == words


class FakeOffer:
    def __init__(self):
        self.state = PluginState()
        self.asked = []

    def restore(self):
        self.asked.append("restore")

    def discard(self):
        self.asked.append("discard")


def test_the_line_is_there_only_if_there_is_work(qtbot, tmp_path):
    offer = FakeOffer()
    line = RecoveryLine(offer)
    qtbot.addWidget(line)
    assert line.isHidden()
    offer.state.unsaved = Unsaved(tmp_path, time.time(), 1)
    assert not line.isHidden()
    assert "1 object." in line.words.text()
    offer.state.run = RunStatus("running")
    assert not line.restore.isEnabled()
    offer.state.run = RunStatus()
    qtbot.mouseClick(line.restore, Qt.MouseButton.LeftButton)
    assert offer.asked == ["restore"]
    offer.state.unsaved = None
    assert line.isHidden()


def test_discarding_is_asked_once_more(qtbot, tmp_path):
    offer = FakeOffer()
    line = RecoveryLine(offer)
    qtbot.addWidget(line)
    offer.state.unsaved = Unsaved(tmp_path, time.time(), 12)
    qtbot.mouseClick(line.discard, Qt.MouseButton.LeftButton)
    assert line.discard.text() == "Delete 12 objects?"
    line.leaveEvent(None)
    assert line.discard.text() == "Discard"
    qtbot.mouseClick(line.discard, Qt.MouseButton.LeftButton)
    assert offer.asked == []
    qtbot.mouseClick(line.discard, Qt.MouseButton.LeftButton)
    assert offer.asked == ["discard"]


def test_the_choice_is_shown_and_remembered(qtbot, fake_engine):
    widget = SegmentWidget(ViewerModel(), engine=fake_engine)
    qtbot.addWidget(widget)
    assert widget.model.keeps_work.isChecked()
    widget.model.keeps_work.setChecked(False)
    again = PluginState()
    _kept = Preferences(again)
    assert not again.keeps_work
    widget.state.keeps_work = True
    assert widget.model.keeps_work.isChecked()


def test_a_closed_widget_leaves_its_work_for_the_next_one(qtbot, fake_engine):
    """With the thread that does it in a real viewer."""

    def opened():
        viewer = ViewerModel()
        data = np.arange(3 * 50 * 60, dtype=np.uint16).reshape(3, 50, 60)
        viewer.add_image(data, axis_labels=("t", "y", "x"))
        return SegmentWidget(viewer, engine=fake_engine)

    first = opened()
    assert first.unsaved.isHidden()
    qtbot.mouseClick(first.prompts.add_layers, Qt.MouseButton.LeftButton)
    first.state.points.add([[0, 20, 30]])
    qtbot.waitUntil(lambda: first.state.objects != ())
    labels = first.state.labels.data
    qtbot.waitUntil(lambda: first.controller.desk.open.subject.kept is not None)
    thread = first.controller._inference
    first.deleteLater()
    qtbot.waitUntil(lambda: thread.join(0))
    second = opened()
    qtbot.addWidget(second)
    qtbot.waitUntil(lambda: second.state.unsaved is not None)
    assert not second.unsaved.isHidden()
    qtbot.mouseClick(second.unsaved.restore, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: second.state.objects != ())
    np.testing.assert_array_equal(second.state.labels.data, labels)
    assert second.unsaved.isHidden()
