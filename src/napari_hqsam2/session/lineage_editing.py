"""Divisions of a session: set by hand, suggested, kept true by every other call."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import LineageError, SessionError
from napari_hqsam2.lineage.divisions import Lineage, make_division
from napari_hqsam2.lineage.measuring import Span, measure, num_times, planes
from napari_hqsam2.lineage.suggestions import suggest_divisions
from napari_hqsam2.session.object_editing import ObjectEditing
from napari_hqsam2.session.records import TrackedObject
from napari_hqsam2.session.script import call

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.lineage.suggestions import DivisionLimits, DivisionSuggestion
    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.records import Records


def divisions_of(records: Records) -> tuple[Division, ...]:
    """All divisions that the objects tell of, sorted by frame and mother."""
    return divisions_among(item for _, _, item in records.objects.items())


def divisions_among(items: Iterable[TrackedObject]) -> tuple[Division, ...]:
    """Divisions that some objects tell of, sorted by frame and mother."""
    daughters: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for item in items:
        if item.mother is not None and item.born is not None:
            daughters[item.born, item.mother].append(item.obj_id)
    return tuple(
        make_division(mother, found, frame)
        for (frame, mother), found in sorted(daughters.items())
    )


class LineageEditing(ObjectEditing):
    """Mothers and daughters; every call that changes something is one step."""

    def divisions(self) -> tuple[Division, ...]:
        """All divisions, sorted by frame and mother."""
        return divisions_of(self._records)

    def set_division(
        self,
        mother: int,
        daughters: Iterable[int],
        frame: int | None = None,
        *,
        new_id: int | None = None,
    ) -> Division:
        """Say that an object becomes others; an earlier division of it is replaced.

        Parameters
        ----------
        mother
            Object that divides.
        daughters
            What it becomes. With the mother among them, what carries her label from
            `frame` on gets another id: pixels, prompts, locks and scores.
        frame
            First frame along T on which there are daughters; None is the first on which
            one of them is, the mother left out.
        new_id
            For what was the mother; None is the next above all labels and objects.

        Returns
        -------
        Division
            As it holds now, with the new id.

        Raises
        ------
        LineageError
            The mother is there afterwards, a daughter before, an object descends from
            itself or has another mother, or the stack has no time.
        SessionError
            There is no such object, or the new id is taken.
        """
        with self._turn():
            mother = self._known(mother)
            others = {self._known(obj_id) for obj_id in daughters}
            is_split = mother in others
            others.discard(mother)
            spans, largest = self._scan({mother, *others})
            frame = _birth(frame, others, spans)
            heirs = set(others)
            if is_split:
                new_id = self._free(new_id or max(largest, *self.obj_ids) + 1)
                self._check_unused(new_id)
                heirs.add(new_id)
                spans |= _split(spans.pop(mother, None), frame, mother, new_id)
            division = make_division(mother, heirs, frame)
            kept = tuple(d for d in self.divisions() if d.mother != mother)
            Lineage(spans, (*kept, division)).check(need_pixels=False)
            options = {"new_id": new_id} if is_split else {}
            given = sorted({*others, mother} if is_split else others)
            script = call("set_division", mother, given, frame, **options)
            with self._step("set division", script) as step:
                self._inherit(step, mother, None)
                if is_split and new_id is not None:
                    self._split_object(step, mother, new_id, frame)
                self._put_division(step, division)
        return division

    def clear_division(self, mother: int) -> None:
        """Take back the division of an object; the objects themselves stay.

        Raises
        ------
        SessionError
            There is no such object, or it does not divide.
        """
        with self._turn():
            mother = self._known(mother)
            if all(item.mother != mother for item in self.objects()):
                dividing = ", ".join(str(d.mother) for d in self.divisions()) or "none"
                msg = (
                    f"Object {mother} does not divide (those that do: {dividing}). "
                    "Name the mother of the division."
                )
                raise SessionError(msg)
            script = call("clear_division", mother)
            with self._step("clear division", script) as step:
                self._inherit(step, mother, None)

    def suggest_divisions(
        self,
        limits: DivisionLimits | None = None,
        *,
        voxel_size: Sequence[float] | None = None,
    ) -> tuple[DivisionSuggestion, ...]:
        """Divisions that sizes and places of the objects speak for; nothing changes.

        Take one over with ``set_division(d.mother, d.daughters, d.frame)``. All frames
        are read. Labels that are no objects of the session are left out.

        Parameters
        ----------
        limits
            What a division may look like.
        voxel_size
            Extent of an index step along (z,) y, x; None takes 1 for all.

        Raises
        ------
        LineageError
            The stack has no time.
        """
        self._check_time()
        table = measure(self._store.array, self._label_axes)
        return tuple(
            suggestion
            for suggestion in suggest_divisions(
                table, self.divisions(), limits=limits, voxel_size=voxel_size
            )
            if {suggestion.division.mother, *suggestion.division.daughters}
            <= set(self.obj_ids)
        )

    def adopt_labels(
        self, divisions: Iterable[tuple[int, Sequence[int], int]] = ()
    ) -> tuple[int, ...]:
        """Make objects of all labels that are not one yet; all frames are read.

        Parameters
        ----------
        divisions
            Mother, daughters and frame of each, as for `set_division`, but mothers are
            not split.

        Returns
        -------
        tuple of int
            Ids of the new objects.

        Raises
        ------
        LineageError
            A division is impossible.
        """
        chosen = [make_division(*each) for each in divisions]
        plain = [(each.mother, each.daughters, each.frame) for each in chosen]
        with self._turn():
            spans, _ = self._scan(None)
            new = sorted(spans.keys() - set(self.obj_ids))
            mothers = {division.mother for division in chosen}
            kept = [d for d in self.divisions() if d.mother not in mothers]
            Lineage(spans, (*kept, *chosen)).check()
            with self._step("adopt labels", call("adopt_labels", plain)) as step:
                for obj_id in new:
                    item = TrackedObject(obj_id, f"object {obj_id}")
                    step.put(self._records.objects, obj_id, (), item)
                for division in chosen:
                    self._inherit(step, division.mother, None)
                    self._put_division(step, division)
        return tuple(new)

    @property
    def _label_axes(self) -> StackAxes:
        axes = self._stack.axes
        return StackAxes(axes.labels_letters, axes.labels_shape)

    def _check_time(self) -> None:
        axes = self._stack.axes
        if "T" not in axes.letters:
            msg = (
                f"The stack has {axes.described}: no time T, so nothing divides in it. "
                "If an axis is time, open the stack with axes='TYX' or 'TZYX'."
            )
            raise LineageError(msg)

    def _scan(self, obj_ids: Collection[int] | None) -> tuple[dict[int, Span], int]:
        """Frames along T of objects, None being all; and the largest label."""
        self._check_time()
        axes, spans, largest = self._label_axes, dict[int, Span](), 0
        for time in range(num_times(axes)):
            for position in planes(axes, time):
                frame = self._store.frame(position)
                largest = max(largest, int(frame.max()))
                if obj_ids is None:
                    here = set(np.unique(frame[frame > 0]).tolist())
                else:
                    here = {i for i in obj_ids if (frame == i).any()}
                for obj_id in here:
                    first = spans[obj_id].first if obj_id in spans else time
                    spans[obj_id] = Span(first, time)
        return spans, largest

    def _split_object(self, step: Step, mother: int, new_id: int, frame: int) -> None:
        """Give what an object is from a frame on to a new one."""
        item = TrackedObject(new_id, f"object {new_id}")
        step.put(self._records.objects, new_id, (), item)
        axis = self._stack.axes.leading.index("T")
        after = {p for p in self._store.positions() if p[axis] >= frame}
        self._move(step, mother, new_id, after)

    def _put_division(self, step: Step, division: Division) -> None:
        table = self._records.objects
        for daughter in division.daughters:
            item = replace(
                table.of(daughter)[()], mother=division.mother, born=division.frame
            )
            step.put(table, daughter, (), item)


def _birth(
    frame: int | None, daughters: Collection[int], spans: dict[int, Span]
) -> int:
    """Frame of a division, found where it is not given."""
    if frame is not None:
        return int(frame)
    firsts = [spans[i].first for i in daughters if i in spans]
    if not firsts:
        msg = (
            "None of the daughters is on any frame yet, so the frame of the division "
            "is unknown: give it, frame=7."
        )
        raise LineageError(msg)
    return min(firsts)


def _split(span: Span | None, frame: int, mother: int, new_id: int) -> dict[int, Span]:
    """Frames of a mother and of what follows her, once she is split.

    Both are given the widest that they can have.
    """
    if span is None or not span.first < frame <= span.last:
        there = "on no frame" if span is None else f"there from T={span.first}"
        end = "" if span is None else f" to T={span.last}"
        msg = (
            f"Object {mother} is {there}{end}, so it cannot be split at T={frame}. "
            "Choose a frame after its first and not after its last one, or leave it "
            "out of the daughters."
        )
        raise LineageError(msg)
    return {mother: Span(span.first, frame - 1), new_id: Span(frame, span.last)}
