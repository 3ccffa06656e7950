"""The line about pixels that masks left to other objects."""

import pytest
from qtpy.QtCore import Qt

from napari_hqsam2.plugin.rows import ObjectRow
from napari_hqsam2.plugin.state import PluginState, RunStatus
from napari_hqsam2.plugin.widgets.dispute_line import DisputeLine, dispute_words
from napari_hqsam2.session.disputes import Dispute

NAMES = {1: "mother", 2: "sister", 3: ""}


def disputes(*rows, frame=0):
    return tuple(Dispute((frame,), *row) for row in rows)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((), ""),
        (disputes((2, 1, 1)), "Would go to sister: 1 pixel of mother."),
        (
            disputes((2, 1, 1200), (2, 3, 7), (2, 9, 30)),
            "Would go to sister: 1,200 pixels of mother, 30 of label 9, 7 of label 3.",
        ),
        (
            disputes((1, 4, 40), (2, 5, 30), (2, 6, 20), (3, 7, 9), (3, 8, 2)),
            (
                "Would go to mother, sister and label 3: 40 pixels of label 4, "
                "30 of label 5, 20 of label 6, 11 of 2 others."
            ),
        ),
        (
            disputes(*((i, 20, 5) for i in range(1, 5)))
            + disputes((5, 20, 1), frame=3),
            "Would go to 5 objects: 21 pixels of label 20, on 2 frames.",
        ),
    ],
)
def test_words_say_who_would_lose_what_to_whom(found, words):
    assert dispute_words(found, NAMES) == words


class FakeController:
    def __init__(self):
        self.state = PluginState()
        self.taken = 0

    def take_disputed(self):
        self.taken += 1
        self.state.disputes = ()


def test_the_line_is_there_only_while_there_is_something_to_take(qtbot):
    controller = FakeController()
    state, line = controller.state, DisputeLine(controller)
    qtbot.addWidget(line)
    assert line.isHidden()
    state.objects = (ObjectRow(2, "sister", (0, 0, 0), "", 1),)
    state.disputes = disputes((2, 1, 8))
    assert not line.isHidden()
    assert line.words.text() == "Would go to sister: 8 pixels of label 1."
    state.run = RunStatus("running")
    assert not line.take.isEnabled()
    state.run = RunStatus()
    qtbot.mouseClick(line.take, Qt.MouseButton.LeftButton)
    assert controller.taken == 1
    assert line.isHidden()
