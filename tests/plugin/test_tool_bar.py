"""The live switch, and the dot that breathes."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtTest import QTest

from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.plugin.widgets.tool_bar import STEP, LiveSwitch


class Paints(QObject):
    """Counts how often a widget is painted."""

    number = 0

    def eventFilter(self, watched, event):  # noqa: N802 - named by Qt
        del watched
        self.number += event.type() == QEvent.Type.Paint
        return False


@pytest.fixture
def opened(qtbot):
    state = PluginState()
    switch = LiveSwitch(SimpleNamespace(state=state))
    qtbot.addWidget(switch)
    switch.show()
    qtbot.waitExposed(switch)
    return switch, state


def test_the_box_and_the_state_agree(opened):
    switch, state = opened
    assert switch.live.isChecked()
    QTest.keyClick(switch.live, Qt.Key.Key_Space)
    assert not state.live
    state.live = True
    assert switch.live.isChecked()


def test_the_dot_is_painted_again_and_again_only_while_thinking(opened, qtbot):
    switch, state = opened
    qtbot.wait(2 * STEP)
    paints = Paints()
    switch.dot.installEventFilter(paints)
    qtbot.wait(4 * STEP)
    assert paints.number == 0
    state.is_thinking = True
    assert switch.dot.toolTip() == "Thinking"
    qtbot.waitUntil(lambda: paints.number >= 3)
    state.is_thinking = False
    assert switch.dot.toolTip() == "Ready"
    assert not switch.dot.is_breathing
    qtbot.wait(2 * STEP)
    paints.number = 0
    qtbot.wait(4 * STEP)
    assert paints.number == 0


def test_the_dot_holds_still_while_it_is_hidden(opened):
    switch, state = opened
    state.is_thinking = True
    assert switch.dot.is_breathing
    switch.hide()
    assert not switch.dot.is_breathing
    state.is_thinking = False
    state.is_thinking = True
    assert not switch.dot.is_breathing
    switch.show()
    assert switch.dot.is_breathing


def test_the_dot_brightens_as_it_breathes(opened, qtbot):
    switch, state = opened

    def contrast():
        image = switch.dot.grab().toImage()
        corner, centre = image.pixelColor(0, 0), image.pixelColor(7, 7)
        return abs(corner.lightness() - centre.lightness())

    at_rest = contrast()
    assert at_rest > 0
    state.is_thinking = True
    qtbot.waitUntil(lambda: contrast() > 2 * at_rest, timeout=3000)


def test_a_closed_switch_is_gone_and_not_missed(qtbot):
    state = PluginState(is_thinking=True)
    alive = weakref.ref(LiveSwitch(SimpleNamespace(state=state)))
    gc.collect()
    assert alive() is None
    state.live = False
