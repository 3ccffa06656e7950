"""Command line of the benchmarks: ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tests.benchmarks import (
    cases_click,
    cases_compose,
    cases_encode,
    cases_memory,
    cases_ops,
    cases_track,
    report,
)
from tests.benchmarks.measurement import (
    ROOT,
    Case,
    Plan,
    Provenance,
    Record,
    Scale,
    Settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CASES: tuple[Case, ...] = (
    *cases_encode.CASES,
    *cases_click.CASES,
    *cases_track.CASES,
    *cases_compose.CASES,
    *cases_memory.CASES,
    *cases_ops.CASES,
)
BY_NAME = {case.name: case for case in CASES}
AMOUNTS = tuple(Plan.__dataclass_fields__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Ours against sam2 and against the obvious code, as ratios.",
    )
    parser.add_argument(
        "--case",
        nargs="+",
        default=["all"],
        choices=["all", "none", *BY_NAME],
        help="what to measure; none only writes the table anew",
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_true", help="for a busy machine")
    scale.add_argument("--smoke", action="store_true", help="only see that it runs")
    for amount in AMOUNTS:
        parser.add_argument(f"--{amount}", type=int, help="instead of the case's own")
    parser.add_argument("--threads", type=int, help="of torch, on the CPU")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    parser.add_argument("--markdown", action="store_true", help="print a table")
    parser.add_argument(
        "--record", action="store_true", help=f"also write {report.PAGE.name}"
    )
    parser.add_argument(
        "--isolate", action="store_true", help="each case in a process of its own"
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    scale: Scale = "smoke" if options.smoke else "quick" if options.quick else "full"
    amounts = {name: getattr(options, name) for name in AMOUNTS}
    return Settings(torch.device(options.device), scale, **amounts)


def _chosen(options: argparse.Namespace) -> list[Case]:
    if options.case == ["none"]:
        return []
    names = BY_NAME if "all" in options.case else options.case
    return [BY_NAME[name] for name in names if options.device in BY_NAME[name].devices]


def _measured(case: Case, settings: Settings) -> list[Record]:
    origin = Provenance.of(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [Record(case.name, row, origin) for row in case.run(settings)]


def _apart(case: Case, options: argparse.Namespace) -> list[Record]:
    """Measure a case in a fresh process: memory is given back, a crash is its own."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [sys.executable, "-m", "tests.benchmarks", "--case", case.name]
        command += ["--json", str(found), "--device", options.device]
        command += ["--quick"] * options.quick + ["--smoke"] * options.smoke
        for name in (*AMOUNTS, "threads"):
            value = getattr(options, name)
            command += [] if value is None else [f"--{name}", str(value)]
        done = subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603
        if done.returncode != 0:
            sys.stderr.write(f"{case.name} ended with status {done.returncode}\n")
        return report.read_json(found)


def _recorded(cases: Iterable[Case], options: argparse.Namespace) -> list[Record]:
    """Measure cases, and put each into the documentation once it is done."""
    records: list[Record] = []
    for case in cases:
        sys.stderr.write(f"{case.title} ...\n")
        if options.isolate:
            new = _apart(case, options)
        else:
            new = _measured(case, _settings(options))
        records += new
        if options.record:
            report.record_in_docs(CASES, new)
    return records


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, and print one row for each measurement."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.record and options.smoke:
        parser.error("--record keeps figures, and --smoke gives none; leave one out")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.record:
        report.record_in_docs(CASES, [])
    records = _recorded(_chosen(options), options)
    if options.json is not None:
        report.write_json(options.json, records)
    if records and (options.markdown or options.json is None):
        sys.stdout.write(report.markdown(records))


if __name__ == "__main__":
    main()
