"""Who may write a file."""

from __future__ import annotations

import json
import os
import time

import pytest

from napari_hqsam2.batch import lease
from napari_hqsam2.batch.lease import Lease


def test_one_at_a_time(tmp_path):
    first, second = Lease(tmp_path / "a.tif"), Lease(tmp_path / "a.tif")
    assert first.take() == ""
    assert second.take().startswith(f"process {os.getpid()} on ")
    second.release()
    assert second.take()
    first.release()
    assert second.take() == ""
    second.release()
    assert not list(tmp_path.iterdir())


def leave_behind(path, age=0.0, **owner):
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize(
    ("age", "host", "pid", "is_taken"),
    [
        (0, "other", 1, False),
        (lease.LASTS - 60, "other", 1, False),
        (lease.LASTS + 60, "other", 1, True),
        (0, None, 2**22 + 1, True),
        (0, None, None, False),
        (lease.LASTS + 60, None, None, True),
    ],
)
def test_what_dead_processes_leave(tmp_path, age, host, pid, is_taken):
    one = Lease(tmp_path / "a.tif")
    host = host or one._owner["host"]
    leave_behind(one.path, age, host=host, pid=pid or os.getpid())
    assert (one.take() == "") == is_taken
    one.release()
    assert one.path.exists() != is_taken


def test_an_empty_lease_is_being_written(tmp_path):
    one = Lease(tmp_path / "a.tif")
    one.path.touch()
    assert one.take() == "process ? on ?"


def test_a_lease_is_renewed_until_it_is_released(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.01)
    one = Lease(tmp_path / "a.tif")
    one.take()
    os.utime(one.path, (1, 1))
    end = time.monotonic() + 20
    while one.path.stat().st_mtime < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    one.release()


def test_a_lease_that_was_taken_over_is_left(tmp_path):
    one, other = Lease(tmp_path / "a.tif"), Lease(tmp_path / "a.tif")
    one.take()
    one.path.unlink()
    other.take()
    one.release()
    assert other.path.exists()
    other.release()
