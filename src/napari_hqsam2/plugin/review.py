"""A walk through the frames of the current object, and what was done so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.orders import Outcome
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.session.session import Session


class Review:
    """Goes to frames, accepts them, and takes steps back.

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

    def go_to_frame(self, frame: int) -> None:
        """Show a frame of the axis that is followed, counted from 0."""
        main, axis = self._main, self.state.axis
        position, item = main.position_on_show(), main.desk.open
        if position is None or item is None or axis is None:
            return
        index = item.subject.axes.stack.leading.index(axis)
        place = (*position[:index], frame, *position[index + 1 :])
        main.viewer.show_frame(self.state.image, place)

    def next_doubt(self) -> None:
        """Show the next doubtful frame, after the last of an object those of others."""
        self._go_to_doubt(1)

    def previous_doubt(self) -> None:
        """Show the doubtful frame before, of the object or of others."""
        self._go_to_doubt(-1)

    def lock_here(self, is_locked: bool) -> None:
        """Accept the current object on the frame on show, or take that back."""
        obj_id, position = self.state.object_id, self._main.position_on_show()
        if position is None:
            return

        def change(session: Session) -> None:
            (session.lock if is_locked else session.unlock)(obj_id, position)

        self._main.edit(change, [obj_id])

    def toggle_lock(self) -> None:
        """Accept the current object on the frame on show, unless it is accepted."""
        timeline = self.state.timeline
        shown = None if timeline is None else timeline.frames[timeline.current]
        self.lock_here(is_locked=shown is None or not shown.is_locked)

    def undo(self) -> None:
        """Take back the last step."""
        self._main.edit(lambda s: f"Undone: {s.undo()}." if s.can_undo else "")

    def redo(self) -> None:
        """Do again what was taken back."""
        self._main.edit(lambda s: f"Done again: {s.redo()}." if s.can_redo else "")

    def copy_as_python(self) -> None:
        """Put a script that does the same on the clipboard."""
        main, item = self._main, self._main.desk.open
        if item is None:
            main.teller.tell("There is nothing to copy yet.")
            return
        bench = main.desk.bench
        main.submit(item, lambda order, _: bench.as_python(order), self._on_script)

    def _go_to_doubt(self, direction: Literal[1, -1]) -> None:
        main, state, item = self._main, self.state, self._main.desk.open
        doubtful = sorted(
            (row.obj_id, *doubt) for row in state.objects for doubt in row.doubts
        )
        if item is None or not doubtful:
            main.teller.tell("There are no doubtful frames.")
            return
        here = (state.object_id, main.position_on_show() or ())
        if direction > 0:
            ahead = [doubt for doubt in doubtful if doubt[:2] > here]
        else:
            ahead = [doubt for doubt in doubtful if doubt[:2] < here]
        obj_id, place, why = (ahead or doubtful)[0 if direction > 0 else -1]
        main.objects.select_object(obj_id)
        main.viewer.show_frame(state.image, place)
        main.teller.tell(f"Object {obj_id}, {item.subject.axes.where(place)}: {why}.")

    def _on_script(self, outcome: Outcome) -> None:
        is_copied = self._main.viewer.copy_text(outcome.text)
        lines = outcome.text.count("\n")
        self._main.teller.tell(
            f"Copied {lines} lines of Python."
            if is_copied
            else "There is no clipboard."
        )
