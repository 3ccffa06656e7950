"""A job that was broken off anywhere ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from napari_hqsam2.batch import partial, work
from napari_hqsam2.errors import StackError
from napari_hqsam2.prompts import FramePrompts
from napari_hqsam2.segmentation.stack_plan import StackPlan
from napari_hqsam2.weights import registry


class Killed(BaseException):
    """What nobody expects."""


@pytest.fixture
def steps(monkeypatch):
    """Counts steps that are computed; `steps.stop_at` raises `steps.error` there."""

    class Steps:
        done = 0
        stop_at = -1
        error = Killed

        def __call__(self, plan, *arguments):
            for step in results(plan, *arguments):
                if self.done == self.stop_at:
                    raise self.error
                yield step
                self.done += 1

    results, counted = StackPlan.results, Steps()

    def counted_results(*arguments):
        return counted(*arguments)

    monkeypatch.setattr(StackPlan, "results", counted_results)
    return counted


@pytest.fixture
def expected(job, quiet, steps):
    """Labels of a job that nobody broke off, and how many steps it took."""
    whole = replace(job, output=job.output.with_name("whole.tif"))
    assert whole.run(quiet).is_complete
    total, steps.done = steps.done, 0
    return tifffile.imread(whole.output), total


def test_a_job_that_is_killed_goes_on(job, quiet, steps, expected, always_saved):
    labels, total = expected
    kills = range(1, total, 2)
    for kill in kills:
        steps.stop_at = kill
        with pytest.raises(Killed):
            job.run(quiet)
        assert not job.output.exists()
        assert job.partial_folder.is_dir()
    steps.stop_at = -1
    summary = job.run(quiet)
    assert summary.resumed_at == kills[-1]
    assert steps.done == summary.frames_done == total
    assert np.array_equal(tifffile.imread(job.output), labels)
    assert labels.any()
    names = {path.name for path in job.output.parent.iterdir()}
    assert names == {"cells.tif", "cells.csv", "labels.tif", "whole.tif"}


def test_ctrl_c_keeps_all_frames_and_writes_them(job, quiet, steps, expected):
    labels, total = expected
    steps.stop_at, steps.error = 4, KeyboardInterrupt
    assert job.run(quiet).interrupted
    assert job.output.exists()
    steps.stop_at = -1
    summary = job.run(quiet)
    assert (summary.resumed_at, steps.done) == (4, total)
    assert np.array_equal(tifffile.imread(job.output), labels)


def test_a_frame_that_fails_for_a_while(job, quiet, steps, expected):
    labels, total = expected
    steps.stop_at, steps.error = 5, StackError("The disk is asleep.")
    assert "asleep" in job.run(quiet).problem
    assert "asleep" in job.run(quiet).problem
    steps.stop_at = -1
    assert job.run(quiet).is_complete
    assert steps.done == total
    assert np.array_equal(tifffile.imread(job.output), labels)


@pytest.mark.parametrize("name", ["state.pt", "labels-*.npz"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_what_is_damaged_is_not_used(
    job, quiet, steps, expected, always_saved, name, damage, caplog
):
    labels, total = expected
    steps.stop_at = 2
    with pytest.raises(Killed):
        job.run(quiet)
    steps.stop_at, steps.done = -1, 0
    path = next(job.partial_folder.glob(name))
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x55
        path.write_bytes(content)
    assert job.run(quiet).resumed_at == 0
    assert steps.done == total
    assert np.array_equal(tifffile.imread(job.output), labels)
    assert ("begins anew" in caplog.text) == ((name, damage) != ("state.pt", "gone"))


@pytest.mark.parametrize("change", ["prompts", "stack", "settings", "torch"])
def test_what_has_changed_is_computed_anew(
    job, quiet, steps, always_saved, change, rng, monkeypatch
):
    steps.stop_at = 2
    with pytest.raises(Killed):
        job.run(quiet)
    steps.stop_at = -1
    if change == "prompts":
        job.points.write_text("t,y,x,object_id\n1,10,13,4\n3,30,30,9\n")
    elif change == "stack":
        os.utime(job.stack, (1, 1))
    elif change == "settings":
        job = replace(job, gamma=0.5)
    else:
        monkeypatch.setattr(torch, "__version__", "9.9")
    assert job.run(quiet).resumed_at == 0
    whole = replace(job, output=job.output.with_name("whole.tif"))
    whole.run(quiet)
    assert np.array_equal(tifffile.imread(job.output), tifffile.imread(whole.output))


def test_what_is_finished_is_not_done_again(job, quiet, steps, loads, tmp_path):
    job.run(quiet)
    done, before = steps.done, job.output.stat()
    assert job.run(quiet).skipped == "finished before"
    assert job.output.stat() == before
    assert len(loads) == 1
    job = replace(job, picture=tmp_path / "picture.png")
    assert job.run(quiet).is_complete
    assert job.picture.exists()
    assert steps.done == 2 * done
    job = replace(job, one_piece=True)
    assert not job.run(quiet).skipped


def test_labels_that_somebody_has_changed_are_left(job, quiet):
    job.run(quiet)
    labels = tifffile.imread(job.output)
    tifffile.imwrite(job.output, labels + 1)
    with pytest.raises(StackError, match=r"labels.tif exists and .* was changed since"):
        job.run(quiet)
    assert np.array_equal(tifffile.imread(job.output), labels + 1)
    assert replace(job, overwrite=True).run(quiet).is_complete
    assert np.array_equal(tifffile.imread(job.output), labels)
    assert job.run(quiet).skipped == "finished before"


def test_pictures_of_somebody_else_are_left(job, quiet, tmp_path):
    job = replace(job, picture=tmp_path / "paper.png")
    job.picture.write_bytes(b"somebody else's")
    with pytest.raises(StackError, match=r"paper.png exists and .* --overwrite"):
        job.run(quiet)
    assert job.picture.read_bytes() == b"somebody else's"
    assert not job.output.exists()
    assert replace(job, overwrite=True).run(quiet).is_complete
    assert job.picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_are_never_replaced(job, quiet, loads, overwrite):
    job.output.mkdir()
    with pytest.raises(StackError, match=r"labels.tif is a folder"):
        replace(job, overwrite=overwrite).run(quiet)
    assert loads == []


def test_a_full_disk_does_not_end_the_work(
    job, quiet, always_saved, monkeypatch, caplog
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(partial, "_write_arrays", full)
    assert job.run(quiet).is_complete
    assert "No space left" in caplog.text


def test_objects_that_were_found_are_not_looked_for_again(
    job, quiet, steps, always_saved, monkeypatch
):
    masks = np.zeros((2, 40, 50), bool)
    masks[0, 4:14, 6:20] = masks[1, 22:30, 30:41] = True
    asked = []

    def propose(self, predictor, console, position):
        asked.append(position)
        return [FramePrompts(position, n, mask=m) for n, m in enumerate(masks, 1)]

    monkeypatch.setattr(work.Work, "_proposed", propose)
    job = replace(job, everything=True, points=None, at=(2,))
    whole = replace(job, output=job.output.with_name("whole.tif"))
    whole.run(quiet)
    steps.done = 0
    for kill in (0, 2):
        steps.stop_at = kill
        with pytest.raises(Killed):
            job.run(quiet)
    steps.stop_at = -1
    assert job.run(quiet).resumed_at == 2
    assert asked == [(2,), (2,)]
    assert np.array_equal(tifffile.imread(job.output), tifffile.imread(whole.output))


SCRIPT = """
import os, signal, sys
from napari_hqsam2.batch import partial
from napari_hqsam2.cli import app
note = partial.Partial.note
partial.SAVED_EVERY = float(sys.argv[1])
number = getattr(signal, sys.argv[2])

def kill_then(self, *arguments):
    note(self, *arguments)
    if self.done == 3:
        os.kill(os.getpid(), number)

partial.Partial.note = kill_then
app(sys.argv[3:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "every"), [("SIGKILL", -1), ("SIGTERM", 1000)])
def test_processes_that_are_killed(tmp_path, job, number, every):
    command = (
        "segment", str(job.stack), "--points", str(job.points), "--axes", "TYX",
        "--model", registry.DEFAULT_MODEL, "--device", "cpu", "-o",
    )  # fmt: skip

    def run(*arguments):
        return subprocess.run(  # noqa: S603
            [sys.executable, *arguments], cwd=tmp_path, check=False
        ).returncode

    killed = run("-c", SCRIPT, str(every), number, *command, "labels.tif")
    assert killed == (-signal.SIGKILL if number == "SIGKILL" else 130)
    assert (tmp_path / "labels.tif.partial" / "state.pt").is_file()
    for name in ("labels.tif", "whole.tif"):
        assert run("-m", "napari_hqsam2", *command, name) == 0
    labels, whole = (
        tifffile.imread(tmp_path / f"{n}.tif") for n in ("labels", "whole")
    )
    assert np.array_equal(labels, whole)
    assert whole.any()
