"""What ``napari-hqsam2 segment`` does with one stack and with many, and tells."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from napari_hqsam2.cli.app import (
    EXIT_ELSEWHERE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    err,
    out,
)
from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.batch import JobReport, SegmentJob


def expanded(given: Sequence[Path]) -> list[Path]:
    """Paths, with those that match a pattern in its place.

    Raises
    ------
    StackError
        Nothing matches a pattern.
    """
    paths: list[Path] = []
    for path in given:
        if path.exists() or not glob.has_magic(str(path)):
            paths.append(path)
            continue
        pattern = path.relative_to(path.anchor)
        found = sorted(Path(path.anchor).glob(str(pattern)))
        if not found:
            msg = f"Nothing matches {path}."
            raise StackError(msg)
        paths += found
    return paths


def part(stacks: list[Path], index: int | None, of: int | None) -> list[Path]:
    """One of so many equal parts of the stacks."""
    if (index is None) != (of is None):
        msg = "It takes both: which part (--index), and of how many (--of)."
        raise typer.BadParameter(msg, param_hint="--index")
    if index is None or of is None:
        return stacks
    if index >= of:
        msg = f"{index} is none of {of} parts; they are counted from 0 to {of - 1}."
        raise typer.BadParameter(msg, param_hint="--index")
    return stacks[index::of]


def segment_one(job: SegmentJob) -> None:
    """Do one job, and say what came of it."""
    summary = job.run(err)
    if summary.skipped:
        out.print(f"{job.output}: {summary.skipped}", soft_wrap=True, highlight=False)
    if summary.is_elsewhere:
        raise typer.Exit(EXIT_ELSEWHERE)
    if summary.resumed_at:
        err.print(f"Went on after {summary.resumed_at} frames that were finished.")
    for path in summary.written:
        out.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    if summary.problem:
        err.print(f"[bold red]Error:[/] {escape(summary.problem)}", soft_wrap=True)
        err.print(_what_is_kept(summary.frames_done), soft_wrap=True)
        raise typer.Exit(EXIT_FAILED)
    if summary.interrupted:
        err.print(
            f"Interrupted; {summary.frames_done} frames are finished. The same command "
            "goes on from there.",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED)


def segment_many(stacks: Sequence[Path], template: SegmentJob) -> None:
    """Do one job for each stack, and show a table of what came of them."""
    from napari_hqsam2.batch import jobs_for, run_jobs  # noqa: PLC0415 - loads torch

    jobs = jobs_for(stacks, template)
    for folder in (template.output, template.picture):
        if folder is not None:
            folder.mkdir(exist_ok=True)
    reports = list(run_jobs(jobs, err))
    out.print(_table(reports), soft_wrap=True)
    left = len(jobs) - len(reports)
    if left:
        err.print(f"{left} stacks were not begun; the same command goes on with them.")
    statuses = {report.status for report in reports}
    if "interrupted" in statuses:
        raise typer.Exit(EXIT_INTERRUPTED)
    if "failed" in statuses:
        raise typer.Exit(EXIT_FAILED)
    if any(report.summary.is_elsewhere for report in reports):
        raise typer.Exit(EXIT_ELSEWHERE)


def _table(reports: Sequence[JobReport]) -> Table:
    table = Table("stack", "status", "frames", "labels or reason")
    for report in reports:
        summary = report.summary
        table.add_row(
            escape(str(report.job.stack)),
            report.status,
            str(summary.frames_done or ""),
            escape(summary.problem or str(report.job.output)),
        )
    return table


def _what_is_kept(frames_done: int) -> str:
    """Words for a run that a frame has ended, and how to go on."""
    frames = "1 frame is" if frames_done == 1 else f"{frames_done} frames are"
    return (
        f"{frames} finished and written; the others are empty in the labels. The same "
        "command goes on from there; if the stack is mended first, it begins anew. Or "
        "leave the frame out with --frames and --direction."
    )
