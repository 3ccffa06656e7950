"""Settings change, come back, and are part of the script."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import Session
from napari_hqsam2.errors import SessionError
from napari_hqsam2.session import tracker


@pytest.fixture
def session(stack, predictor):
    """A session by model name, with a model at hand."""
    session = Session(stack, axes="TYX", contrast_limits=(0, 60_000))
    session.use_model(predictor)
    session.add_points(session.new_object(), [(2, 10, 12)])
    return session


def segmented(session):
    session.segment(2)
    return session.labels[2].copy()


def test_settings_change_what_the_model_sees_and_says(session, stack, predictor):
    first = segmented(session)
    session.configure(contrast_limits=(0, 20_000), hq_mode="off")
    assert session.settings.hq_mode == "off"
    second = segmented(session)
    assert not np.array_equal(first, second)
    fresh = Session(
        stack,
        axes="TYX",
        model=predictor,
        contrast_limits=(0, 20_000),
        hq_mode="off",
    )
    fresh.add_points(fresh.new_object(), [(2, 10, 12)])
    np.testing.assert_array_equal(segmented(fresh), second)
    session.undo()
    session.undo()
    assert session.settings.contrast_limits == (0, 60_000)
    np.testing.assert_array_equal(segmented(session), first)


def test_settings_are_saved_and_in_the_script(session, stack, predictor, tmp_path):
    session.configure(resolution=128, contrast_limits=(0, 20_000))
    mask = segmented(session)
    session.save(tmp_path / "saved")
    again = Session.load(tmp_path / "saved", stack)
    assert again.settings.resolution == 128
    again.use_model(predictor)
    again.labels[:] = 0
    np.testing.assert_array_equal(segmented(again), mask)
    lines = again.as_python().splitlines()
    assert lines[3].endswith("contrast_limits=(0, 60000))")
    assert "session.configure(resolution=128, contrast_limits=(0, 20000))" in lines


def test_a_model_at_hand_outlives_other_settings(session, predictor, monkeypatch):
    loaded = []

    def load(name, **_):
        loaded.append(name)
        return predictor

    monkeypatch.setattr(tracker, "load_model", load)
    segmented(session)
    session.configure(resolution=128)
    session.configure(contrast_limits=(0, 20_000))
    segmented(session)
    assert loaded == []
    session.configure(model="sam2.1_hiera_tiny")
    segmented(session)
    while session.settings.model != "sam2.1_hq_hiera_nano":
        session.undo()
    segmented(session)
    assert loaded == ["sam2.1_hiera_tiny", "sam2.1_hq_hiera_nano"]


def test_impossible_settings_change_nothing(session, predictor):
    before, steps = session.settings, session.undo_names
    with pytest.raises(ValueError, match="add, only, off"):
        session.configure(hq_mode="max")
    with pytest.raises(SessionError, match=r"use_model\(\)"):
        session.configure(model=predictor)
    assert session.settings == before
    assert session.undo_names == steps
