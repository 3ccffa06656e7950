"""How masks are made, object by object."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_hqsam2 import Session
from napari_hqsam2.errors import SessionError
from napari_hqsam2.segmentation.frame_objects import FrameObjects
from napari_hqsam2.session.checksums import write_checksums

CLICKS = {1: (2, 15.0, 12.0), 2: (3, 30.0, 40.0), 3: (2, 8.0, 44.0)}
MODES = {1: "only", 2: "off", 3: None}


def made(stack, predictor, ids=CLICKS, modes=MODES, **options):
    session = Session(stack, axes="TYX", model=predictor, **options)
    for obj_id in ids:
        session.new_object(obj_id=obj_id)
        session.add_points(obj_id, CLICKS[obj_id])
        if obj_id in modes:
            session.set_hq_mode(obj_id, modes[obj_id])
    return session


def said(session, obj_id):
    """What the model said of an object; other objects have no part in that."""
    return [(s.position, s.object_score, s.iou_score) for s in session.scores(obj_id)]


def assert_close(found, expected):
    assert [item[0] for item in found] == [item[0] for item in expected]
    values = [np.array([item[1:] for item in items]) for items in (found, expected)]
    np.testing.assert_allclose(*values, atol=1e-4)


def assert_each_is_as_alone(session, stack, predictor, do, **options):
    do(session)
    for obj_id, mode in MODES.items():
        alone = made(stack, predictor, [obj_id], {}, **options)
        alone.configure(hq_mode=mode or "add")
        do(alone)
        assert_close(said(session, obj_id), said(alone, obj_id))
    other = made(stack, predictor, modes={}, **options)
    do(other)
    assert said(other, 1) != said(session, 1), "the modes do differ"


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
def test_runs_make_each_mask_as_its_object_says(stack, predictor, direction):
    session = made(stack, predictor)

    def follow(session):
        list(session.propagate("T", direction=direction))

    assert_each_is_as_alone(session, stack, predictor, follow)


def test_frames_come_once_and_in_order(stack, predictor):
    steps = list(made(stack, predictor).propagate("T"))
    plain = list(made(stack, predictor, modes={}).propagate("T"))
    assert [step.frame for step in steps] == [step.frame for step in plain]
    followed = [[scores.obj_id for scores in step.scores] for step in steps]
    assert followed == [[scores.obj_id for scores in step.scores] for step in plain]
    assert steps[-1].done == steps[-1].total


def test_each_frame_is_encoded_once(stack, predictor, monkeypatch):
    session = made(stack, predictor, crop="off")
    loader = session._tracker.predictor()._tracker.loader
    encode, count = loader.encode, []
    monkeypatch.setattr(
        loader, "encode", lambda x, **how: count.append(1) or encode(x, **how)
    )
    list(session.propagate("T"))
    assert len(count) <= len(stack)


def test_windows_make_each_mask_as_its_object_says(rng, predictor):
    stack = rng.integers(0, 255, (4, 200, 300), dtype=np.uint8)
    session = made(stack, predictor, crop=96)

    def follow(session):
        list(session.propagate("T"))

    assert_each_is_as_alone(session, stack, predictor, follow, crop=96)


def test_one_frame_has_masks_of_each_kind(stack, predictor, monkeypatch):
    def answers(session):
        """Logits of each object, before masks are kept from overlapping."""
        seen = {}

        def note(objects, *args):
            for part in objects.parts:
                ids = [scores.obj_id for scores in part.objects.scores]
                seen.update(zip(ids, part.objects.low_res.numpy(), strict=True))
            return masks(objects, *args)

        masks = FrameObjects.masks
        with monkeypatch.context() as patch:
            patch.setattr(FrameObjects, "masks", note)
            session.segment(2)
        return seen

    mixed = answers(made(stack, predictor))
    assert sorted(mixed) == [1, 3]
    for obj_id in mixed:
        for mode in ("add", "only", "off"):
            alone = answers(made(stack, predictor, [obj_id], {}, hq_mode=mode))
            is_same = np.allclose(alone[obj_id], mixed[obj_id], atol=1e-4)
            assert is_same == (mode == (MODES[obj_id] or "add"))


def test_only_what_changed_is_followed_whatever_the_modes(stack, predictor):
    def steps(modes):
        session = made(stack, predictor, modes=modes)
        list(session.propagate("T"))
        for obj_id, frame in ((1, 4), (2, 4), (3, 0)):
            session.add_points(obj_id, (frame, 20.0, 25.0))
        again = session.propagate("T", only_changed=True)
        return [(s.frame, [scores.obj_id for scores in s.scores]) for s in again]

    found = steps(MODES)
    assert found == steps({})
    assert 0 < len(found) < 2 * len(stack)


def test_what_is_asked_for_a_call_counts_for_all(stack, predictor):
    session = made(stack, predictor)
    plain = made(stack, predictor, modes={}, hq_mode="off")
    for each, options in ((session, {"hq_mode": "off"}), (plain, {})):
        each.segment(2, **options)
        list(each.propagate("T", **options))
    np.testing.assert_array_equal(session.labels, plain.labels)


def test_a_preview_is_made_as_its_object_says(stack, predictor):
    session = made(stack, predictor)
    seen = session.preview(1, 2, (20.0, 30.0))
    session.add_points(1, (2, 20.0, 30.0))
    (scores,) = session.segment(2, [1])
    assert seen.key == scores.mask_key


def test_the_choice_is_undone_saved_and_repeated(stack, predictor, tmp_path):
    session = made(stack, predictor)
    told = []
    session.events.objects.connect(told.append)
    assert [item.hq_mode for item in session.objects()] == ["only", "off", None]
    session.set_hq_mode(3, "only")
    assert session.undo() == "masks of object"
    assert [item.hq_mode for item in session.objects()] == ["only", "off", None]
    assert told == [(3,), (3,)]
    session.autosave(tmp_path / "saved")
    session.set_hq_mode(2, None)
    session.reassign(1, 9)
    again = Session.load(tmp_path / "saved", stack, model=predictor)
    modes = {item.obj_id: item.hq_mode for item in again.objects()}
    assert modes == {2: None, 3: None, 9: "only"}
    names = {"stack": stack, "model": predictor}
    exec(session.as_python(), names)  # noqa: S102
    assert names["session"].objects() == session.objects()


def test_sessions_without_it_are_saved_as_before(stack, predictor, tmp_path):
    made(stack, predictor, modes={}).save(tmp_path / "plain")
    content = json.loads((tmp_path / "plain" / "session.json").read_text())
    assert all("hq_mode" not in item for item in content["objects"])


def test_a_mode_that_is_none_is_refused(stack, predictor, tmp_path):
    session = made(stack, predictor)
    with pytest.raises(ValueError, match="add, only, off"):
        session.set_hq_mode(1, "best")
    with pytest.raises(SessionError, match="no object 7"):
        session.set_hq_mode(7, "off")
    session.save(tmp_path / "saved")
    file = tmp_path / "saved" / "session.json"
    text = file.read_text()
    assert '"only"' in text
    file.write_text(text.replace('"only"', '"best"'))
    write_checksums(tmp_path / "saved")
    with pytest.raises(SessionError, match="damaged"):
        Session.load(tmp_path / "saved", stack, model=predictor)
