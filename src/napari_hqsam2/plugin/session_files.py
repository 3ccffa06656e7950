"""Saves what was done in a folder, and goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.plugin.drawn_prompts import draw_prompts
from napari_hqsam2.plugin.mixed_layers import find_mixed
from napari_hqsam2.plugin.saving import writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.orders import Outcome
    from napari_hqsam2.plugin.recovery import KeptWork
    from napari_hqsam2.session.session import Session


class SessionFiles:
    """Saves and opens sessions.

    Parameters
    ----------
    main
        Controller of the widget.
    """

    def __init__(self, main: PluginController) -> None:
        self._main = main

    def save(self, folder: Path) -> None:
        """Write all there is into a folder, and from now on every change."""

        def write(session: Session) -> str:
            with writing(folder):
                session.autosave(folder)
            return f"Saved to {folder}. What you do from now on is saved there too."

        self._main.edit(write)

    def open(self, folder: Path, kept: KeptWork | None = None) -> None:
        """Go on with a saved session on the chosen image, in a new Labels layer.

        Parameters
        ----------
        folder
            Of the session.
        kept
            Where it was kept, if nobody had saved it; let go of if it cannot be opened.
        """
        main = self._main
        if main.is_busy:
            main.teller.tell("Wait for the run to end, or cancel it first.")
            if kept is not None:
                kept.release()
            return
        state = main.state
        before = (state.points, state.shapes, state.labels)

        def refuse(error: Exception) -> None:
            if kept is not None:
                kept.release()
            made = state.labels
            state.points, state.shapes, state.labels = before
            if made is not None and made is not state.labels:
                main.viewer.remove_labels(made)
            main.teller.refuse_error(error)

        main.live.stop()
        try:
            main.desk.snapshot()
            state.points = state.shapes = state.labels = None
            item = main.desk.begin(is_new=True)
            main.teller.tell("Opening …")
            main.desk.submit(
                item,
                lambda order, _: main.desk.bench.open_session(order, folder, kept),
                self._on_opened,
                refuse,
            )
        except HqSam2Error as error:
            refuse(error)

    def _on_opened(self, outcome: Outcome) -> None:
        """Work on with its settings, and draw its prompts."""
        main = self._main
        found, missing = find_mixed(
            outcome.mixed, main.viewer.mixable(main.state.image)
        )
        with main.live.quiet():
            for name, value in (outcome.settings or {}).items():
                setattr(main.state, name, value)
            main.state.mix = found
        draw_prompts(main, outcome.prompts or {})
        if main.state.objects:
            main.state.object_id = main.state.objects[0].obj_id
        hints = [outcome.hint, _words_on_missing(missing)]
        if any(hints):
            main.teller.refuse(" ".join(filter(None, [outcome.name, *hints])))
        else:
            main.teller.tell(outcome.name, severity="done")


def _words_on_missing(names: Sequence[str]) -> str:
    """What to do about layers that were mixed and are not there."""
    if not names:
        return ""
    listed = " and ".join(f"'{name}'" for name in names)
    are = "is" if len(names) == 1 else "are"
    return (
        f"It was made with {listed} mixed in, which {are} not in the viewer with the "
        "shape and place of the image: open, then choose under 'mix layers as colours'."
    )
