"""The way back to the viewer's thread."""

import pytest
from qtpy.QtWidgets import QApplication

from napari_hqsam2.plugin.workers import MainThread


@pytest.fixture
def main(qapp):
    del qapp
    return MainThread()


def test_functions_are_called_one_after_the_other(main, qtbot):
    told = []

    def first():
        told.append("first begins")
        QApplication.processEvents()
        told.append("first ends")

    main.post(first)
    for number in range(3):
        main.post(lambda number=number: told.append(number))
    main.post(lambda: main.post(lambda: told.append("posted within")))
    qtbot.waitUntil(lambda: "posted within" in told)
    assert told == ["first begins", "first ends", 0, 1, 2, "posted within"]


def test_one_that_fails_does_not_hold_up_the_others(main, qtbot):
    told = []

    def fail():
        QApplication.processEvents()
        message = "broken"
        raise ValueError(message)

    main.post(fail)
    main.post(lambda: told.append("next"))
    with qtbot.captureExceptions() as errors:
        qtbot.waitUntil(lambda: told == ["next"])
    assert [str(value) for _, value, _ in errors] == ["broken"]
