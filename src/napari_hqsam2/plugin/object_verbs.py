"""The objects of the image, one of them current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.plugin.resolve import count_words

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.session.session import Session


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
        else:
            self._main.layers.new_object()

    def select_object(self, obj_id: int) -> None:
        """Let new prompts belong to an object."""
        self.state.object_id = obj_id

    def pick_object(self) -> None:
        """Let new prompts belong to the object under the pointer."""
        main, labels = self._main, self.state.labels
        obj_id = 0 if labels is None else main.viewer.label_under_pointer(labels)
        if obj_id:
            self.select_object(obj_id)
            name = next((r.name for r in self.state.objects if r.obj_id == obj_id), "")
            main.teller.tell(f"Now {name or f'label {obj_id}'}.")
        else:
            main.teller.tell("There is no object under the pointer.")

    def rename_object(self, obj_id: int, name: str) -> None:
        """Give an object a name."""
        self._main.edit(lambda session: session.rename(obj_id, name))

    def hide_object(self, obj_id: int, is_hidden: bool) -> None:
        """Hide or show the pixels of an object."""
        self._main.edit(lambda s: s.hide(obj_id) if is_hidden else s.show(obj_id))

    def delete_object(self, obj_id: int) -> None:
        """Remove an object with its prompts and pixels; undo brings it back."""
        self._main.edit(lambda session: session.delete_object(obj_id))

    def take_disputed(self) -> None:
        """Let objects have the pixels that their newest masks left to others."""

        def take(session: Session) -> str:
            taken = sum(dispute.area for dispute in session.take_disputed())
            return f"Took {count_words(taken, 'pixel')}." if taken else ""

        self._main.edit(take)

    def propose_everything(self) -> None:
        """Make an object of everything that is found on the frame on show."""
        self._main.starter.propose_everything()
