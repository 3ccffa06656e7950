"""What is told of a session's objects."""

import numpy as np
import pytest

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.plugin.axis_names import NamedAxes
from napari_hqsam2.plugin.views import Reporter


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
