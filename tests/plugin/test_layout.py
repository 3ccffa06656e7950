"""Small parts of the panels."""

from napari_hqsam2.plugin.widgets.layout import quiet_label


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
