"""The objects of the image, one of them current."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from napari_hqsam2.plugin.resolve import count_words
from napari_hqsam2.plugin.state import HQ_MODES
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.orders import Order, Outcome
    from napari_hqsam2.plugin.state import Cut, HqMode, PluginState
    from napari_hqsam2.session.session import Session


class _Line(TypedDict):
    axis: str
    at: tuple[int, ...] | None


class ObjectVerbs:
    """Makes, chooses and changes objects.

    Parameters
    ----------
    main
        Controller of the widget.
    """

    def __init__(self, main: PluginController) -> None:
        self._main = main

    @property
    def state(self) -> PluginState:
        """Of the widget."""
        return self._main.state

    def new_object(self) -> None:
        """Let the next prompt start an object of its own; makes layers for prompts."""
        state = self.state
        if state.image is not None and state.points is None and state.shapes is None:
            self._main.add_prompt_layers()
            if not state.objects:
                return
        self._main.layers.new_object()

    def select_object(self, obj_id: int) -> None:
        """Let new prompts belong to an object."""
        self.state.object_id = obj_id

    def pick_object(self) -> None:
        """Let new prompts belong to the object under the pointer."""
        obj_id = self._pointed()
        if obj_id:
            self.select_object(obj_id)
            name = next((r.name for r in self.state.objects if r.obj_id == obj_id), "")
            self._main.teller.tell(f"Now {name or f'label {obj_id}'}.")

    def _pointed(self) -> int:
        """Label under the pointer; 0, and it is told, if there is none."""
        main, labels = self._main, self.state.labels
        obj_id = 0 if labels is None else main.viewer.label_under_pointer(labels)
        if not obj_id:
            main.teller.tell("There is no object under the pointer.")
        return obj_id

    def rename_object(self, obj_id: int, name: str) -> None:
        """Give an object a name."""
        self._main.edit(lambda session: session.rename(obj_id, name))

    def hide_object(self, obj_id: int, is_hidden: bool) -> None:
        """Hide or show the pixels of an object."""
        self._main.edit(lambda s: s.hide(obj_id) if is_hidden else s.show(obj_id))

    def set_hq_mode(self, obj_id: int, hq_mode: HqMode | None) -> None:
        """Make the masks of an object in another way; None is as those of all."""
        main, state = self._main, self.state
        row = next((row for row in state.objects if row.obj_id == obj_id), None)
        if not registry.get(state.model).is_hq:
            main.teller.tell(f"{state.model} has no high-quality head to compare.")
        elif row is None:
            main.teller.tell("Click on an object first, then compare its masks.")
        elif main.ready_to_edit() is not None:
            work = partial(
                main.desk.bench.change_masks,
                obj_id=obj_id,
                hq_mode=hq_mode,
                position=main.position_on_show() if state.live else None,
            )
            words = HQ_MODES[hq_mode or state.hq_mode]
            main.live.start(
                partial(_with_hint, work, f"Masks of {row.name}: {words}."),
                f"masks of {obj_id}",
            )

    def next_hq_mode(self) -> None:
        """Make the masks of the current object in the next way, to compare them."""
        state, modes = self.state, list(HQ_MODES)
        rows = (row for row in state.objects if row.obj_id == state.object_id)
        own = next((row.hq_mode for row in rows), None)
        following = modes[(modes.index(own or state.hq_mode) + 1) % len(modes)]
        is_common = following == state.hq_mode
        self.set_hq_mode(state.object_id, None if is_common else following)

    def delete_object(self, obj_id: int) -> None:
        """Remove an object with its prompts and pixels; undo brings it back."""
        self._main.edit(lambda session: session.delete_object(obj_id))

    def cut_object(self, obj_id: int, cut: Cut) -> None:
        """Remove an object up to the frame on show, or from it on, or split it there.

        Along T that is done at every depth, along other axes on the line on show.
        """
        main, axis, position = (
            self._main,
            self.state.axis,
            self._main.position_on_show(),
        )
        if axis is None or position is None or main.desk.open is None:
            main.teller.tell("Show a frame of a stack to cut an object there.")
            return
        axes = main.desk.open.subject.axes
        frame = position[axes.stack.leading.index(axis)]
        length, where = axes.stack.length(axis), axes.with_value(axis, frame)
        line: _Line = {"axis": axis, "at": None if axis == "T" else position}

        def change(session: Session) -> str:
            if cut == "split":
                new_id = session.split_object(obj_id, frame, **line)
                return f"From {where} on it is object {new_id}."
            frames = (0, frame + 1) if cut == "before" else (frame, length)
            session.remove_frames(obj_id, frames, **line)
            words = f"up to {where}" if cut == "before" else f"from {where} on"
            return f"Removed object {obj_id} {words}."

        main.edit(change, [obj_id])

    def join_objects(self, obj_id: int, other: int) -> None:
        """Let another object be a part of this one; undo makes them two again."""
        main, names = self._main, {row.obj_id: row.name for row in self.state.objects}
        words = [names.get(each, f"label {each}") for each in (other, obj_id)]

        def change(session: Session) -> str:
            session.join_objects(obj_id, other)
            return f"Now {words[0]} is a part of {words[1]}."

        main.edit(change, [obj_id, other])

    def join_pointed(self) -> None:
        """Let the object under the pointer be a part of the current one."""
        state, tell = self.state, self._main.teller.tell
        pointed, current = self._pointed(), state.object_id
        if not pointed:
            return
        if all(row.obj_id != current for row in state.objects):
            tell("Choose an object first (G), then point at what belongs to it.")
        elif pointed == current:
            tell("This is the current object; point at the one that belongs to it.")
        else:
            self.join_objects(current, pointed)

    def take_disputed(self) -> None:
        """Let objects have the pixels that their newest masks left to others."""

        def take(session: Session) -> str:
            taken = sum(dispute.area for dispute in session.take_disputed())
            return f"Took {count_words(taken, 'pixel')}." if taken else ""

        self._main.edit(take)

    def propose_everything(self) -> None:
        """Make an object of everything that is found on the frame on show."""
        self._main.starter.propose_everything()


def _with_hint(
    work: Callable[..., Outcome], words: str, order: Order, ticket: Ticket
) -> Outcome:
    """Carry out a task, and say something when it is done, unless it says more."""
    outcome = work(order, ticket=ticket)
    return replace(outcome, hint=outcome.hint or words)
