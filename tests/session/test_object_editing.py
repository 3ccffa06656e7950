"""Objects come, change and go; nobody else's pixels do."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import Session
from napari_hqsam2.errors import PromptError, SessionError, StackError


@pytest.fixture
def session(stack):
    return Session(stack, axes="TYX", labels=np.zeros(stack.shape, dtype=np.uint8))


def mask(top, left):
    drawn = np.zeros((40, 50), dtype=bool)
    drawn[top : top + 6, left : left + 6] = True
    return drawn


def segmented(session, obj_id, frame, drawn):
    session.add_mask(obj_id, frame, drawn)
    session.segment(frame, [obj_id])


def test_ids_are_free_labels(session):
    assert session.new_object() == 1
    session.labels[2, 0, 0] = 9
    assert session.new_object(name="daughter") == 10
    assert session.new_object(obj_id=4) == 4
    assert [(o.obj_id, o.name) for o in session.objects()] == [
        (1, "object 1"),
        (4, "object 4"),
        (10, "daughter"),
    ]


@pytest.mark.parametrize(
    ("obj_id", "error", "message"),
    [
        (0, SessionError, "1 or more, got 0"),
        (1, SessionError, "an object 1 already"),
        (256, StackError, "up to 255"),
        (1.5, PromptError, "whole number, 1 or more; got 1.5"),
        (float("nan"), PromptError, "got nan"),
        ("cell", PromptError, "got 'cell'"),
    ],
)
def test_ids_that_cannot_be(session, obj_id, error, message):
    session.new_object()
    with pytest.raises(error, match=message):
        session.new_object(obj_id=obj_id)
    with pytest.raises(error, match=message):
        session.reassign(1, obj_id)


def test_no_part_of_a_number_is_an_object(session):
    session.new_object()
    with pytest.raises(PromptError, match=r"whole number, 1 or more; got 1\.2"):
        session.add_points(1.2, [(0, 5, 5)])
    assert session.prompts(np.int64(1)) == ()


def test_names_and_visibility(session):
    cell = session.new_object()
    session.rename(cell, "mother")
    session.hide(cell)
    assert session.objects()[0].name == "mother"
    assert session.objects()[0].is_hidden
    session.show(cell)
    assert not session.objects()[0].is_hidden
    for _ in range(3):
        session.undo()
    assert session.objects()[0].name == "object 1"


def test_deleting_takes_every_pixel_and_nothing_else(session):
    one, two = session.new_object(), session.new_object()
    segmented(session, one, 1, mask(3, 3))
    segmented(session, two, 1, mask(20, 20))
    session.labels[5, 0, :4] = one
    session.lock(one, 5)
    before = session.labels.copy()
    session.delete_object(one)
    assert session.obj_ids == (two,)
    np.testing.assert_array_equal(session.labels, np.where(before == one, 0, before))
    session.undo()
    np.testing.assert_array_equal(session.labels, before)
    assert session.locked(one) == ((5,),)
    assert len(session.prompts(one)) == len(session.scores(one)) == 1


def test_another_id_everywhere(session):
    one = session.new_object(name="mother")
    segmented(session, one, 1, mask(3, 3))
    session.add_mask(one, 1, mask(4, 4))
    session.lock(one, 2)
    before = session.labels.copy()
    session.reassign(one, 30)
    assert session.obj_ids == (30,)
    assert session.objects()[0].name == "mother"
    np.testing.assert_array_equal(session.labels, np.where(before == one, 30, before))
    assert session.locked(30) == ((2,),)
    assert session.prompts(30)[0].obj_id == 30
    assert session.scores(30)[0].obj_id == 30
    session.undo()
    np.testing.assert_array_equal(session.labels, before)


def test_foreign_pixels_keep_their_label(session):
    one = session.new_object()
    session.labels[0, 3, 3] = 30
    with pytest.raises(SessionError, match="30 is in use"):
        session.reassign(one, 30)
