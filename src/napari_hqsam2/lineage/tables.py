"""Tables of objects and frames as CSV."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from napari_hqsam2.errors import LineageError
from napari_hqsam2.files import atomic_path
from napari_hqsam2.lineage.content import FrameNotes
from napari_hqsam2.lineage.divisions import make_division

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_hqsam2.lineage.content import TrackedLabels
    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.stack_files import PixelSize


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One object on one frame; its fields are the columns of the file.

    Indices are those of pixels, and a box ends one after its last pixel. What does not
    apply, or is not known, is None and an empty cell.
    """

    object_id: int
    name: str
    t: int
    z: float | None
    y: float
    x: float
    """Centroid in pixel indices."""
    area: int
    """Pixels or voxels."""
    z0: int | None
    y0: int
    x0: int
    z1: int | None
    y1: int
    x1: int
    """Box."""
    time: float | None
    time_unit: str | None
    z_length: float | None
    y_length: float | None
    x_length: float | None
    """Centroid in `length_unit`."""
    size: float | None
    """Area or volume in that unit, squared or cubed."""
    length_unit: str | None
    mother: int | None
    born: int | None
    """Frame along T of the division."""
    object_score: float | None
    iou_score: float | None
    prompts: int
    locked: int
    """Planes that are locked."""


def object_rows(content: TrackedLabels) -> Iterator[ObjectRow]:
    """Rows by time, then by object."""
    units = _Units.of(content.pixel_sizes, content.table.letters)
    births = {d: each for each in content.divisions for d in each.daughters}
    for time, objects in enumerate(content.table.frames):
        for index, obj_id in enumerate(objects.ids.tolist()):
            place = _with_depth(objects.centroids[index].tolist())
            box = objects.boxes[index].tolist()
            area = int(objects.areas[index])
            birth = births.get(obj_id)
            notes = content.notes.get((obj_id, time), FrameNotes())
            yield ObjectRow(
                object_id=obj_id,
                name=content.name(obj_id),
                t=time,
                **dict(zip("zyx", place, strict=True)),
                area=area,
                **dict(zip(("z0", "y0", "x0"), _with_depth(box[0]), strict=True)),
                **dict(zip(("z1", "y1", "x1"), _with_depth(box[1]), strict=True)),
                **units.values(time, place, area),
                mother=None if birth is None else birth.mother,
                born=None if birth is None else birth.frame,
                object_score=notes.object_score,
                iou_score=notes.iou_score,
                prompts=notes.num_prompts,
                locked=notes.num_locked,
            )


def _with_depth(values: list[Any]) -> list[Any]:
    return values if len(values) == 3 else [None, *values]


@dataclass(frozen=True, slots=True)
class _Units:
    """Physical sizes, where all are known in one unit."""

    time: PixelSize | None
    lengths: Mapping[str, float]
    """By lower-case letter; empty if one is unknown or has another unit."""
    length_unit: str | None

    @classmethod
    def of(cls, sizes: Mapping[str, PixelSize], letters: str) -> _Units:
        found = [sizes.get(letter) for letter in letters]
        units = {size.unit for size in found if size is not None}
        if None in found or len(units) != 1 or units == {"pixel"}:
            return cls(sizes.get("T"), {}, None)
        lengths = {letter.lower(): sizes[letter].value for letter in letters}
        return cls(sizes.get("T"), lengths, units.pop())

    def values(self, time: int, place: list[float | None], area: int) -> dict[str, Any]:
        """Columns that have a unit."""
        step = math.prod(self.lengths.values())
        return {
            **{
                f"{letter}_length": _product(index, self.lengths.get(letter))
                for letter, index in zip("zyx", place, strict=True)
            },
            "size": area * step if self.lengths else None,
            "length_unit": self.length_unit,
            "time": None if self.time is None else time * self.time.value,
            "time_unit": None if self.time is None else self.time.unit,
        }


def _product(index: float | None, length: float | None) -> float | None:
    return None if index is None or length is None else index * length


def write_csv(path: Path, content: TrackedLabels) -> Path:
    """Write the table of all objects and frames, all or nothing.

    Raises
    ------
    LineageError
        The name does not end in ``.csv``.
    """
    if path.suffix.lower() != ".csv":
        msg = f"Tables are written as CSV: name the file .csv, not {path.name}."
        raise LineageError(msg)
    names = [field.name for field in fields(ObjectRow)]
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(names)
        for row in object_rows(content):
            writer.writerow([getattr(row, name) for name in names])
    return path


def read_csv(path: Path) -> tuple[ObjectRow, ...]:
    """Read a table that `write_csv` has written.

    Raises
    ------
    LineageError
        Columns are missing, or a value is not what its column holds.
    """
    hints = get_type_hints(ObjectRow)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = hints.keys() - set(reader.fieldnames or ())
        if missing:
            msg = (
                f"{path.name} lacks the columns {', '.join(sorted(missing))}; tables "
                "that can be read are those that are exported here."
            )
            raise LineageError(msg)
        rows = []
        for cells in reader:
            try:
                values = {name: _value(cells[name], hints[name]) for name in hints}
            except ValueError as error:
                msg = f"Line {reader.line_num} of {path.name}: {error}."
                raise LineageError(msg) from error
            rows.append(ObjectRow(**values))
    return tuple(rows)


def _value(text: str, hint: Any) -> Any:
    kinds = getattr(hint, "__args__", (hint,))
    if type(None) in kinds and not text:
        return None
    kind: Any = kinds[0]
    return kind(text)


def divisions_from(rows: Iterable[ObjectRow]) -> tuple[Division, ...]:
    """Divisions that a table tells of, sorted by frame and mother."""
    found: dict[tuple[int, int], set[int]] = {}
    for row in rows:
        if row.mother is not None and row.born is not None:
            found.setdefault((row.born, row.mother), set()).add(row.object_id)
    return tuple(
        make_division(mother, daughters, frame)
        for (frame, mother), daughters in sorted(found.items())
    )
