"""Parts of an object along an axis: removed, or made an object of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_hqsam2.errors import SessionError
from napari_hqsam2.segmentation.prompt_groups import resolve_frames
from napari_hqsam2.session.lineage_editing import LineageEditing
from napari_hqsam2.session.records import TrackedObject
from napari_hqsam2.session.script import call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.records import Position


class TrackCutting(LineageEditing):
    """Cuts; every call is one step of history."""

    def remove_frames(
        self,
        obj_id: int,
        frames: tuple[int, int],
        *,
        axis: str | None = None,
        at: Sequence[int] | int | None = None,
    ) -> None:
        """Remove what an object is on some frames: pixels, prompts, locks, scores.

        Parameters
        ----------
        obj_id
            The object.
        frames
            First frame along the axis, and the one after the last.
        axis
            Letter of the axis; None as in `propagate`.
        at
            Position of any frame of the line; None is all lines along the axis.

        Raises
        ------
        SessionError
            There is no such object.
        StackError
            The stack has no such axis or frames.
        PromptError
            `at` is no frame of the stack.
        """
        with self._turn():
            obj_id = self._known(obj_id)
            letter = self._stack.axes.propagation_axis(axis)
            positions = self._part(letter, frames, at)
            script = call("remove_frames", obj_id, tuple(frames), axis=letter, at=at)
            with self._step("remove frames", script) as step:
                self._move(step, obj_id, None, positions)

    def split_object(
        self,
        obj_id: int,
        frame: int,
        *,
        axis: str | None = None,
        at: Sequence[int] | int | None = None,
        new_id: int | None = None,
    ) -> int:
        """Let an object be another one from a frame on.

        Pixels, prompts, locks and scores go along, and along T its daughters. The two
        are not related: `set_division`, with the mother among the daughters, does that.

        Parameters
        ----------
        obj_id
            The object.
        frame
            First frame of the new one along the axis.
        axis, at
            As in `remove_frames`.
        new_id
            Of the new one; None is the next above all labels and objects.

        Returns
        -------
        int
            Id of the new one.

        Raises
        ------
        SessionError
            There is no such object, it has no pixels before the frame or none after,
            or the new id is taken.
        StackError
            The stack has no such axis or frame, or the labels cannot hold the new id.
        PromptError
            `at` is no frame of the stack.
        """
        with self._turn():
            obj_id = self._known(obj_id)
            letter = self._stack.axes.propagation_axis(axis)
            length = self._stack.axes.length(letter)
            after = self._part(letter, (frame, length), at)
            shown = {
                p for p in self._store.positions() if self._store.box_of(p, [obj_id])
            }
            if not shown & after or not shown - after:
                there = "after" if shown & after else "before"
                msg = (
                    f"Object {obj_id} has pixels only {there} the cut at {letter}="
                    f"{frame}, so there is nothing to split. Choose a frame after its "
                    "first one, and not after its last."
                )
                raise SessionError(msg)
            largest = max(self._store.largest(), *self.obj_ids)
            new_id = self._free(largest + 1 if new_id is None else new_id)
            self._check_unused(new_id)
            script = call(
                "split_object", obj_id, frame, axis=letter, at=at, new_id=new_id
            )
            with self._step("split object", script) as step:
                item = TrackedObject(new_id, f"object {new_id}")
                step.put(self._records.objects, new_id, (), item)
                self._move(step, obj_id, new_id, after)
                if letter == "T":
                    self._hand_daughters_over(step, obj_id, new_id, frame)
        return new_id

    def _part(
        self, letter: str, frames: tuple[int, int], at: Sequence[int] | int | None
    ) -> set[Position]:
        """Positions of frames along an axis, on one line or on all."""
        stack = self._stack
        chosen = resolve_frames(frames, stack.axes, letter)
        if at is not None:
            line = stack.line(stack.position(at), letter)
            return {line.position(frame) for frame in chosen}
        index = stack.axes.leading.index(letter)
        return {p for p in self._store.positions() if p[index] in chosen}

    def _hand_daughters_over(
        self, step: Step, mother: int, heir: int, frame: int
    ) -> None:
        """Give the daughters that are born after a frame another mother."""
        for item in self.objects():
            if item.mother == mother and item.born is not None and item.born > frame:
                changed = replace(item, mother=heir)
                step.put(self._records.objects, item.obj_id, (), changed)
