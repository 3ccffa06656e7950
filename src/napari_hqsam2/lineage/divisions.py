"""Mothers and daughters, and what makes them impossible."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_hqsam2.errors import LineageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_hqsam2.lineage.measuring import Span

SHOWN = 5
"""Problems that a message names."""


@dataclass(frozen=True, slots=True, order=True)
class Division:
    """A mother and the objects that she becomes."""

    frame: int
    """First frame on which there are daughters, and no mother any more."""
    mother: int
    daughters: tuple[int, ...]
    """Ids, ascending: usually two."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Objects with their frames, and the divisions between them.

    Nothing is checked before `check`: while somebody works on labels, a division may
    be wrong for a while.
    """

    spans: Mapping[int, Span] = field(default_factory=dict)
    """First and last frame by id, of objects that have pixels."""
    divisions: tuple[Division, ...] = ()
    """Sorted by frame and mother."""

    @property
    def mothers(self) -> dict[int, int]:
        """Mother by daughter."""
        return {
            daughter: division.mother
            for division in self.divisions
            for daughter in division.daughters
        }

    def ancestors(self, obj_id: int) -> list[int]:
        """Mother, her mother, and so on; a cycle is gone through once."""
        mothers, line = self.mothers, [obj_id]
        while (mother := mothers.get(line[-1])) is not None and mother not in line:
            line.append(mother)
        return line[1:]

    def problems(self, *, need_pixels: bool = True) -> tuple[str, ...]:
        """What is wrong, each in a sentence that says what to do; empty if nothing is.

        Parameters
        ----------
        need_pixels
            Whether an object of a division without any pixel is wrong.
        """
        return (
            *self._structural(),
            *(p for division in self.divisions for p in self._temporal(division)),
            *(self._missing() if need_pixels else ()),
        )

    def check(self, *, need_pixels: bool = True) -> None:
        """Refuse what `problems` finds.

        Raises
        ------
        LineageError
            Something is wrong; the message names up to five problems.
        """
        problems = self.problems(need_pixels=need_pixels)
        if problems:
            more = len(problems) - SHOWN
            rest = f" ({more} more.)" if more > 0 else ""
            raise LineageError(" ".join(problems[:SHOWN]) + rest)

    def _structural(self) -> Iterator[str]:
        mothers = Counter(division.mother for division in self.divisions)
        daughters = Counter(d for each in self.divisions for d in each.daughters)
        for mother in (i for i, count in mothers.items() if count > 1):
            yield (
                f"Object {mother} divides twice; name all daughters in one division, "
                "or split it in time."
            )
        for daughter in (i for i, count in daughters.items() if count > 1):
            yield (
                f"Object {daughter} is a daughter twice; clear one of the divisions."
            )
        for division in self.divisions:
            if not division.daughters:
                yield (
                    f"The division of object {division.mother} has no daughters; name "
                    "what it becomes."
                )
            if self._descends_from_itself(division.mother):
                yield (
                    f"Object {division.mother} descends from itself; clear the "
                    "division that closes the circle."
                )

    def _descends_from_itself(self, obj_id: int) -> bool:
        eldest = [obj_id, *self.ancestors(obj_id)][-1]
        return self.mothers.get(eldest) == obj_id

    def _temporal(self, division: Division) -> Iterator[str]:
        mother = self.spans.get(division.mother)
        if mother is not None and mother.last >= division.frame:
            yield (
                f"Object {division.mother} divides at T={division.frame} but is still "
                f"there at T={mother.last}. Name it among the daughters too, which "
                "gives what follows another id, or move the division."
            )
        for daughter in division.daughters:
            span = self.spans.get(daughter)
            if span is not None and span.first < division.frame:
                yield (
                    f"Object {daughter} is there at T={span.first}, before its mother "
                    f"{division.mother} divides at T={division.frame}. A daughter "
                    "starts after its mother's last frame: erase it there, or move "
                    "the division."
                )

    def _missing(self) -> Iterator[str]:
        named = {
            obj_id
            for division in self.divisions
            for obj_id in (division.mother, *division.daughters)
        }
        for obj_id in sorted(named - self.spans.keys()):
            yield (
                f"Object {obj_id} belongs to a division but is on no frame; segment "
                "it, or clear the division."
            )


def make_division(mother: int, daughters: Iterable[int], frame: int) -> Division:
    """Division from whole numbers of any type."""
    return Division(int(frame), int(mother), tuple(sorted({int(d) for d in daughters})))
