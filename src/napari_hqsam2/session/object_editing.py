"""The objects of a session: made, named, given other ids, deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_hqsam2.errors import SessionError
from napari_hqsam2.prompts import whole_id
from napari_hqsam2.segmentation.options import HQ_MODES
from napari_hqsam2.session.core import SessionCore
from napari_hqsam2.session.records import PlacedPrompts, Track, TrackedObject
from napari_hqsam2.session.script import call
from napari_hqsam2.session.settings import check_choice

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.records import Position


class ObjectEditing(SessionCore):
    """Objects; every call is one step of history."""

    def objects(self) -> tuple[TrackedObject, ...]:
        """All objects, sorted by id."""
        return tuple(item for _, _, item in self._records.objects.items())

    def new_object(self, *, name: str | None = None, obj_id: int | None = None) -> int:
        """Add an object.

        Parameters
        ----------
        name
            For people; "object 7" without one.
        obj_id
            Its label value; without one, the next above all labels and objects. It may
            be a label that is there already: then its pixels are the object's.

        Returns
        -------
        int
            The id.

        Raises
        ------
        SessionError
            The id is taken, or no label value.
        StackError
            The labels cannot hold the id.
        """
        with self._turn():
            if obj_id is None:
                obj_id = max(self._store.largest(), *self.obj_ids, 0) + 1
            chosen = self._free(obj_id)
            item = TrackedObject(chosen, str(name or f"object {chosen}"))
            script = call("new_object", name=item.name, obj_id=chosen)
            with self._step("new object", script) as step:
                step.put(self._records.objects, chosen, (), item)
        return chosen

    def rename(self, obj_id: int, name: str) -> None:
        """Give an object another name."""
        script = call("rename", obj_id, str(name))
        self._set_object("rename object", script, obj_id, name=str(name))

    def hide(self, obj_id: int) -> None:
        """Mark an object as not to be shown; viewers heed this, nothing else does."""
        script = call("hide", obj_id)
        self._set_object("hide object", script, obj_id, is_hidden=True)

    def show(self, obj_id: int) -> None:
        """Undo `hide`."""
        script = call("show", obj_id)
        self._set_object("show object", script, obj_id, is_hidden=False)

    def set_hq_mode(self, obj_id: int, hq_mode: HqMode | None) -> None:
        """Choose how the masks of an object are made; those that are there stay.

        Parameters
        ----------
        obj_id
            The object.
        hq_mode
            "add" takes the high-quality mask with the plain one, "only" the former
            alone, "off" the latter alone. None is as in the settings of the session.
        """
        if hq_mode is not None:
            check_choice("hq_mode", hq_mode, HQ_MODES)
        script = call("set_hq_mode", obj_id, hq_mode)
        self._set_object("masks of object", script, obj_id, hq_mode=hq_mode)

    def delete_object(self, obj_id: int) -> None:
        """Remove an object with its prompts, locks, scores and all pixels of its label.

        All frames are looked through.
        """
        with self._turn():
            obj_id = self._known(obj_id)
            with self._step("delete object", call("delete_object", obj_id)) as step:
                self._relabel(step, obj_id, 0)
                self._inherit(step, obj_id, None)
                for table in self._records.of_objects:
                    for position in list(table.of(obj_id)):
                        step.put(table, obj_id, position, None)

    def reassign(self, obj_id: int, new_id: int) -> None:
        """Give an object another id, in all labels and records.

        All frames are looked through.

        Raises
        ------
        SessionError
            The new id is taken by an object or by pixels, or no label value.
        StackError
            The labels cannot hold it.
        """
        with self._turn():
            obj_id, new_id = self._known(obj_id), self._free(new_id)
            self._check_unused(new_id)
            with self._step("reassign", call("reassign", obj_id, new_id)) as step:
                self._relabel(step, obj_id, new_id)
                for table in self._records.of_objects:
                    for position, value in list(table.of(obj_id).items()):
                        step.put(table, obj_id, position, None)
                        step.put(table, new_id, position, with_id(value, new_id))
                self._inherit(step, obj_id, new_id)

    def _set_object(self, title: str, script: str, obj_id: int, **changes: Any) -> None:
        with self._step(title, script) as step:
            obj_id, table = self._known(obj_id), self._records.objects
            item = replace(table.of(obj_id)[()], **changes)
            step.put(table, obj_id, (), item)

    def _inherit(self, step: Step, mother: int, heir: int | None) -> None:
        """Give the daughters of an object another mother, or none."""
        for item in self.objects():
            if item.mother == mother:
                born = None if heir is None else item.born
                changed = replace(item, mother=heir, born=born)
                step.put(self._records.objects, item.obj_id, (), changed)

    def _relabel(self, step: Step, old: int, new: int) -> None:
        for position in self._store.positions():
            step.add_patch(self._store.relabel(position, old, new))

    def _move(
        self,
        step: Step,
        obj_id: int,
        new_id: int | None,
        positions: Collection[Position],
    ) -> None:
        """Give what an object is on some frames to another one, or to none."""
        for position in positions:
            step.add_patch(self._store.relabel(position, obj_id, new_id or 0))
        for table in self._records.on_frames:
            for position, value in list(table.of(obj_id).items()):
                if position in positions:
                    step.put(table, obj_id, position, None)
                    if new_id is not None:
                        moved = with_id(value, new_id)
                        step.put(table, new_id, position, moved)

    def _check_unused(self, obj_id: int) -> None:
        """Refuse an id that pixels have; all frames are looked through."""
        if any(self._store.box_of(p, [obj_id]) for p in self._store.positions()):
            msg = (
                f"Label {obj_id} is in use by pixels that belong to no object; the "
                "two could not be told apart any more. Choose another id."
            )
            raise SessionError(msg)

    def _free(self, obj_id: int) -> int:
        obj_id = whole_id(obj_id)
        if obj_id < 1:
            msg = f"An object id is a label value of 1 or more, got {obj_id}."
            raise SessionError(msg)
        if obj_id in self.obj_ids:
            msg = f"There is an object {obj_id} already; choose another id, or none."
            raise SessionError(msg)
        self._store.check_room([obj_id])
        return obj_id


def with_id(value: Any, obj_id: int) -> Any:
    """A value of any table, for an object with another id."""
    if isinstance(value, bool):
        return value
    value = replace(value, obj_id=obj_id)
    if isinstance(value, PlacedPrompts) and value.track and value.track.scores:
        track = Track(value.track.mask, replace(value.track.scores, obj_id=obj_id))
        value = replace(value, track=track)
    return value
