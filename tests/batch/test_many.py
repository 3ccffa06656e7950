"""Many stacks in one call."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_hqsam2.batch import SegmentJob, jobs_for, run_jobs, work
from napari_hqsam2.batch.lease import Lease
from napari_hqsam2.cli import app


@pytest.fixture
def stacks(tmp_path, rng, loads, monkeypatch):
    """Three stacks with tables of their own; the second one is cut off."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("in").mkdir()
    Path("clicks").mkdir()
    for number, name in enumerate(("a", "b", "c")):
        data = rng.integers(0, 60_000, (3, 40, 50), dtype=np.uint16)
        path = Path("in", f"{name}.ome.tif")
        tifffile.imwrite(path, data, metadata={"axes": "TYX"})
        Path("clicks", f"{name}.csv").write_text(f"t,y,x\n{number},10,12\n")
    Path("in", "b.ome.tif").write_bytes(Path("in", "b.ome.tif").read_bytes()[:2000])
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["segment", *map(str, arguments)])


def statuses(result):
    """Status by stack, and the number of frames."""
    rows = re.findall(
        r"in/(\w)\.ome\.tif +│ (\w[\w ]*?) *(?:\(.*?)?│ +(\d*)", result.stdout
    )
    return {name: (status, frames) for name, status, frames in rows}


COMMAND = ("in/*.tif", "--points", "clicks", "--direction", "forward", "-o", "out")


def test_one_bad_stack_does_not_stop_the_others(stacks, loads):
    result = run(*COMMAND)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert statuses(result) == {
        "a": ("done", "3"),
        "b": ("failed", ""),
        "c": ("done", "1"),
    }
    assert len(loads) == 1
    assert {path.name for path in Path("out").iterdir()} == {"a.tif", "c.tif"}
    assert tifffile.imread("out/a.tif")[0].any()
    assert not tifffile.imread("out/c.tif")[:2].any()


def test_what_is_finished_is_skipped_when_run_again(stacks, loads):
    Path("in", "b.ome.tif").unlink()
    assert run(*COMMAND).exit_code == 0
    Path("clicks", "c.csv").write_text("t,y,x\n1,10,12\n")
    result = run(*COMMAND)
    assert result.exit_code == 0
    assert statuses(result) == {"a": ("finished before", ""), "c": ("done", "2")}
    assert len(loads) == 2


def test_what_another_process_is_at_is_left_to_it(stacks):
    Path("out").mkdir()
    other = Lease(Path("out/a.tif"))
    other.take()
    result = run("in/a.ome.tif", *COMMAND[1:])
    alone = run("in/a.ome.tif", *COMMAND[1:-1], "out/a.tif", "--points", "clicks/a.csv")
    other.release()
    assert (result.exit_code, alone.exit_code) == (75, 75)
    assert "under way elsewhere (process" in result.stdout
    assert not Path("out/a.tif").exists()


def test_what_another_process_has_finished_meanwhile(job, quiet, monkeypatch):
    other = Lease(job.output)
    other.take()
    asked = []

    def run_late(self, *arguments):
        asked.append(self.output.name)
        if len(asked) == 2:
            other.release()
        return run_job(self, *arguments)

    run_job = SegmentJob.run
    monkeypatch.setattr(SegmentJob, "run", run_late)
    second = replace(job, output=job.output.with_name("second.tif"))
    reports = list(run_jobs([job, second], quiet))
    assert asked == ["labels.tif", "second.tif", "labels.tif"]
    assert [report.status for report in reports] == ["done", "done"]


def test_every_part_of_an_array_has_its_stacks(stacks):
    names = [
        sorted(statuses(run(*COMMAND, "--index", index, "--of", 2)))
        for index in range(2)
    ]
    assert names == [["a", "c"], ["b"]]
    assert run(*COMMAND, "--index", 2, "--of", 2).exit_code == 2
    assert run(*COMMAND, "--index", 1).exit_code == 2


def test_a_part_without_stacks_is_no_failure(stacks):
    assert run(*COMMAND, "--index", 7, "--of", 8).exit_code == 0


def test_ctrl_c_ends_all(stacks, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(work.Work, "fill", interrupted)
    result = run(*COMMAND)
    assert result.exit_code == 130
    assert statuses(result) == {"a": ("interrupted", "")}
    assert "2 stacks were not begun" in result.stderr


def test_what_nobody_foresaw_fails_one_stack(stacks, monkeypatch, caplog):
    write = work.Work.write

    def surprised(self):
        if self.job.stack.name.startswith("a"):
            raise LookupError("surprise")
        write(self)

    monkeypatch.setattr(work.Work, "write", surprised)
    result = run(*COMMAND)
    assert statuses(result)["a"] == ("failed", "")
    assert statuses(result)["c"] == ("done", "1")
    assert "LookupError: surprise" in result.stdout
    assert "Traceback" in caplog.text


def test_names_that_are_not_clear(stacks):
    Path("other").mkdir()
    Path("other/a.tif").write_bytes(b"")
    result = run("in/a.ome.tif", "other/a.tif", *COMMAND[1:])
    assert result.exit_code == 1
    assert "2 stacks have the name a" in result.stderr
    assert "Nothing matches in/*.czi" in run("in/*.czi", *COMMAND[1:]).stderr
    assert not Path("out").exists()


def test_jobs_of_many_stacks(tmp_path):
    (tmp_path / "tables").mkdir()
    for name in ("points.csv", "tables/a.csv"):
        (tmp_path / name).touch()
    template = SegmentJob(
        stack=Path(), output=Path("out"), picture=Path("seen"),
        points=tmp_path / "points.csv", boxes=tmp_path / "tables",
    )  # fmt: skip
    one, two = jobs_for([Path("x/a.ome.zarr"), Path("b.tif")], template)
    assert (one.output, one.picture) == (Path("out/a.tif"), Path("seen/a.png"))
    assert (one.points, one.boxes) == (template.points, tmp_path / "tables/a.csv")
    assert (two.points, two.boxes) == (template.points, None)
    neither = replace(template, points=tmp_path / "tables")
    (job,) = jobs_for([Path("b.tif")], neither)
    assert job.points == tmp_path / "tables/b.csv"


def test_jobs_in_python(job, quiet):
    missing = replace(
        job, stack=Path("nothing.tif"), output=job.output.parent / "x.tif"
    )
    bad, good = run_jobs([missing, job], quiet)
    assert (bad.status, good.status) == ("failed", "done")
    assert "There is no file" in bad.summary.problem
    same = replace(job, stack=str(job.stack), output=str(job.output))
    assert same.run(quiet).skipped == "finished before"
