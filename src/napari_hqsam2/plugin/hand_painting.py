"""Frames that are painted by hand are kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.errors import HqSam2Error

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.session.session import Session

Position = tuple[int, ...]


class HandPainting:
    """Accepts the frames of an object that the user has painted or erased.

    What is painted during a run is accepted when the run is over.

    Parameters
    ----------
    main
        Controller of the widget.
    """

    def __init__(self, main: PluginController) -> None:
        self._main = main
        self._waiting: set[tuple[int, Position]] = set()
        main.viewer.events.painted.connect(self._on_painted)
        main.state.events.run.connect(self._accept)
        main.state.events.image.connect(self._forget)

    def close(self) -> None:
        """Stop listening."""
        self._main.viewer.events.painted.disconnect(self._on_painted)
        self._main.state.events.run.disconnect(self._accept)
        self._main.state.events.image.disconnect(self._forget)

    def _on_painted(
        self, labels: Handle, obj_id: int, planes: tuple[Position, ...]
    ) -> None:
        state = self._main.state
        if labels is state.labels and state.image is not None and obj_id > 0:
            self._waiting.update((obj_id, position) for position in planes)
            self._accept()

    def _forget(self) -> None:
        self._waiting.clear()

    def _accept(self) -> None:
        main = self._main
        if not self._waiting or main.is_busy:
            return
        painted = sorted(self._waiting)
        self._waiting.clear()
        try:
            main.desk.begin()
        except HqSam2Error as error:
            main.teller.tell(str(error))
            return
        main.edit(lambda session: _lock(session, painted), {i for i, _ in painted})


def _lock(session: Session, painted: list[tuple[int, Position]]) -> str:
    """Lock painted frames; of several planes only those that show the object."""
    new = [
        (obj_id, position)
        for obj_id, position in painted
        if position not in session.locked(obj_id)
        and (len(painted) == 1 or bool((session.labels[position] == obj_id).any()))
    ]
    if not new:
        return ""
    with session.one_step("paint"):
        for obj_id, position in new:
            session.lock(obj_id, position)
    return "Accepted as painted: no run changes it. K takes that back."
