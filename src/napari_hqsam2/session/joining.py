"""Two objects that turn out to be one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_hqsam2.errors import LineageError, SessionError
from napari_hqsam2.lineage.divisions import Lineage
from napari_hqsam2.lineage.measuring import Span
from napari_hqsam2.session.cutting import TrackCutting
from napari_hqsam2.session.lineage_editing import divisions_among
from napari_hqsam2.session.script import call

if TYPE_CHECKING:
    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.records import Position, TrackedObject


class ObjectJoining(TrackCutting):
    """Joins; every call is one step of history."""

    def join_objects(self, obj_id: int, other: int) -> None:
        """Let another object be a part of this one.

        It undoes `split_object`, and mends what was found as two objects. On frames
        where only one of them is, prompts, locks and scores stay with its pixels. Where
        both are, their masks become one, which no prompt says and no model has scored:
        prompts and scores there are dropped, and the frame is locked if it had prompts
        or a lock. Name and look are those of `obj_id`; the daughters of both are its
        own, and it has the mother of either. All frames are looked through.

        Parameters
        ----------
        obj_id
            The object that stays.
        other
            The object that becomes a part of it.

        Raises
        ------
        SessionError
            There is no such object, or both are the same.
        LineageError
            Joined, it would have two mothers, divide twice, or be there after it
            divides or before it is born.
        """
        with self._turn():
            obj_id, other = self._known(obj_id), self._known(other)
            if obj_id == other:
                msg = (
                    f"Object {obj_id} cannot be joined with itself; name another one "
                    f"of {', '.join(map(str, self.obj_ids))}."
                )
                raise SessionError(msg)
            relatives = self._joined_relatives(obj_id, other)
            script = call("join_objects", obj_id, other)
            with self._step("join objects", script) as step:
                self._join_frames(step, obj_id, other)
                for item in relatives:
                    step.put(self._records.objects, item.obj_id, (), item)
                step.put(self._records.objects, other, (), None)

    def _join_frames(self, step: Step, obj_id: int, other: int) -> None:
        moved: list[Position] = []
        for position in self._store.positions():
            if not self._is_on(other, position):
                self._forget(step, other, position)
                continue
            if self._is_on(obj_id, position):
                self._join_masks(step, obj_id, other, position)
                continue
            self._forget(step, obj_id, position)
            moved.append(position)
        self._move(step, other, obj_id, moved)

    def _is_on(self, obj_id: int, position: Position) -> bool:
        has_prompts = self._records.prompts.get(obj_id, position) is not None
        return has_prompts or self._store.box_of(position, [obj_id]) is not None

    def _join_masks(
        self, step: Step, obj_id: int, other: int, position: Position
    ) -> None:
        certain = (self._records.prompts, self._records.locks)
        pair = (obj_id, other)
        is_certain = any(t.get(i, position) is not None for t in certain for i in pair)
        for each in pair:
            self._forget(step, each, position)
        if is_certain:
            step.put(self._records.locks, obj_id, position, True)
        step.add_patch(self._store.relabel(position, other, obj_id))

    def _forget(self, step: Step, obj_id: int, position: Position) -> None:
        """Drop prompts, lock and scores of an object on a frame."""
        for table in self._records.on_frames:
            if table.get(obj_id, position) is not None:
                step.put(table, obj_id, position, None)

    def _joined_relatives(self, obj_id: int, other: int) -> list[TrackedObject]:
        """The joined object and the daughters of both, as they are to be."""
        items = {item.obj_id: item for item in self.objects()}
        kept, gone = items[obj_id], items.pop(other)
        pair = {obj_id, other}
        origins = {
            (item.mother, item.born)
            for item in (kept, gone)
            if item.mother is not None and item.mother not in pair
        }
        if len(origins) > 1:
            told = " and ".join(f"{m} at T={born}" for m, born in sorted(origins))
            msg = (
                f"Objects {obj_id} and {other} have different mothers ({told}), and "
                "an object has one. Clear one of these divisions, then join them."
            )
            raise LineageError(msg)
        mother, born = origins.pop() if origins else (None, None)
        items[obj_id] = replace(kept, mother=mother, born=born)
        changed = [items[obj_id]]
        for item in list(items.values()):
            if item.obj_id != obj_id and item.mother in pair:
                items[item.obj_id] = replace(item, mother=obj_id)
                changed.append(items[item.obj_id])
        self._check_joined(obj_id, other, list(items.values()))
        return changed

    def _check_joined(
        self, obj_id: int, other: int, items: list[TrackedObject]
    ) -> None:
        divisions = tuple(
            each
            for each in divisions_among(items)
            if obj_id in {each.mother, *each.daughters}
        )
        if not divisions:
            return
        involved = {obj_id, other}.union(
            *({each.mother, *each.daughters} for each in divisions)
        )
        spans, _ = self._scan(involved)
        parts = [spans.pop(i) for i in (obj_id, other) if i in spans]
        if parts:
            first = min(span.first for span in parts)
            spans[obj_id] = Span(first, max(span.last for span in parts))
        problems = Lineage(spans, divisions).problems(need_pixels=False)
        if problems:
            msg = (
                f"Objects {obj_id} and {other} cannot be one as their divisions are. "
                f"{' '.join(problems)} Or clear the division, then join them."
            )
            raise LineageError(msg)
