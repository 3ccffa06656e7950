"""Small parts of the panels."""

from qtpy.QtWidgets import QLabel

from napari_hqsam2.plugin.widgets.layout import NO_BREAK, quiet_label


def test_a_quiet_label_is_as_high_as_its_lines_and_no_higher(qtbot):
    label = quiet_label("one line")
    qtbot.addWidget(label)
    label.resize(200, 15)
    label.show()
    low = label.minimumHeight()
    label.setText(
        "a sentence that goes on for longer than one line, and then some more"
    )
    assert label.minimumHeight() > 1.5 * low
    label.setText("one line")
    assert label.minimumHeight() == low
    label.resize(30, 15)
    assert label.minimumHeight() > 1.5 * low
    label.least = 100
    label.setText("one line")
    assert label.minimumHeight() == 100


def test_numbers_stay_with_what_they_count(qtbot):
    label = quiet_label()
    qtbot.addWidget(label)
    given = "through T, frames 0 to 31 at Z = 7, 5 objects, about 2 s, 240 MB"
    label.setText(given)
    assert label.text() == given
    parts = QLabel.text(label).split(" ")
    assert [part.replace(NO_BREAK, " ") for part in parts] == [
        "through",
        "T,",
        "frames",
        "0 to 31",
        "at",
        "Z = 7,",
        "5 objects,",
        "about 2 s,",
        "240 MB",
    ]
