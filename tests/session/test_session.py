"""A session as a whole: scripts, folders, threads, signals."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import zarr

from napari_hqsam2 import Session
from napari_hqsam2.errors import SessionError, StackError
from napari_hqsam2.session.checksums import write_checksums
from napari_hqsam2.session.doubts import DoubtLimits
from napari_hqsam2.weights.download import cached_path
from napari_hqsam2.weights.records import known_sha256

SQUARE = np.zeros((40, 50), dtype=bool)
SQUARE[5:15, 10:20] = True


def work(session):
    """A bit of everything."""
    one = session.new_object(name='it\'s "one"')
    two = session.new_object()
    session.add_points(one, [(1, 10.0, 12.3), (1, 12, 14)])
    session.add_box(two, (0,), (20, 20, 35, 45))
    session.segment(1)
    for _ in session.propagate("T", frames=(0, 4)):
        pass
    session.add_points(one, [(3, 2.0, 2.0)], positive=False)
    session.segment(3, overlap="overwrite")
    session.undo()
    session.segment(3)
    session.lock(one, 2)
    session.add_polygon(two, 4, [(20, 20), (20, 30), (32, 26)])
    session.add_mask(two, 5, SQUARE, score=0.75)
    session.add_scribble(two, 3, [(20, 20), (30, 40)])
    for step in session.propagate(only_changed=True):
        if step.done == 3:
            break
    session.hide(two)
    session.reassign(two, 8)
    return session


def state(session):
    return [
        (
            item,
            session.prompts(item.obj_id),
            session.locked(item.obj_id),
            [rounded(score) for score in session.scores(item.obj_id)],
        )
        for item in session.objects()
    ]


def rounded(score):
    """What was computed in another order may differ by a rounding."""
    return replace(
        score,
        object_score=round(score.object_score, 4),
        iou_score=round(score.iou_score, 4),
    )


@pytest.fixture
def session(stack, predictor):
    return work(Session(stack, axes="TYX", model=predictor, hq_mode="only"))


def executed(script, **names):
    exec(compile(script, "script", "exec"), names)  # noqa: S102
    return names["session"]


def test_the_script_does_the_same(session, stack, predictor):
    again = executed(session.as_python(), stack=stack, model=predictor)
    np.testing.assert_array_equal(again.labels, session.labels)
    assert state(again) == state(session)
    assert again.as_python() == session.as_python()


def test_the_script_names_what_was_given(rng):
    stack = rng.integers(0, 255, (2, 40, 50, 3), dtype=np.uint8)
    labels = np.zeros((2, 40, 50), dtype=np.uint16)
    session = Session(
        stack, axes="zyxc", labels=labels, channels=(2, 0), resolution=256, device="cpu"
    )
    session.new_object(name="mother")
    assert session.as_python().splitlines() == [
        "from napari_hqsam2 import Session",
        "",
        "# stack: Z=2, Y=40, X=50, C=3",
        "# labels: the array that was given, as it was then",
        (
            "session = Session(stack, axes='ZYXC', model='sam2.1_hq_hiera_nano', "
            "labels=labels, channels=(2, 0), resolution=256)"
        ),
        "session.new_object(name='mother', obj_id=1)",
    ]


def test_a_saved_session_goes_on_as_if_nothing_had_been(
    session, stack, predictor, tmp_path
):
    session.save(tmp_path / "saved")
    again = Session.load(tmp_path / "saved", stack, model=predictor)
    np.testing.assert_array_equal(again.labels, session.labels)
    assert again.labels.dtype == session.labels.dtype
    assert state(again) == state(session)
    assert again.as_python() == session.as_python()
    assert not again.can_undo
    for each in (session, again):
        each.add_points(1, [(0, 30, 30)], positive=False)
        for _ in each.propagate(start=0, direction="forward"):
            pass
    np.testing.assert_array_equal(again.labels, session.labels)
    assert state(again) == state(session)


def test_labels_that_were_given_keep_their_type(stack, tmp_path):
    labels = np.zeros(stack.shape, dtype=np.int64)
    session = Session(stack, axes="TYX", labels=labels)
    session.new_object(obj_id=2**40)
    session.add_mask(2**40, 1, SQUARE)
    session.segment(1)
    session.save(tmp_path / "saved")
    again = Session.load(tmp_path / "saved", stack)
    np.testing.assert_array_equal(again.labels, labels)
    assert again.as_python() == session.as_python()


def test_saving_replaces_a_session_and_nothing_else(session, tmp_path):
    session.save(tmp_path / "saved")
    session.delete_object(1)
    session.save(tmp_path / "saved")
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
    content = json.loads((tmp_path / "saved" / "session.json").read_text())
    assert [item["obj_id"] for item in content["objects"]] == [8]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(SessionError, match="is not a saved session"):
        session.save(other)
    assert (other / "thesis.txt").exists()


@pytest.fixture
def saved(stack, tmp_path):
    session = Session(stack, axes="TYX")
    session.add_mask(session.new_object(), 1, SQUARE)
    session.segment(1)
    session.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_labels_are_loaded_into_an_array_that_is_given(saved, stack, tmp_path):
    labels = zarr.create_array(
        tmp_path / "labels.zarr", shape=stack.shape, chunks=(1, 40, 50), dtype="uint8"
    )
    session = Session.load(saved, stack, labels=labels)
    np.testing.assert_array_equal(labels[1] == 1, SQUARE)
    session.clear_prompts(1)
    assert not np.any(labels[:])


@pytest.mark.parametrize("way", ["autosave", "twice"])
def test_a_session_whose_channels_changed_can_be_opened(rng, tmp_path, way):
    stack = rng.integers(0, 255, (2, 3, 40, 50), dtype=np.uint8)
    with Session(stack, axes="CTYX", channels=(0,)) as session:
        session.new_object()
        session.autosave(tmp_path / "saved")
        session.configure(channels=(1,))
        if way == "twice":
            session.save(tmp_path / "saved")
        session.autosave(None)
    again = Session.load(tmp_path / "saved", stack)
    assert tuple(again.settings.channels) == (1,)
    other = stack.copy()
    other[0, 0, 0, 0] += 1
    with pytest.raises(SessionError, match="other pixels"):
        Session.load(tmp_path / "saved", other)


def test_another_stack_is_refused(saved, stack):
    with pytest.raises(
        SessionError, match=r"\(6, 40, 50\) \(TYX\); this one has shape"
    ):
        Session.load(saved, stack[:5])
    with pytest.raises(SessionError, match="other pixels"):
        Session.load(saved, stack + 1)
    with pytest.raises(StackError, match="labels have shape"):
        Session.load(saved, stack, labels=np.zeros((5, 40, 50), dtype=int))


def test_a_model_that_was_an_object_must_come_again(session, stack, tmp_path):
    session.save(tmp_path / "saved")
    with pytest.raises(SessionError, match="pass it again"):
        Session.load(tmp_path / "saved", stack)


def damage(folder, **changes):
    path = folder / "session.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    write_checksums(folder)


def other_labels(folder, shape, dtype):
    shutil.rmtree(folder / "labels.zarr")
    zarr.create_array(store=folder / "labels.zarr", shape=shape, dtype=dtype)
    write_checksums(folder)


def deep(folder):
    (folder / "session.json").write_text("[" * 99999)
    write_checksums(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no saved session"),
        (lambda f: (f / "session.json").write_text("{"), "is damaged"),
        (lambda f: shutil.rmtree(f / "labels.zarr"), "is damaged"),
        (lambda f: damage(f, version=3), "is of version 3; .* reads versions up to 2"),
        (lambda f: damage(f, scores=[{"obj_id": 1}]), "is damaged .KeyError"),
        (lambda f: damage(f, prompts=None), "is damaged"),
        (lambda f: damage(f, prompts=[None]), "is damaged .*labels.zarr"),
        (lambda f: damage(f, objects=[{"obj_id": "x"}]), "is damaged .ValueError"),
        (lambda f: damage(f, objects=[{"obj_id": 1, "name": 1}]), "name is 1"),
        (lambda f: damage(f, locks=[[1, ["x"]]]), "is damaged"),
        (lambda f: damage(f, provenance={}), "is damaged .KeyError: 'model'"),
        (lambda f: damage(f, provenance={"model": 7}), "is damaged"),
        (lambda f: damage(f, settings=[]), "is damaged"),
        (lambda f: damage(f, settings={"gamma": "x"}), "is damaged"),
        (lambda f: damage(f, settings={"crop": 7}), "is damaged .*crop=7 is not"),
        (lambda f: damage(f, stack={"axes": "TYX"}), "is damaged .KeyError: 'shape'"),
        (lambda f: damage(f, script={"comments": 7}), "is damaged"),
        (lambda f: damage(f, settings={"channels": "0"}), "channels is '0'"),
        (lambda f: damage(f, settings={"checkpoint": 7}), "checkpoint is 7"),
        (lambda f: damage(f, settings={"contrast_limits": "x"}), "limits is 'x'"),
        (lambda f: damage(f, settings={"no such": 1}), "is damaged .TypeError"),
        (lambda f: (f / "SHA256SUMS").unlink(), "is damaged .*SHA256SUMS"),
        (deep, "damaged .Recursion"),
        (lambda f: other_labels(f, (6, 40, 51), "i4"), "labels of shape .6, 40, 51."),
        (lambda f: other_labels(f, (6, 40, 50), "f4"), "and type float32"),
    ],
)
def test_a_damaged_folder_is_named(saved, stack, spoil, message):
    spoil(saved)
    with pytest.raises(SessionError, match=message):
        Session.load(saved, stack)


def test_provenance_names_the_weights(saved, stack, predictor, caplog):
    session = Session(stack, axes="TYX")
    name = "sam2.1_hq_hiera_nano"
    provenance = session.provenance()
    assert provenance["software"].startswith("napari-hqsam2 ")
    assert provenance["model"] == name
    assert provenance["weights_sha256"] == known_sha256(cached_path(name))
    own = Session(stack, axes="TYX", model=predictor).provenance()
    assert len(own["parameters_sha256"]) == 64
    with caplog.at_level(logging.WARNING):
        Session.load(saved, stack)
    assert not caplog.messages
    Session.load(saved, stack, model=predictor)
    assert "was made with model sam2.1_hq_hiera_nano" in caplog.text


def test_a_second_thread_is_refused(stack):
    session = Session(stack, axes="TYX")
    cell = session.new_object()
    failed = []

    def call_from_elsewhere(*_):
        def call():
            try:
                session.rename(cell, "other")
            except SessionError as error:
                failed.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    session.events.objects.connect(call_from_elsewhere)
    session.rename(cell, "mother")
    assert session.objects()[0].name == "mother"
    assert len(failed) == 1
    assert "Another thread is using this session" in failed[0]
    session.events.objects.disconnect(call_from_elsewhere)
    call_from_elsewhere()
    assert session.objects()[0].name == "other"


def test_signals_tell_what_changed(stack, predictor):
    session = Session(stack, axes="TYX", model=predictor)
    heard = []
    session.events.connect(lambda info: heard.append((info.signal.name, *info.args)))

    def new():
        told, heard[:] = list(heard), []
        return told

    cell = session.new_object()
    assert new() == [("objects", (1,)), ("history",)]
    session.add_mask(cell, 1, SQUARE)
    assert new() == [("prompts", (1,)), ("history",)]
    session.segment(1)
    segmented = [("scores", (1,)), ("labels", (1,), (5, 10, 15, 20)), ("history",)]
    assert new() == segmented
    session.lock(cell, 1)
    assert new() == [("prompts", (1,)), ("history",)]
    session.undo()
    new()
    session.undo()
    assert new() == segmented
    session.redo()
    new()
    for step in session.propagate(direction="forward", frames=(1, 3)):
        expected = [("scores", (1,))]
        if step.dirty_box is not None:
            expected.insert(0, ("labels", step.position, step.dirty_box))
        assert new() == expected
    assert new() == [("scores", (1,)), ("history",)]


def test_doubtful_frames_of_all_objects(session):
    everything = DoubtLimits(iou_score=2.0)
    doubts = session.doubtful(limits=everything)
    assert doubts == tuple(sorted(doubts, key=lambda d: (d.position, d.obj_id)))
    assert {doubt.obj_id for doubt in doubts} == {1, 8}
    first = doubts[0]
    session.lock(first.obj_id, first.position)
    assert first not in session.doubtful(limits=everything)
    (other,) = {1, 8} - {first.obj_id}
    assert {d.obj_id for d in session.doubtful([other], limits=everything)} == {other}


def test_a_path_and_a_closed_session(tmp_path, stack):
    np.save(tmp_path / "stack.npy", stack)
    with Session(tmp_path / "stack.npy", axes="TYX") as session:
        cell = session.new_object()
        session.add_mask(cell, 1, SQUARE)
        session.segment(1)
    assert session.labels.any()
    session.undo()
    assert not session.labels.any()


def test_options_are_checked_at_once(stack):
    with pytest.raises(ValueError, match="add, only, off"):
        Session(stack, axes="TYX", hq_mode="max")
    with pytest.raises(StackError, match="names 2 axes"):
        Session(stack, axes="YX")
    with pytest.raises(StackError, match="labels for a stack"):
        Session(stack, axes="TYX", labels=np.zeros((2, 2), dtype=int))


def test_scores_of_a_frame_are_those_of_its_objects(session):
    counts = set()
    for frame in range(6):
        expected = [
            replace(item, jump=None, area_ratio=None)
            for obj_id in session.obj_ids
            for item in session.scores(obj_id)
            if item.position == (frame,)
        ]
        assert list(session.scores_on(frame)) == expected
        counts.add(len(expected))
    assert len(counts) > 1
