"""The timeline: what is painted, what is said, and where a click goes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QHelpEvent, QPalette, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QToolTip

from napari_hqsam2.plugin.rows import Timeline, TimelineFrame
from napari_hqsam2.plugin.widgets.colours import AMBER
from napari_hqsam2.plugin.widgets.timeline import (
    HEIGHT,
    MARGIN,
    TimelineStrip,
    describe_frame,
)
from napari_hqsam2.plugin.widgets.timeline_drawing import (
    RAMP,
    FrameArrays,
    colour_confidence,
    find_runs,
    make_curve,
    paint_curve,
)

LEFT = Qt.MouseButton.LeftButton
TRACKED = TimelineFrame(100, 0.9, "tracked")


def make_timeline(count, current=0, **special):
    """Tracked frames, but for those given as ``f3=...``."""
    frames = [special.get(f"f{i}", TRACKED) for i in range(count)]
    return Timeline("T", current, tuple(frames))


@pytest.fixture
def make_strip(qtbot):
    def make(timeline, width=300):
        strip = TimelineStrip()
        qtbot.addWidget(strip)
        strip.resize(width, HEIGHT)
        strip.show_timeline(timeline)
        strip.show()
        asked = []

        def follow(frame):
            asked.append(frame)
            strip.show_timeline(replace(timeline, current=frame))

        strip.frame_chosen.connect(follow)
        strip.asked, strip.follow = asked, follow
        return strip

    return make


def place(strip, frame):
    return QPoint(round(strip.x_of(frame + 0.5)), HEIGHT // 2)


def turn(strip, notches, *, sideways=False):
    delta = QPoint(notches, 0) if sideways else QPoint(0, notches)
    middle = QPointF(strip.rect().center())
    no_button, no_key = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(
        middle,
        middle,
        QPoint(),
        delta,
        no_button,
        no_key,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(strip, event)


def colours(strip):
    image = strip.grab().toImage()
    rows, columns = range(image.height()), range(image.width())
    return {image.pixelColor(x, y).name() for x in columns for y in rows}


@given(count=st.integers(1, 5000), width=st.integers(40, 800), share=st.floats(0, 0.99))
def test_a_place_and_its_frame_belong_together(qapp, count, width, share):
    strip = TimelineStrip()
    strip.resize(width, HEIGHT)
    strip.show_timeline(make_timeline(count))
    frame = int(share * count)
    assert strip.frame_at(strip.x_of(frame + 0.5)) == frame
    assert strip.frame_at(-5) == 0
    assert strip.frame_at(width + 5) == count - 1


def test_a_click_goes_to_the_frame(make_strip):
    strip = make_strip(make_timeline(40))
    QTest.mouseClick(strip, LEFT, pos=place(strip, 23))
    QTest.mouseClick(strip, LEFT, pos=place(strip, 23))
    QTest.mouseClick(strip, Qt.MouseButton.RightButton, pos=place(strip, 3))
    assert strip.asked == [23]


def test_a_drag_takes_the_frames_along_and_stops_at_the_ends(make_strip):
    strip = make_strip(make_timeline(10, current=4))
    QTest.mousePress(strip, LEFT, pos=place(strip, 4))
    for x in (place(strip, 5).x(), place(strip, 6).x(), 1000, -1000):
        QTest.mouseMove(strip, QPoint(x, 5))
    QTest.mouseRelease(strip, LEFT, pos=QPoint(-1000, 5))
    assert strip.asked == [5, 6, 9, 0]


def test_the_wheel_steps_forward_when_it_turns_down(make_strip):
    strip = make_strip(make_timeline(10, current=4))
    for part in (-40, -40, -40, 120, 240):
        turn(strip, part)
    turn(strip, -120, sideways=True)
    assert strip.asked == [5, 4, 2, 3]


def test_keys_step_and_others_go_on(make_strip):
    strip = make_strip(make_timeline(10, current=1))
    for key in ("Right", "Left", "Left", "Left", "End", "Right", "Home"):
        QTest.keyClick(strip, getattr(Qt.Key, f"Key_{key}"))
    assert strip.asked == [2, 1, 0, 9, 0]
    QTest.keyClick(strip, Qt.Key.Key_J)
    assert strip.asked[5:] == []


def test_nothing_to_show_is_nothing_to_click(make_strip):
    strip = make_strip(None)
    QTest.mouseClick(strip, LEFT)
    QTest.keyClick(strip, Qt.Key.Key_Right)
    turn(strip, -120)
    assert strip.asked == []
    assert len(colours(strip)) == 1


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (TimelineFrame(), "Frame 0 · not segmented"),
        (TimelineFrame(1532, 0.934, "tracked"), "Frame 0 · 1,532 px · 93% sure"),
        (
            TimelineFrame(0, 0.5, "tracked", doubt="it is gone"),
            "Frame 0 · object not there · 50% sure\nDoubtful: it is gone",
        ),
        (
            TimelineFrame(7, 1.0, "prompt", is_locked=True),
            "Frame 0 · 7 px · 100% sure\nPrompted · accepted",
        ),
        (
            TimelineFrame(7, 1.0, "mask"),
            "Frame 0 · 7 px · 100% sure\nGiven as a mask",
        ),
    ],
)
def test_frames_in_words(frame, words):
    assert describe_frame(Timeline("T", 0, (frame,)), 0) == words
    slices = describe_frame(Timeline("Z", 0, (frame,)), 0)
    assert slices == words.replace("Frame", "Slice")


def test_the_tool_tip_tells_of_the_frame_under_the_pointer(make_strip):
    strip = make_strip(make_timeline(10, f7=replace(TRACKED, doubt="a jump")))
    for frame, words in ((7, "a jump"), (2, "Frame 2")):
        where = place(strip, frame)
        there = strip.mapToGlobal(where)
        QApplication.sendEvent(strip, QHelpEvent(QEvent.Type.ToolTip, where, there))
        assert words in QToolTip.text()
    QToolTip.hideText()


def test_doubts_are_amber_even_among_thousands(make_strip):
    strip = make_strip(make_timeline(5000))
    assert AMBER.name() not in colours(strip)
    strip.show_timeline(make_timeline(5000, f1234=replace(TRACKED, doubt="a jump")))
    assert AMBER.name() in colours(strip)


@pytest.mark.parametrize("count", [1, 2, 5000])
@pytest.mark.parametrize(
    "change",
    [{"kind": "prompt"}, {"is_locked": True}, {"confidence": 0.2}, {"area": 400}],
    ids=str,
)
def test_every_mark_is_seen(make_strip, count, change):
    strip = make_strip(make_timeline(count))
    before = strip.grab().toImage()
    middle = {f"f{count // 2}": replace(TRACKED, **change)}
    strip.show_timeline(make_timeline(count, **middle))
    is_only_scale = count == 1 and "area" in change
    assert (strip.grab().toImage() == before) == is_only_scale


def test_frames_are_painted_once_for_many_current_ones(make_strip):
    timeline = make_timeline(5000)
    strip = make_strip(timeline)
    first, picture = strip.grab().toImage(), strip._picture
    strip.show_timeline(replace(timeline, current=2500))
    assert strip.grab().toImage() != first
    assert strip._picture is picture
    strip.show_timeline(make_timeline(4999))
    assert strip._picture is None


def test_another_theme_is_painted_anew(make_strip):
    strip = make_strip(make_timeline(9))
    before = colours(strip)
    palette = QPalette(strip.palette())
    palette.setColor(QPalette.ColorRole.WindowText, Qt.GlobalColor.red)
    strip.setPalette(palette)
    assert "#ff0000" in colours(strip) - before


frames_st = st.lists(
    st.builds(
        TimelineFrame,
        area=st.integers(0, 10**7),
        confidence=st.floats(0, 1),
        kind=st.sampled_from(["", "prompt", "tracked", "mask"]),
        is_locked=st.booleans(),
        doubt=st.sampled_from(["", "a jump"]),
    ),
    min_size=1,
    max_size=30,
)


@given(frames=frames_st, columns=st.integers(1, 120))
def test_the_curve_loses_no_peak_and_no_doubt(frames, columns):
    arrays = FrameArrays.of(frames)
    curve = make_curve(arrays, columns)
    assert curve.height.shape == curve.confidence.shape == (columns,)
    assert curve.height.min() >= 0
    assert curve.height.max() <= 1
    segmented = [frame for frame in frames if frame.kind]
    assert curve.is_segmented.any() == bool(segmented)
    if segmented:
        largest = max(frame.area for frame in segmented)
        smallest = min(frame.confidence for frame in segmented)
        assert curve.height.max() >= 0.8 * (largest > 0)
        assert curve.confidence.min() <= smallest + 0.2
    else:
        assert not paint_curve(curve, 20, 2).any()


def test_the_curve_is_straight_between_frames_and_stops_at_gaps():
    frames = [TRACKED, replace(TRACKED, area=200), TimelineFrame(), TRACKED]
    curve = make_curve(FrameArrays.of(frames), 40)
    assert np.allclose(curve.height[5:15], np.linspace(0.525, 0.975, 10))
    assert np.allclose(curve.height[15:20], 1)
    assert not curve.is_segmented[20:30].any()
    assert np.allclose(curve.height[30:], 0.5)


def test_an_object_that_is_not_there_leaves_a_line():
    gone = TimelineFrame(0, 0.2, "tracked")
    curve = make_curve(FrameArrays.of([TRACKED, gone, gone, gone]), 40)
    picture = paint_curve(curve, 20, 2)
    assert (picture[-2:, -1, 3] == 255).all()
    assert not picture[:-2, -1].any()
    assert (picture[..., :3] <= picture[..., 3:]).all()


def test_confidence_runs_from_orange_to_blue():
    colours_of = colour_confidence(np.array([0.0, 0.5, 1.0]))
    assert tuple(colours_of[0]) == tuple(colours_of[1]) == RAMP[0][1]
    assert tuple(colours_of[2]) == RAMP[-1][1]


@given(st.lists(st.booleans(), max_size=50))
def test_runs_cover_what_is_set(flags):
    found = find_runs(np.array(flags, dtype=bool))
    covered = [i for start, stop in found for i in range(start, stop)]
    assert covered == [i for i, flag in enumerate(flags) if flag]
    assert all(start < stop for start, stop in found)


def test_the_strip_takes_any_width(make_strip):
    strip = make_strip(make_timeline(300), width=2 * MARGIN)
    assert strip.grab().toImage().width() == 2 * MARGIN


def test_frames_with_few_columns_are_steps():
    frames = [replace(TRACKED, area=0), TRACKED, replace(TRACKED, area=0)]
    curve = make_curve(FrameArrays.of(frames), 4)
    assert curve.height.tolist() == [0, 1, 1, 0]
