"""Results on disk: rows that survive an interruption, and a summary of them."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Protocol,
    TypeVar,
    get_type_hints,
)

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SETTINGS_NAME = "settings.json"
SUMMARY_NAME = "summary.json"
DIGITS = 6
FIELD_CHARACTERS = 2**26
"""Longest cell, such as a mask as run lengths."""


class Row(Protocol):
    """A dataclass of text and numbers; its first field names the item it is part of."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


RowT = TypeVar("RowT", bound=Row)


Cell = str | float


@dataclass(frozen=True)
class Table:
    """Figures to print and to keep."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def records(self) -> list[dict[str, Cell | None]]:
        """One mapping a row, for JSON: what is not a number becomes null."""
        return [
            {
                name: None if _is_nan(value) else value
                for name, value in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]


@dataclass(frozen=True)
class Run:
    """Where the results of one evaluation go, and who is told about them."""

    folder: Path
    settings: Mapping[str, str]
    """What was measured and how; a folder holds the results of one such set."""
    progress: Callable[[int, int], None]
    """Called with the items done and the items in all."""

    def begin(self) -> None:
        """Make the folder, or go on in it.

        Raises
        ------
        EvaluationError
            The folder holds results of something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / SETTINGS_NAME
        if path.is_file():
            self._compare(json.loads(path.read_text(encoding="utf-8")))
        else:
            _write_json(path, dict(self.settings))

    def _compare(self, earlier: dict[str, str]) -> None:
        different = [
            f"{name} was {earlier.get(name)!r}, now {self.settings.get(name)!r}"
            for name in sorted(earlier.keys() | self.settings.keys())
            if earlier.get(name) != self.settings.get(name)
        ]
        if different:
            msg = (
                f"{self.folder} holds the results of another run: "
                f"{'; '.join(different)}. Give the same options to go on with it, or "
                "another folder."
            )
            raise EvaluationError(msg)

    def finish(self, tables: Sequence[Table]) -> None:
        """Write the summary."""
        figures = {table.name: table.records() for table in tables}
        _write_json(
            self.folder / SUMMARY_NAME, {"settings": dict(self.settings)} | figures
        )


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_table(path: Path, table: Table) -> None:
    """Write a table as CSV; what is not a number stays empty."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, table.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.records())


class Journal(Generic[RowT]):
    """A CSV to which the rows of one item after the other are added.

    Beside it lies the list of items that are complete; rows of an item that was
    interrupted are dropped when the file is opened again.

    Parameters
    ----------
    path : Path
        The ``.csv``; it may exist.
    row_type : type
        Dataclass of the rows.
    """

    def __init__(self, path: Path, row_type: type[RowT]) -> None:
        self._path = path
        self._done_path = path.with_suffix(".done")
        self._row_type = row_type
        self._names = [field.name for field in fields(row_type)]
        self.finished = self._read_finished()
        self.rows: list[RowT] = self._read_rows()
        self._rewrite()

    def add(self, item: str, rows: Sequence[RowT]) -> None:
        """Add the rows of an item, which is complete with them."""
        rows = [_rounded(row) for row in rows]
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._text(rows))
        with self._done_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(item) + "\n")
        self.rows.extend(rows)
        self.finished.add(item)

    def _text(self, rows: Sequence[RowT]) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names, lineterminator="\n")
        for row in rows:
            writer.writerow(
                {name: "" if _is_nan(v) else v for name, v in asdict(row).items()}
            )
        return text.getvalue()

    def _read_finished(self) -> set[str]:
        if not self._done_path.is_file():
            return set()
        lines = self._done_path.read_text(encoding="utf-8").splitlines(keepends=True)
        return {json.loads(line) for line in lines if line.endswith("\n")}

    def _read_rows(self) -> list[RowT]:
        if not self._path.is_file():
            return []
        types = get_type_hints(self._row_type)
        csv.field_size_limit(FIELD_CHARACTERS)
        with self._path.open(encoding="utf-8", newline="") as file:
            return [
                self._row_type(
                    **{name: _from_cell(row[name], types[name]) for name in self._names}
                )
                for row in csv.DictReader(file)
                if row[self._names[0]] in self.finished
            ]

    def _rewrite(self) -> None:
        with atomic_path(self._path) as temporary:
            header = ",".join(self._names) + "\n"
            temporary.write_text(
                header + self._text(self.rows), encoding="utf-8", newline=""
            )
        with atomic_path(self._done_path) as temporary:
            lines = [json.dumps(item) + "\n" for item in sorted(self.finished)]
            temporary.write_text("".join(lines), encoding="utf-8")


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _rounded(row: RowT) -> RowT:
    """The row as it will be read again."""
    values = asdict(row).items()
    return replace(
        row,
        **{
            name: round(value, DIGITS)
            for name, value in values
            if isinstance(value, float)
        },
    )


def _from_cell(text: str, kind: type) -> object:
    return math.nan if kind is float and not text else kind(text)


def mean(values: Sequence[float]) -> float:
    """Mean of what is not NaN; NaN if nothing is left."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
