"""Sessions that save every change: what a dead process leaves, and full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from napari_hqsam2 import Session
from napari_hqsam2.errors import SessionError
from napari_hqsam2.files import atomic_folder
from napari_hqsam2.session import autosave as autosave_module
from napari_hqsam2.session.journal import CUT_OFF, HEAD, JOURNAL_NAME, JournalFile
from napari_hqsam2.session.plain import TABLES

SQUARE = np.zeros((40, 50), dtype=bool)
SQUARE[5:15, 10:20] = True


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cells.session"


@pytest.fixture
def load(folder, stack, predictor):
    return lambda **more: Session.load(folder, stack, model=predictor, **more)


def contents(session):
    return (
        session.objects(),
        [session.prompts(i) for i in session.obj_ids],
        [session.locked(i) for i in session.obj_ids],
        [session.scores(i) for i in session.obj_ids],
        session.settings.crop,
        session.as_python(),
        session.labels.tolist(),
    )


def work(session):
    one, two = session.new_object(name="one"), session.new_object()
    session.add_points(one, [(1, 10.0, 12.3)])
    session.segment(1)
    yield
    session.add_mask(two, 5, SQUARE)
    session.lock(two, 5)
    yield
    for _ in session.propagate("T", frames=(0, 4)):
        pass
    yield
    session.add_points(one, [(3, 2.0, 2.0)], positive=False)
    session.segment(3)
    session.configure(crop="off")
    yield
    session.undo()
    session.undo()
    yield
    session.redo()
    session.reassign(two, 300)
    yield
    with session.one_step("two at once"):
        session.rename(one, "first")
        session.delete_object(300)
    yield


def test_every_state_comes_back(session, folder, load):
    session.autosave(folder)
    for _ in work(session):
        assert contents(load()) == contents(session)
    assert (folder / JOURNAL_NAME).stat().st_size > 1000
    session.save(folder)
    assert (folder / JOURNAL_NAME).stat().st_size < 100
    session.new_object(name="after")
    assert contents(load()) == contents(session)


def test_labels_of_the_caller_are_filled(session, folder, load):
    session.autosave(folder)
    one = session.new_object()
    session.add_mask(one, 2, SQUARE)
    session.segment(2)
    labels = np.zeros((6, 40, 50), np.uint8)
    load(labels=labels)
    np.testing.assert_array_equal(labels, session.labels)


def test_frames_of_a_run_are_there_one_by_one(session, folder, load):
    session.autosave(folder)
    one = session.new_object()
    session.add_points(one, [(0, 10, 10)])
    with session.one_step("outer"):
        for step in session.propagate("T"):
            again = load()
            np.testing.assert_array_equal(again.labels, session.labels)
            assert again.scores(one)[-1].position == step.position
            assert again.as_python().endswith(f"{CUT_OFF}\n")
            if step.frame == 3:
                break
    assert contents(load()) == contents(session)
    assert CUT_OFF not in load().as_python()


def test_exports_and_later_sessions_see_the_journal(session, folder, load, tmp_path):
    from napari_hqsam2.session.saved_tracks import open_tracked  # noqa: PLC0415

    session.autosave(folder)
    one = session.new_object(name="late")
    session.add_mask(one, 2, SQUARE)
    session.segment(2)
    with open_tracked(folder) as content:
        np.testing.assert_array_equal(np.asarray(content.labels), session.labels)
        np.testing.assert_array_equal(content.labels[2, 3:9], session.labels[2, 3:9])
        assert content.names == {1: "late"}
    session.close()
    again = load()
    again.autosave(folder)
    again.new_object(name="later")
    assert contents(load()) == contents(again)


def test_what_somebody_paints_is_kept_with_the_lock(session, folder, load):
    session.autosave(folder)
    one = session.new_object()
    session.add_mask(one, 2, SQUARE)
    session.segment(2)
    session.labels[2, 5:8] = 0
    session.labels[2, 30, 30:33] = one
    session.lock(one, 2)
    np.testing.assert_array_equal(load().labels, session.labels)


def test_two_sessions_cannot_write_one_folder(session, folder, load):
    session.autosave(folder)
    other = load()
    for call in (other.save, other.autosave):
        with pytest.raises(SessionError, match=r"Another session .*writes into"):
            call(folder)
    assert other.autosave_folder is None
    session.autosave(None)
    other.autosave(folder)
    assert other.autosave_folder == folder


def test_closing_lets_go_until_something_changes(session, folder, load):
    session.autosave(folder)
    session.new_object()
    session.close()
    other = load()
    session.new_object()
    assert contents(load()) == contents(session)
    session.close()
    other.autosave(folder)
    other.close()
    session.new_object()
    assert "changed by somebody else" in session._autosave.problem
    session._autosave._next_try = 0.0
    session.new_object(name="tried again")
    session.close()
    assert contents(load()) == contents(other)
    session.autosave(folder)
    assert contents(load()) == contents(session)


@pytest.mark.parametrize("left", [0, 3, 17, 30, 100])
def test_a_journal_that_is_cut_off(session, folder, load, left, caplog):
    session.autosave(folder)
    session.new_object(name="kept")
    journal = folder / JOURNAL_NAME
    kept = journal.stat().st_size
    session.new_object(name="cut")
    session.close()
    size = min(left if left <= 17 else kept + left - 20, journal.stat().st_size - 1)
    os.truncate(journal, size)
    names = [item.name for item in load().objects()]
    assert names == (["kept"] if size >= kept else [])


def test_a_flipped_bit_ends_the_journal(session, folder, load, caplog):
    session.autosave(folder)
    session.new_object(name="kept")
    place = (folder / JOURNAL_NAME).stat().st_size + 20
    session.new_object(name="flipped")
    session.new_object(name="behind")
    data = bytearray((folder / JOURNAL_NAME).read_bytes())
    data[place] ^= 1
    (folder / JOURNAL_NAME).write_bytes(data)
    assert [item.name for item in load().objects()] == ["kept"]
    assert "not whole and are left out" in caplog.text


@pytest.mark.parametrize(
    "record",
    [
        {"puts": [["nothing", 1, [], None]]},
        {"puts": [["objects", 1, [], {"no": 1}]]},
        {"pixels": [[[0], [0, 0, 2, 2], "|O", "", ""]]},
        {"pixels": [[[0], [0, 0, 900, 2], "<i4", "eJwDAAAAAAE=", "eJwDAAAAAAE="]]},
        {"puts": [["prompts", 1, [0], {"track": None, "mask": 7}]]},
        {"puts": [["locks", float("inf"), [0], True]]},
        {"calls": 7},
        ["puts"],
        None,
    ],
)
def test_records_that_mean_nothing(session, folder, load, record):
    session.autosave(folder)
    session.close()
    journal = JournalFile(folder / JOURNAL_NAME)
    data = json.dumps(record).encode()
    journal._write(HEAD.pack(len(data), zlib.crc32(data)) + data)
    journal.close()
    with pytest.raises(SessionError, match="damaged"):
        load()


def test_a_full_disk_keeps_the_work_and_is_told_once(
    session, folder, load, monkeypatch, caplog
):
    told = []
    session.events.autosave.connect(told.append)
    session.autosave(folder)
    one = session.new_object(name="before")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        session.add_mask(one, 2, SQUARE)
        session.segment(2)
        session.rename(one, "during")
        assert [item.name for item in load().objects()] == ["before"]
        monkeypatch.setattr(autosave_module, "FIRST_WAIT", 0.0)
        session._autosave._next_try = 0.0
        session.rename(one, "still full")
    assert len(told) == 1 + (told[0] != session._autosave.problem)
    assert "No space left" in told[0]
    session._autosave._next_try = 0.0
    session.rename(one, "after")
    assert told[-1] == ""
    assert contents(load()) == contents(session)


def test_closing_tries_once_more_to_save(session, folder, load, monkeypatch):
    session.autosave(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        session.new_object(name="not on the disk")
        session.close()
        assert load().obj_ids == ()
    session.close()
    assert contents(load()) == contents(session)


def test_a_change_whose_record_was_interrupted_is_saved(
    session, folder, load, monkeypatch
):
    session.autosave(folder)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            session.new_object(name="interrupted")
    session._autosave._next_try = 0.0
    session.new_object(name="after")
    assert contents(load()) == contents(session)


@pytest.mark.parametrize(
    "do",
    [
        lambda s, i: s.add_points(i, np.array([[1, 10.5, 12]], np.float32)),
        lambda s, i: s.add_box(i, (np.int64(0),), np.array([1, 1, 20, 20])),
        lambda s, i: s.add_mask(i, np.int64(2), SQUARE.astype(np.uint8)),
        lambda s, i: s.set_prompts(i, np.int64(2), mask=SQUARE),
        lambda s, i: s.lock(i, np.int64(2)),
        lambda s, i: s.rename(i, np.str_("name")),
        lambda s, _: s.new_object(obj_id=np.float64(9), name=Path("file")),
        lambda s, _: s.configure(crop=np.int64(64), gamma=np.float32(0.5)),
        lambda s, _: s.configure(contrast_limits=np.array([1, 200], np.float32)),
        lambda s, _: s.configure(one_piece=np.bool_(True), resolution=np.int64(64)),
    ],
)
def test_numbers_of_numpy_are_saved(session, folder, load, do):
    session.autosave(folder)
    one = np.int64(1)
    session.new_object(obj_id=one)
    do(session, one)
    assert contents(load()) == contents(session)
    session.save(folder)
    again = load()
    assert contents(again) == contents(session)
    for name in ("crop", "gamma", "contrast_limits", "one_piece", "resolution"):
        assert getattr(again.settings, name) == getattr(session.settings, name)


def test_a_long_journal_is_folded_into_the_session(session, folder, load, monkeypatch):
    session.autosave(folder)
    monkeypatch.setattr(autosave_module, "FULL", 2000)
    one = session.new_object()
    for number in range(100):
        session.rename(one, f"name {number}")
    assert (folder / JOURNAL_NAME).stat().st_size < 4000
    assert contents(load()) == contents(session)


def test_a_folder_that_was_being_replaced_comes_back(session, folder, load):
    session.new_object(name="safe")
    session.save(folder)
    folder.rename(folder.with_name(f".{folder.name}.old.tmp-12345678"))
    assert [item.name for item in load().objects()] == ["safe"]
    stale = folder.with_name(f".{folder.name}.tmp-87654321")
    fresh = folder.with_name(f".{folder.name}.tmp-99999999")
    for path in (stale, fresh):
        path.mkdir()
    os.utime(stale, (time.time() - 7200,) * 2)
    with atomic_folder(folder) as new:
        (new / "x").write_text("y")
    assert not stale.exists()
    assert fresh.exists()


def test_labels_that_were_there_are_saved_gradually(stack, predictor, folder, load):
    labels = np.zeros(stack.shape, np.int32)
    labels[1, 3:5] = 9
    labels[4, 8] = 8
    session = Session(stack, axes="TYX", labels=labels, model=predictor)
    one = session.new_object()
    session.autosave(folder, gradually=True)
    assert not load().labels.any()
    session.add_mask(one, 2, SQUARE)
    session.segment(2)
    session.add_mask(one, 4, SQUARE)
    session.segment(4)
    assert set(np.unique(load().labels)) == {0, one}
    more = True
    for _ in labels:
        assert more
        more = session.save_some(0)
    assert not session.save_some(0)
    assert contents(load()) == contents(session)
    size = (folder / JOURNAL_NAME).stat().st_size
    session.save(folder)
    assert not session.save_some()
    assert (folder / JOURNAL_NAME).stat().st_size < size
    assert contents(load()) == contents(session)


def test_another_folder_that_cannot_be_used_leaves_the_first_one(
    session, folder, load, tmp_path
):
    session.autosave(folder)
    (tmp_path / "full").write_text("a file")
    with pytest.raises(OSError, match="full"):
        session.autosave(tmp_path / "full" / "session")
    session.new_object(name="after")
    assert session.autosave_folder == folder
    assert contents(load()) == contents(session)


SCRIPT = """
    import sys
    import numpy as np
    from napari_hqsam2 import Session
    stack = np.load(sys.argv[1])
    session = Session(stack, axes="TYX")
    session.autosave(sys.argv[2])
    mask = np.zeros(stack.shape[1:], bool)
    mask[5:15, 10:20] = True
    for number in range(100_000):
        obj_id = session.new_object(name=f"cell {number}")
        session.add_mask(obj_id, number % len(stack), mask)
        session.lock(obj_id, number % len(stack))
        print(number, flush=True)
        if number % 7 == 6:
            session.save(sys.argv[2])
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_when_the_process_is_killed(folder, stack, tmp_path, seed):
    np.save(tmp_path / "stack.npy", stack)
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    with subprocess.Popen(  # noqa: S603
        [*command, str(tmp_path / "stack.npy"), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        rng, last = np.random.default_rng(seed), -1
        until = int(rng.integers(5, 60))
        for line in process.stdout:
            last = int(line)
            if last == until:
                time.sleep(float(rng.uniform(0, 0.05)))
                process.send_signal(signal.SIGKILL)
    names = [item.name for item in Session.load(folder, stack).objects()]
    assert last >= until
    assert names[: last + 1] == [f"cell {number}" for number in range(last + 1)]
    assert len(names) <= last + 2


def test_every_table_is_followed(session):
    assert {table.name for table in session._records.of_objects} == set(TABLES)
