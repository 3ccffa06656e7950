"""What the model says to a point before it is set."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import PointPrompt, Session
from napari_hqsam2.errors import PromptError


def snapshot(session):
    return (
        session.labels.copy(),
        session.objects(),
        session.undo_names,
        [session.prompts(obj_id) for obj_id in session.obj_ids],
        [session.scores(obj_id) for obj_id in session.obj_ids],
    )


def assert_is_what_a_click_gives(session, obj_id, frame, point, *, positive=True):
    before = snapshot(session)
    mask = session.preview(obj_id, frame, point, positive=positive)
    after = snapshot(session)
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1:] == after[1:]
    if obj_id not in session.obj_ids:
        session.new_object(obj_id=obj_id)
    session.add_points(obj_id, (frame, *point), positive=positive)
    session.segment(frame, [obj_id], overlap="overwrite")
    assert mask
    np.testing.assert_array_equal(mask.unpacked(), session.labels[frame] == obj_id)


def test_a_first_point_of_an_object_that_is_not_there_yet(session):
    assert_is_what_a_click_gives(session, 4, 2, (15.0, 12.0))


def test_a_point_more(session):
    session.new_object(obj_id=1)
    session.add_points(1, [(2, 15, 12), (2, 17, 20)])
    session.add_box(1, 2, (5, 5, 30, 30))
    session.segment(2)
    assert_is_what_a_click_gives(session, 1, 2, (30.0, 40.0), positive=False)


def test_a_correction_of_a_run(session):
    session.new_object(obj_id=1)
    session.add_points(1, [(0, 15, 12), (4, 15, 14)])
    list(session.propagate("T"))
    assert_is_what_a_click_gives(session, 1, 2, (20.0, 30.0))


def test_a_correction_of_a_label_that_is_no_object(session):
    session.labels[3, 10:20, 10:20] = 7
    assert_is_what_a_click_gives(session, 7, 3, (15.0, 22.0))


def test_small_objects_of_large_frames_are_seen_in_windows(rng, predictor):
    stack = rng.integers(0, 255, (2, 200, 300), dtype=np.uint8)
    session = Session(stack, axes="TYX", model=predictor, crop="auto")
    session.new_object(obj_id=1)
    assert_is_what_a_click_gives(session, 1, 0, (150.0, 33.0))
    assert_is_what_a_click_gives(session, 1, 0, (150.0, 36.0))


def test_nothing_is_computed_first_unless_that_is_wanted(stack, predictor):
    session = Session(stack, axes="TYX", model=predictor, crop="off")
    asked = (1, 2, (15.0, 12.0))
    assert session.preview(*asked, only_prepared=True) is None
    session.prepare(2)
    assert session.preview(*asked, only_prepared=True) == session.preview(*asked)
    assert session.preview(1, 3, (15.0, 12.0), only_prepared=True) is None
    session.new_object(obj_id=1)
    session.add_points(1, (0, 15, 12))
    list(session.propagate("T"))
    assert session.preview(*asked, only_prepared=True) is None, "needs frame 0 as well"


def test_windows_are_prepared_by_a_click_nearby(rng, predictor):
    stack = rng.integers(0, 255, (2, 200, 300), dtype=np.uint8)
    session = Session(stack, axes="TYX", model=predictor, crop="auto")
    near, far = (1, 0, (150.0, 33.0)), (1, 0, (30.0, 250.0))
    assert session.preview(*near, only_prepared=True) is None
    first = session.preview(*near)
    assert session.preview(*near, only_prepared=True) == first
    assert session.preview(*far, only_prepared=True) is None


def test_what_cannot_be_clicked_has_no_preview(session):
    session.new_object(obj_id=1)
    session.add_points(1, (2, 15, 12))
    session.segment(2)
    session.lock(1, 2)
    assert session.preview(1, 2, (16.0, 13.0)) is None
    with pytest.raises(PromptError, match="outside"):
        session.preview(1, 1, (50.0, 13.0))
    with pytest.raises(PromptError, match="positive"):
        session.preview(1, 3, (16.0, 13.0), positive=False)


def test_it_is_a_mask_with_the_digest_of_the_result(session):
    mask = session.preview(1, 0, (15, 12))
    session.new_object(obj_id=1)
    session.set_prompts(1, 0, points=[PointPrompt(15, 12)])
    (scores,) = session.segment(0)
    assert mask.key == scores.mask_key


def test_odd_frames_are_known_once_they_were_read(predictor, caplog):
    ramp = np.arange(600, dtype=np.uint16).reshape(20, 30)
    stack = np.stack([ramp, ramp * 0])
    session = Session(stack, axes="TYX", model=predictor, contrast_limits=(0, 600))
    assert session.oddity(1) == ""
    session.prepare(0)
    session.prepare(1)
    assert session.oddity(0) == ""
    assert session.oddity(1).startswith("has the value 0 everywhere")
    session.configure(contrast_limits=(700, 800))
    assert session.oddity(1) == ""
    session.prepare(0)
    assert session.oddity(0).startswith("is darker everywhere")
    assert [message[:9] for message in caplog.messages] == ["Frame T=1"]
