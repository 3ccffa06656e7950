"""Measurements as Markdown rows and as JSON, and the table in the documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.benchmarks.measurement import ROOT, Case, Quantity, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "docs" / "performance.json"
"""What the table of `PAGE` is made of."""
BEGIN = "<!-- table: written by make bench -->"
END = "<!-- end of table -->"
COLUMNS = (
    "case",
    "baseline",
    "ours",
    "ratio",
    "of processor time",
    "device",
    "threads",
    "commit",
    "besides",
)
UNMEASURED = "not measured yet"
DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def markdown(records: Iterable[Record]) -> str:
    """One table row for each measurement."""
    return _table([_row(record) for record in records])


def write_json(path: Path, records: Iterable[Record]) -> None:
    """Keep measurements in a file."""
    content = [record.to_json() for record in records]
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> list[Record]:
    """Read measurements from a file; none if there is no file."""
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Record.from_json(values) for values in content]


def merged(old: Iterable[Record], new: Sequence[Record]) -> list[Record]:
    """Old measurements but for those of cases and devices that were measured anew."""
    replaced = {(record.case, record.provenance.kind) for record in new}
    kept = [r for r in old if (r.case, r.provenance.kind) not in replaced]
    return [*kept, *new]


def page_with_table(page: str, cases: Sequence[Case], records: Sequence[Record]) -> str:
    """Put a table of all cases and devices between the markers of a page.

    Raises
    ------
    ValueError
        If the page lacks a marker.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        msg = f"{PAGE} must hold the lines {BEGIN!r} and {END!r}, in this order."
        raise ValueError(msg)
    table = _table([row for case in cases for row in _case_rows(case, records)])
    return f"{head}{BEGIN}\n\n{table}\n{END}{tail}"


def record_in_docs(cases: Sequence[Case], new: Sequence[Record]) -> None:
    """Merge measurements into the kept ones, and write the table anew."""
    records = merged(read_json(KEPT), new)
    page = page_with_table(PAGE.read_text(encoding="utf-8"), cases, records)
    write_json(KEPT, records)
    PAGE.write_text(page, encoding="utf-8")


def _case_rows(case: Case, records: Sequence[Record]) -> Iterable[Sequence[str]]:
    for kind in case.devices:
        own = [r for r in records if (r.case, r.provenance.kind) == (case.name, kind)]
        if not own:
            row = case.title, UNMEASURED, UNMEASURED, "", "", DEVICES[kind], "", "", ""
            yield row
        yield from map(_row, own)


def _row(record: Record) -> tuple[str, ...]:
    measured, origin = record.measurement, record.provenance
    ratio = ""
    if measured.ratio is not None:
        ratio = f"{_digits(measured.ratio)}x"
        if measured.spread is not None:
            low, high = map(_digits, measured.spread)
            ratio += f" ({low} to {high})"
    return (
        measured.title,
        _shown(measured.baseline) if measured.baseline else "none",
        _shown(measured.ours),
        ratio,
        f"{_digits(work)}x" if (work := measured.processor_ratio) else "",
        origin.device,
        str(origin.threads),
        origin.commit,
        measured.note,
    )


def _shown(quantity: Quantity) -> str:
    units = {
        "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
        "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
        "B/frame": ((1e6, "MB/frame"), (1e3, "kB/frame")),
    }[quantity.unit]
    factor, unit = next((u for u in units if quantity.value >= u[0]), units[-1])
    return f"{quantity.name}: {_digits(quantity.value / factor)} {unit}"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent for figures that people read."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
