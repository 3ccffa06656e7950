"""Many stacks with the same settings, none of which stops the others."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from napari_hqsam2.batch.work import JobSummary, Models, told
from napari_hqsam2.errors import HqSam2Error, StackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_hqsam2.batch.job import SegmentJob

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobReport:
    """What came of one of many jobs."""

    job: SegmentJob
    summary: JobSummary

    @property
    def status(self) -> str:
        """One or two words for it."""
        summary = self.summary
        if summary.problem:
            return "failed"
        return "interrupted" if summary.interrupted else summary.skipped or "done"


def jobs_for(stacks: Sequence[Path], template: SegmentJob) -> list[SegmentJob]:
    """One job for each stack.

    Parameters
    ----------
    stacks
        What is to be segmented. Each has a name of its own.
    template
        Settings of all jobs. `output` and `picture` are folders, in which files are
        named after the stacks; so are the prompts, if `points` and `boxes` are folders.

    Raises
    ------
    StackError
        Two stacks have one name.
    """
    names = Counter(map(_name, stacks))
    for name, number in names.items():
        if number > 1:
            paths = ", ".join(str(path) for path in stacks if _name(path) == name)
            msg = (
                f"{number} stacks have the name {name}, and their labels would too: "
                f"{paths}. Segment them into different folders."
            )
            raise StackError(msg)
    return [_job_for(stack, template) for stack in stacks]


def _job_for(stack: Path, template: SegmentJob) -> SegmentJob:
    name = _name(stack)
    tables = [_table(template.points, name), _table(template.boxes, name)]
    if any(table is not None and table.exists() for table in tables):
        tables = [table if table and table.exists() else None for table in tables]
    picture = template.picture
    return replace(
        template,
        stack=stack,
        output=template.output / f"{name}.tif",
        points=tables[0],
        boxes=tables[1],
        picture=None if picture is None else picture / f"{name}.png",
    )


def _table(given: Path | None, name: str) -> Path | None:
    """Table of prompts of a stack: in a folder the one with its name."""
    return given / f"{name}.csv" if given is not None and given.is_dir() else given


def _name(stack: Path) -> str:
    return stack.stem.removesuffix(".ome")


def run_jobs(
    jobs: Iterable[SegmentJob], console: Console | None = None
) -> Iterator[JobReport]:
    """Do one job after the other; ends with one that is interrupted.

    Each goes on where an earlier process has stopped. Processes may work on the same
    jobs at once: none begins what another is at, and what another was at is asked for
    again when all else is over.

    Parameters
    ----------
    jobs
        What is to be done.
    console
        Where progress bars are shown; standard error by default.

    Yields
    ------
    JobReport
        In the order of the jobs, each when it is over; what another process was at
        comes last.
    """
    console, models = console or Console(stderr=True), Models()
    left: list[SegmentJob] = []
    for job in jobs:
        summary = _done(job, console, models)
        if summary.is_elsewhere:
            left.append(job)
            continue
        yield JobReport(job, summary)
        if summary.interrupted:
            return
    for job in left:
        summary = _done(job, console, models)
        yield JobReport(job, summary)
        if summary.interrupted:
            return


def _done(job: SegmentJob, console: Console, models: Models) -> JobSummary:
    """What came of a job, whatever went wrong."""
    console.print(f"[bold]{escape(str(job.stack))}[/]", highlight=False, soft_wrap=True)
    try:
        return job.run(console, models)
    except KeyboardInterrupt:
        return JobSummary(interrupted=True)
    except (HqSam2Error, OSError) as error:
        return JobSummary(problem=told(error))
    except Exception as error:
        logger.exception("%s failed", job.stack)
        return JobSummary(problem=told(error))
