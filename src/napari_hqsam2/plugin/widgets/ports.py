"""What the panels for objects and review ask of the controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from napari_hqsam2.plugin.state import Cut, HqMode, PluginState


class StatePort(Protocol):
    """Has a state that can be followed."""

    @property
    def state(self) -> PluginState:
        """What is shown; `events` tells of every change."""


class ObjectsPort(StatePort, Protocol):
    """Verbs on objects; each returns at once, and the state tells what came of it."""

    def new_object(self) -> None:
        """Let the next prompt start an object of its own."""

    def select_object(self, obj_id: int) -> None:
        """Let new prompts belong to an object."""

    def rename_object(self, obj_id: int, name: str) -> None:
        """Give an object a name."""

    def hide_object(self, obj_id: int, is_hidden: bool) -> None:
        """Hide or show the pixels of an object."""

    def set_hq_mode(self, obj_id: int, hq_mode: HqMode | None) -> None:
        """Make the masks of an object in another way; None is as those of all."""

    def delete_object(self, obj_id: int) -> None:
        """Remove an object with its prompts and pixels; undo brings it back."""

    def cut_object(self, obj_id: int, cut: Cut) -> None:
        """Remove an object up to the frame on show, or from it on, or split it."""

    def join_objects(self, obj_id: int, other: int) -> None:
        """Let another object be a part of this one."""

    def take_disputed(self) -> None:
        """Let objects have the pixels that their newest masks left to others."""

    def propose_everything(self) -> None:
        """Propose an object for everything on the frame on show."""


class ReviewPort(StatePort, Protocol):
    """Verbs on the frames of the current object, and on what was done."""

    def go_to_frame(self, frame: int) -> None:
        """Show a frame, counted from 0."""

    def next_doubt(self) -> None:
        """Show the next doubtful frame."""

    def previous_doubt(self) -> None:
        """Show the doubtful frame before."""

    def lock_here(self, is_locked: bool) -> None:
        """Accept the current object on the frame on show, or take that back."""

    def undo(self) -> None:
        """Take back the last step."""

    def redo(self) -> None:
        """Do again what was taken back."""

    def copy_as_python(self) -> None:
        """Put a script that does the same on the clipboard."""
