"""What is told of a session's objects."""

import numpy as np
import pytest

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.plugin.axis_names import NamedAxes
from napari_hqsam2.plugin.views import Line, Reporter


def test_rows_count_prompts_and_average_the_confidence(fake_engine):
    stack = np.zeros((6, 20, 30), dtype=np.uint8)
    session = fake_engine.new_session(stack, "TYX", None, {})
    axes = NamedAxes(StackAxes("TYX", stack.shape), named=True)
    reporter = Reporter(session, axes)
    first, second = session.new_object(), session.new_object()
    session.add_points(first, [(1, 5, 6), (2, 5, 6)])
    session.add_box(first, (2,), (3, 4, 8, 9))
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:5, 20:24] = True
    session.add_mask(second, (0,), mask)
    waiting = reporter.report(None).rows
    assert waiting[first].prompts == (2, 1, 0)
    assert waiting[first].confidence is None
    for frame in range(3):
        session.segment((frame,))
    rows = reporter.report(None).rows
    assert rows[first].prompts == (2, 1, 0)
    assert rows[second].prompts == (0, 0, 1)
    assert rows[first].confidence == pytest.approx(0.9, abs=1e-3)
    assert rows[second].confidence == pytest.approx(1, abs=1e-3)


def open_on(fake_engine, labels, axes="TYX"):
    stack = np.zeros(labels.shape, dtype=np.uint8)
    session = fake_engine.new_session(stack, axes, labels, {})
    return session, Reporter(session, NamedAxes(StackAxes(axes, labels.shape), True))


def reports(reporter, line=None):
    """All rows and the last timeline."""
    rows = {}
    for _ in range(100):
        report = reporter.report(line)
        rows |= report.rows
        if report.is_complete:
            return rows, report.timeline
    raise AssertionError("never complete")


def test_objects_made_of_labels_have_their_frames_and_a_timeline(fake_engine):
    labels = np.zeros((5, 20, 30), dtype=np.uint16)
    labels[1:4, 3:6, 4:8] = 7
    labels[3, 10:12, 10] = 9
    session, reporter = open_on(fake_engine, labels)
    session.adopt_labels()
    rows, timeline = reports(reporter, Line(7, "T", (0,)))
    assert (rows[7].num_frames, rows[7].span, rows[7].confidence) == (
        3,
        "T 1 to 3",
        None,
    )
    assert (rows[9].num_frames, rows[9].span) == (1, "T 3")
    assert [frame.area for frame in timeline.frames] == [0, 12, 12, 12, 0]
    assert [frame.kind for frame in timeline.frames] == ["", *3 * ["label"], ""]
    assert timeline.frames[2].confidence is None


def test_labels_are_counted_again_where_the_session_changes_them(fake_engine):
    labels = np.zeros((5, 20, 30), dtype=np.uint16)
    labels[1:4, 3:6, 4:8] = 7
    session, reporter = open_on(fake_engine, labels)
    session.adopt_labels()
    reports(reporter)
    session.add_points(7, [(2, 15, 20)])
    session.segment(2)
    rows, timeline = reports(reporter, Line(7, "T", (0,)))
    assert [frame.kind for frame in timeline.frames] == [
        "",
        "label",
        "prompt",
        "label",
        "",
    ]
    assert [frame.area for frame in timeline.frames] == [0, 12, 25, 12, 0]
    session.delete_object(7)
    rows, timeline = reports(reporter, Line(7, "T", (0,)))
    assert (rows, timeline) == ({7: None}, None)


def test_what_is_painted_over_by_hand_is_counted_again(fake_engine):
    labels = np.zeros((3, 20, 30), dtype=np.uint16)
    labels[:, 3:6, 4:8] = 7
    session, reporter = open_on(fake_engine, labels)
    session.adopt_labels()
    reports(reporter)
    labels[1] = np.where(labels[1] == 7, 8, 0)
    session.new_object(obj_id=8)
    session.lock(8, 1)
    rows, _ = reports(reporter)
    assert (rows[7].num_frames, rows[8].num_frames) == (2, 1)


def test_labels_of_new_layers_are_never_read(fake_engine):
    class Untouched(np.ndarray):
        def __getitem__(self, index):
            raise AssertionError("read")

    labels = np.zeros((4, 20, 30), dtype=np.int32)
    session, reporter = open_on(fake_engine, labels)
    session.add_points(session.new_object(), [(1, 5, 6)])
    session.segment(1)
    session._store.array = labels.view(Untouched)
    rows, timeline = reports(reporter, Line(1, "T", (0,)))
    assert rows[1].num_frames == 1
    assert timeline.frames[1].kind == "prompt"
