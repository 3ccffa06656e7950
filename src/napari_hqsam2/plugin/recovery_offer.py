"""Offers work that an earlier viewer left on the image that is chosen."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.inference import Task

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.inference import Inference
    from napari_hqsam2.plugin.recovery import RecoveryFolder
    from napari_hqsam2.plugin.snapshots import ImageSnapshot
    from napari_hqsam2.plugin.state import PluginState, Unsaved
    from napari_hqsam2.session.stacks import SessionStack


class RecoveryOffer:
    """Looks for unsaved work when an image is chosen, and restores or discards it.

    Parameters
    ----------
    main
        Controller of the widget; `unsaved` of its state is written.
    inference
        Where images are looked at.
    folder
        Where work is kept; None offers nothing.
    """

    def __init__(
        self,
        main: PluginController,
        inference: Inference,
        folder: RecoveryFolder | None,
    ) -> None:
        self._main = main
        self._inference = inference
        self._folder = folder
        self._axes = ""
        main.state.events.image.connect(self.look)
        main.viewer.events.layers_changed.connect(self._on_layers_changed)
        self.look()

    @property
    def state(self) -> PluginState:
        """Of the widget."""
        return self._main.state

    def close(self) -> None:
        """Stop listening."""
        self._main.viewer.events.layers_changed.disconnect(self._on_layers_changed)

    def look(self) -> None:
        """Find what was left on the image, without letting anybody wait."""
        state, folder, snapshot = self.state, self._folder, self._snapshot()
        state.unsaved = None
        self._axes = "" if snapshot is None else snapshot.axes.stack.described
        if snapshot is None or folder is None:
            return
        image, axes = state.image, snapshot.axes.stack
        if not folder.has_any(axes):
            return
        opened: list[SessionStack] = []

        def find() -> Unsaved | None:
            if not opened:
                opened.append(_open(snapshot))
            return folder.find(axes, opened[0].fingerprint)

        def found(unsaved: Unsaved | None) -> None:
            if state.image is image:
                state.unsaved = unsaved

        self._inference.submit(
            Task(lambda _: find(), found, key="unsaved", is_background=True)
        )

    def restore(self) -> None:
        """Go on with the work that was left, in a new Labels layer."""
        unsaved, main = self.state.unsaved, self._main
        if unsaved is None or self._folder is None:
            return
        kept = self._folder.claim(unsaved)
        if kept is None:
            main.teller.refuse("This work is open in another viewer, or gone.")
        else:
            main.files.open(kept.folder, kept)
        self.look()

    def discard(self) -> None:
        """Delete the work that was left."""
        unsaved, folder = self.state.unsaved, self._folder
        if unsaved is None or folder is None:
            return
        self.state.unsaved = None

        def remove() -> None:
            kept = folder.claim(unsaved)
            if kept is not None:
                kept.remove()

        self._inference.submit(Task(lambda _: remove(), lambda _: self.look()))

    def _on_layers_changed(self) -> None:
        """Look again if the axes of the image have got other names."""
        snapshot = self._snapshot()
        if snapshot is not None and snapshot.axes.stack.described != self._axes:
            self.look()

    def _snapshot(self) -> ImageSnapshot | None:
        try:
            return self._main.desk.snapshot()
        except StackError:
            return None


def _open(snapshot: ImageSnapshot) -> SessionStack:
    """The stack as a session would have it."""
    from napari_hqsam2.segmentation.options import StackSettings  # noqa: PLC0415 - torch
    from napari_hqsam2.session.stacks import SessionStack  # noqa: PLC0415 - torch

    letters = snapshot.axes.stack.letters
    return SessionStack(snapshot.stack, letters, StackSettings(), ExitStack())
