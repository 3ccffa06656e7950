"""Divisions that the sizes and places of objects speak for; never more than advice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.lineage.divisions import Division, make_division

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_hqsam2.lineage.measuring import FrameObjects, ObjectTable, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class DivisionLimits:
    """What a division may look like."""

    reach: float = 2.5
    """Farthest that a daughter may start from the mother, in radii of the mother (of
    the disc or ball of her size), centre to centre."""
    least_sum: float = 0.5
    most_sum: float = 1.6
    """Size of both daughters together, as a part of the mother's."""
    least_symmetry: float = 0.35
    """Smaller daughter as a part of the larger."""
    most_left: float = 0.8
    """A mother whose label goes on has divided if she is at most this part of what she
    was."""
    least_score: float = 0.1

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                msg = f"{name} is a number of at least 0, got {value}."
                raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class DivisionSuggestion:
    """A division that may have happened."""

    division: Division
    """With the mother among her daughters if her label goes on as one of them."""
    score: float
    """0 to 1: near and of fitting sizes is 1. Not a probability."""


def suggest_divisions(
    table: ObjectTable,
    divisions: Sequence[Division] = (),
    *,
    limits: DivisionLimits | None = None,
    voxel_size: Sequence[float] | None = None,
) -> tuple[DivisionSuggestion, ...]:
    """Find objects that end or halve where others start beside them.

    Parameters
    ----------
    table
        Objects of a time-lapse.
    divisions
        What is known: its mothers do not divide again, its daughters have a mother.
    limits
        What a division may look like.
    voxel_size
        (D,) extent of an index step, in any unit; None takes 1 for all.

    Returns
    -------
    tuple of DivisionSuggestion
        The best first; no object is a mother twice or a daughter twice.
    """
    limits = limits or DivisionLimits()
    scale = np.ones(len(table.letters)) if voxel_size is None else voxel_size
    spans = table.spans()
    mothers = {division.mother for division in divisions}
    daughters = {d for division in divisions for d in division.daughters}
    found = [
        suggestion
        for frame in range(1, len(table.frames))
        for suggestion in _Frame(table, frame, spans, np.asarray(scale), limits).all()
        if suggestion.division.mother not in mothers
        and daughters.isdisjoint(suggestion.division.daughters)
    ]
    chosen: list[DivisionSuggestion] = []
    for suggestion in sorted(found, key=lambda s: (-s.score, s.division)):
        division = suggestion.division
        if division.mother in mothers or daughters & set(division.daughters):
            continue
        mothers.add(division.mother)
        daughters.update(division.daughters)
        chosen.append(suggestion)
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A daughter to be, seen from a mother."""

    obj_id: int
    area: float
    place: npt.NDArray[np.float64]


class _Frame:
    """Looks for divisions between a frame and the one before."""

    def __init__(
        self,
        table: ObjectTable,
        frame: int,
        spans: dict[int, Span],
        scale: npt.NDArray[np.float64],
        limits: DivisionLimits,
    ) -> None:
        self._before, self._now = table.frames[frame - 1], table.frames[frame]
        self._frame, self._scale, self._limits = frame, scale, limits
        self._ending = [i for i in self._before.ids.tolist() if spans[i].last < frame]
        self._new = [
            self._candidate(self._now, i)
            for i in self._now.ids.tolist()
            if spans[i].first == frame
        ]

    def all(self) -> Iterator[DivisionSuggestion]:
        """Every pair that is within the limits."""
        if not self._new:
            return
        for mother in self._mothers():
            near = [c for c in self._new if self._distance(mother, c) <= 1]
            if mother.obj_id in self._ending:
                pairs = list(combinations(near, 2))
            else:
                left = self._candidate(self._now, mother.obj_id)
                is_halved = left.area <= self._limits.most_left * mother.area
                is_near = self._distance(mother, left) <= 1
                pairs = [(left, c) for c in near if is_halved and is_near]
            for pair in pairs:
                score = self._score(mother, *pair)
                if score >= self._limits.least_score:
                    ids = [candidate.obj_id for candidate in pair]
                    division = make_division(mother.obj_id, ids, self._frame)
                    yield DivisionSuggestion(division, score)

    def _mothers(self) -> Iterator[_Candidate]:
        here = set(self._now.ids.tolist())
        for obj_id in self._before.ids.tolist():
            if obj_id in here or obj_id in self._ending:
                yield self._candidate(self._before, obj_id)

    def _candidate(self, objects: FrameObjects, obj_id: int) -> _Candidate:
        index = int(np.searchsorted(objects.ids, obj_id))
        area = float(objects.areas[index] * np.prod(self._scale))
        return _Candidate(obj_id, area, objects.centroids[index] * self._scale)

    def _distance(self, mother: _Candidate, daughter: _Candidate) -> float:
        """From centre to centre; 1 is as far as may be."""
        if len(self._scale) == 2:
            radius = math.sqrt(mother.area / math.pi)
        else:
            radius = (mother.area * 3 / (4 * math.pi)) ** (1 / 3)
        apart = float(np.linalg.norm(mother.place - daughter.place))
        return apart / max(radius * self._limits.reach, 1e-9)

    def _score(self, mother: _Candidate, one: _Candidate, two: _Candidate) -> float:
        limits = self._limits
        total = (one.area + two.area) / mother.area
        symmetry = min(one.area, two.area) / max(one.area, two.area)
        fits = limits.least_sum <= total <= limits.most_sum
        if not fits or symmetry < limits.least_symmetry:
            return 0.0
        # the mother's place should lie between those of her daughters
        middle = _Candidate(0, 0, (one.place + two.place) / 2)
        nearness = max(0.0, 1 - self._distance(mother, middle))
        return nearness * min(total, 1 / total) * math.sqrt(symmetry)
