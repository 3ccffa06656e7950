"""Prompts from CSV files: simple tables, and napari's own exports of Points and Shapes.

Coordinates are pixel indices of the stack (data space), whatever its physical scale.

Points
    One row per click. Leading axes by their letter, then place: ``t,y,x`` or
    ``t,z,y,x``; or napari's ``axis-0,axis-1,...`` in the order of the stack's axes
    without channels.
Boxes
    One row per box: ``t,y0,x0,y1,x1``, half-open; or napari's Shapes export, four rows
    per rectangle: ``index,shape-type,vertex-index,axis-0,...``.
Both
    ``object_id``: the label value, 1 or more. Without this column every click and every
    box is an object of its own: 1, 2, ... in the order of the files, points first.
    ``label`` (points): positive or negative (also 1 or 0); positive without it.
    The column of a leading axis of length one may be left out. Commas, semicolons or
    tabs are between the columns.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from napari_hqsam2.errors import PromptError
from napari_hqsam2.geometry import rectangle_to_box
from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hqsam2.axes import StackAxes

_Key: TypeAlias = tuple[tuple[int, ...], int]

POLARITIES = {
    **dict.fromkeys(("positive", "pos", "+", "1", "1.0", "true"), True),
    **dict.fromkeys(("negative", "neg", "-", "0", "0.0", "false"), False),
}
"""Whether a click is positive, by what the column `label` says in lower case."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a table, with column names in lower case."""

    path: Path
    line: int
    cells: dict[str, str]

    def fail(self, problem: str) -> PromptError:
        """Error that says where it happened."""
        return PromptError(f"{self.path.name}, line {self.line}: {problem}")

    def number(self, column: str) -> float:
        """A finite number of the row."""
        if column not in self.cells:
            there = ", ".join(self.cells) or "none"
            msg = f"there is no column {column!r}; the columns are {there}."
            raise self.fail(msg)
        text = self.cells[column]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            msg = f"column {column!r} must be a number, got {text!r}."
            raise self.fail(msg)
        return value

    def whole(self, column: str) -> int:
        """The whole number closest to a cell."""
        return math.floor(self.number(column) + 0.5)

    def object_id(self) -> int | None:
        """Object id of the row, if the table has that column."""
        if "object_id" not in self.cells:
            return None
        value = self.number("object_id")
        if value != int(value) or value < 1:
            msg = f"object_id must be a whole number of 1 or more, got {value:g}."
            raise self.fail(msg)
        return int(value)


@dataclass(frozen=True, slots=True)
class _Click:
    position: tuple[int, ...]
    obj_id: int | None
    point: PointPrompt
    row: _Row


@dataclass(frozen=True, slots=True)
class _Rectangle:
    position: tuple[int, ...]
    obj_id: int | None
    box: BoxPrompt
    row: _Row


def read_prompts(
    axes: StackAxes, *, points: Path | None = None, boxes: Path | None = None
) -> tuple[FramePrompts, ...]:
    """Read the prompts for a stack from one or two CSV files.

    Parameters
    ----------
    axes
        Axes of the stack that the coordinates belong to.
    points, boxes
        CSV files as the module describes them.

    Returns
    -------
    tuple of FramePrompts
        One for each object and frame, sorted by position and object id.

    Raises
    ------
    PromptError
        Neither file given, or a line that cannot be understood; the message names it.
    """
    if points is None and boxes is None:
        msg = "There are no prompts; give a CSV file of points, of boxes, or both."
        raise PromptError(msg)
    clicks = [] if points is None else list(_read_clicks(points, axes))
    rectangles = [] if boxes is None else list(_read_rectangles(boxes, axes))
    new_ids = _new_ids([*clicks, *rectangles])
    points_at: defaultdict[_Key, list[PointPrompt]] = defaultdict(list)
    for click in clicks:
        points_at[click.position, click.obj_id or next(new_ids)].append(click.point)
    box_at: dict[_Key, BoxPrompt] = {}
    for rectangle in rectangles:
        key = rectangle.position, rectangle.obj_id or next(new_ids)
        if key in box_at:
            problem = f"object {key[1]} already has a box on this frame; keep one."
            raise rectangle.row.fail(problem)
        box_at[key] = rectangle.box
    return tuple(
        FramePrompts(*key, points=tuple(points_at[key]), box=box_at.get(key))
        for key in sorted({*points_at, *box_at})
    )


def _new_ids(prompts: list[_Click | _Rectangle]) -> Iterator[int]:
    taken = {prompt.obj_id for prompt in prompts}
    return (obj_id for obj_id in count(1) if obj_id not in taken)


def _read_clicks(path: Path, axes: StackAxes) -> Iterator[_Click]:
    for row in _rows(path):
        place = dict(zip("yx", _napari_columns(row, axes)[-2:], strict=True))
        point = PointPrompt(
            row.number(place["y"]), row.number(place["x"]), _is_positive(row)
        )
        yield _Click(_position(row, axes), row.object_id(), point, row)


def _read_rectangles(path: Path, axes: StackAxes) -> Iterator[_Rectangle]:
    rows = _rows(path)
    if rows and "vertex-index" in rows[0].cells:
        yield from _read_shapes(rows, axes)
        return
    for row in rows:
        y0, x0, y1, x1 = (row.number(column) for column in ("y0", "x0", "y1", "x1"))
        try:
            box = BoxPrompt(y0, x0, y1, x1)
        except PromptError as error:
            raise row.fail(str(error)) from error
        yield _Rectangle(_position(row, axes), row.object_id(), box, row)


def _read_shapes(rows: list[_Row], axes: StackAxes) -> Iterator[_Rectangle]:
    shapes: defaultdict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        shapes[row.whole("index")].append(row)
    for vertices in shapes.values():
        first = vertices[0]
        shape_type = first.cells.get("shape-type", "")
        if shape_type != "rectangle":
            problem = (
                f"a box is a rectangle, got shape type {shape_type!r}; draw it with "
                "the rectangle tool or delete it."
            )
            raise first.fail(problem)
        positions = {_position(row, axes) for row in vertices}
        if len(positions) > 1:
            problem = "the corners of this rectangle lie on different frames."
            raise first.fail(problem)
        *_, y, x = _napari_columns(first, axes)
        try:
            box = rectangle_to_box([(row.number(y), row.number(x)) for row in vertices])
        except PromptError as error:
            raise first.fail(str(error)) from error
        yield _Rectangle(positions.pop(), first.object_id(), box, first)


def _rows(path: Path) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        msg = f"There is no file {path}."
        raise PromptError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path.name} is no text in UTF-8 ({error.reason}); save it as CSV UTF-8."
        raise PromptError(msg) from error
    header = text.partition("\n")[0]
    between = next((mark for mark in ",;\t" if mark in header), ",")
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file, delimiter=between)
        return [
            _Row(
                path,
                reader.line_num,
                {
                    name.strip().lower(): (cell or "").strip()
                    for name, cell in cells.items()
                    if isinstance(name, str) and not isinstance(cell, list)
                },
            )
            for cells in reader
        ]


def _position(row: _Row, axes: StackAxes) -> tuple[int, ...]:
    columns = _napari_columns(row, axes)[:-2]
    position = []
    for column in ("t", "z"):
        is_elsewhere = column in row.cells and column.upper() not in axes.leading
        if is_elsewhere and row.whole(column) != 0:
            problem = (
                f"column {column!r} is {row.whole(column)}, but the stack has no "
                f"{column.upper()}: it has {axes.described}. Name its axes, or leave "
                "the column out."
            )
            raise row.fail(problem)
    for letter, column in zip(axes.leading, columns, strict=True):
        if column in row.cells:
            position.append(row.whole(column))
        elif axes.length(letter) == 1:
            position.append(0)
        else:
            problem = (
                f"column {column!r} is missing; the stack has {axes.described}, so "
                f"every prompt must say its {letter}."
            )
            raise row.fail(problem)
    return tuple(position)


def _napari_columns(row: _Row, axes: StackAxes) -> list[str]:
    """Columns of the leading axes, Y and X, whichever way the table names them."""
    letters = axes.labels_letters
    numbered = [name for name in row.cells if name.startswith("axis-")]
    if not numbered:
        return list(letters.lower())
    if len(numbered) == len(letters):
        return [f"axis-{index}" for index in range(len(letters))]
    if len(numbered) == len(axes.letters):
        return [f"axis-{axes.letters.index(letter)}" for letter in letters]
    problem = (
        f"the table has {len(numbered)} coordinates, but the stack needs "
        f"{len(letters)} ({letters}); it has {axes.described}."
    )
    raise row.fail(problem)


def _is_positive(row: _Row) -> bool:
    text = row.cells.get("label", "positive").lower()
    if text not in POLARITIES:
        problem = f"label must be positive or negative, got {text!r}."
        raise row.fail(problem)
    return POLARITIES[text]
