"""Divisions, tracks and files of the image at work, without Qt and without napari."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from psygnal import SignalGroupDescriptor

from napari_hqsam2.errors import HqSam2Error, LineageError
from napari_hqsam2.lineage.tracks import to_tracks
from napari_hqsam2.plugin.drawn_prompts import draw_prompts
from napari_hqsam2.plugin.error_words import error_words
from napari_hqsam2.plugin.lineage_watch import LabelWatch
from napari_hqsam2.plugin.prompt_mail import ensure_object
from napari_hqsam2.plugin.saving import writing
from napari_hqsam2.plugin.state import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from psygnal import SignalInstance

    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.lineage.exchange import ExportFormat
    from napari_hqsam2.lineage.suggestions import DivisionSuggestion
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.lineage_port import TracksPort
    from napari_hqsam2.plugin.live import Timer
    from napari_hqsam2.plugin.orders import Order, Outcome
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.session.session import Session

Severity = Literal["hint", "done", "problem"]


@dataclass
class LineageState:
    """What the lineage section shows; `events` tells of every change."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    has_tracks: bool = False
    """Whether a Tracks layer is kept in step."""
    divisions: tuple[Division, ...] = ()
    suggestions: tuple[DivisionSuggestion, ...] = ()
    """The best first; taken over or refused one by one."""


class LineageController:
    """Turns what the lineage section asks for into tasks of the main controller.

    Verbs return at once if the inference has a thread of its own.

    Parameters
    ----------
    main
        Controller of the widget; its session is the one that is changed.
    port
        Where tracks are shown.
    make_timer
        For waiting until labels do not change any more.
    """

    def __init__(
        self,
        main: PluginController,
        port: TracksPort,
        make_timer: Callable[[Callable[[], None]], Timer],
    ) -> None:
        self.state = LineageState()
        self.main = main
        self._port = port
        self._timer = make_timer(self.show_now)
        self._watch: LabelWatch | None = None
        self._refused: set[Division] = set()
        for event in self._triggers():
            event.connect(self._on_change)
        for event in self._choices():
            event.connect(self._on_image)
        main.viewer.events.data_replaced.connect(self._on_data_replaced)
        port.painted.connect(self._on_painted)

    def _triggers(self) -> tuple[SignalInstance, ...]:
        """What tells that the session has changed."""
        events = self.main.state.events
        return events.objects, events.undo_name, events.redo_name

    def _choices(self) -> tuple[SignalInstance, ...]:
        events = self.main.state.events
        return events.image, events.labels

    @property
    def axes(self) -> StackAxes | None:
        """Axes of the labels at work; None if there is no image."""
        named = self.main.layers.axes
        if named is None:
            return None
        stack = named.stack
        return type(stack)(stack.labels_letters, stack.labels_shape)

    @property
    def has_time(self) -> bool:
        """Whether objects of the image can divide."""
        axes = self.axes
        return axes is not None and axes.letters in {"TYX", "TZYX"}

    @property
    def time(self) -> int | None:
        """Frame along T that is on show."""
        position = self.main.viewer.current_position(self.main.state.image)
        return position[0] if self.has_time and position else None

    def show_tracks(self, is_on: bool) -> None:
        """Show a Tracks layer and keep it in step with the labels, or remove it."""
        self.state.has_tracks = is_on and self.has_time
        self._forget()
        if not self.state.has_tracks:
            self._port.remove_tracks()
        self._on_change()

    def divide(self, mother: int, daughters: Collection[int], frame: int) -> None:
        """Say that an object becomes others on a frame.

        If the mother's label goes on from there, what follows gets an id of its own.
        """

        def change(session: Session) -> str:
            for obj_id in daughters:
                _adopt(session, obj_id)
            goes_on = _is_there(session, mother, frame)
            chosen = [*daughters, *([mother] if goes_on else [])]
            done = session.set_division(mother, chosen, frame)
            words = " and ".join(map(str, done.daughters))
            return f"Object {mother} divides into {words} at T = {frame}."

        self._edit(change, [mother])

    def clear_division(self, mother: int) -> None:
        """Take back the division of an object."""
        self._edit(lambda session: session.clear_division(mother))

    def suggest(self) -> None:
        """Look for divisions; all frames are read."""
        found: list[DivisionSuggestion] = []

        def look(session: Session) -> None:
            found[:] = session.suggest_divisions()

        def show(_: Outcome) -> None:
            kept = [item for item in found if item.division not in self._refused]
            self.state.suggestions = tuple(kept)
            number = "No division" if not kept else f"{len(kept)} possible division"
            self._tell(f"{number}{'s' if len(kept) > 1 else ''} found.")

        self._edit(look, then=show)

    def accept(self, suggestion: DivisionSuggestion) -> None:
        """Take a suggestion over."""
        division = suggestion.division
        self._drop(suggestion)
        others = set(division.daughters) - {division.mother}
        self.divide(division.mother, others, division.frame)

    def refuse(self, suggestion: DivisionSuggestion) -> None:
        """Do not suggest this again."""
        self._refused.add(suggestion.division)
        self._drop(suggestion)

    def go_to(self, division: Division) -> None:
        """Show where an object divides, and make it the current one."""
        position = self.main.viewer.current_position(self.main.state.image)
        if position:
            place = (division.frame, *position[1:])
            self.main.viewer.show_frame(self.main.state.image, place)
        self.main.objects.select_object(division.mother)

    def export(self, path: Path, to: ExportFormat, *, overwrite: bool = False) -> None:
        """Write labels and divisions for other programs."""
        item = self.main.desk.open
        if item is None:
            return
        sizes = self._port.pixel_sizes(item.labels)

        def write(session: Session) -> str:
            with writing(path):
                written = session.export(
                    path, to, pixel_sizes=sizes, overwrite=overwrite
                )
            return f"Exported to {written}."

        self._edit(write)

    def import_tracks(self, path: Path) -> None:
        """Go on with what another program has made."""

        def read(session: Session) -> str:
            new = session.import_tracks(path)
            return f"Imported {len(new)} objects from {path.name}."

        def show(outcome: Outcome) -> None:
            draw_prompts(self.main, outcome.prompts or {})
            self._on_edited(outcome)

        self._edit(read, then=show, is_first=True)

    def show_now(self) -> None:
        """Bring tracks and divisions up to date."""
        self._timer.stop()
        watch = self._watch
        if watch is None:
            return
        measure = self.state.has_tracks
        if watch.needs_look(measure=measure):
            self._submit(partial(watch.look, measure=measure))
        self.state.divisions = watch.divisions
        if measure and watch.is_measured:
            self._show_tracks(watch)

    def _show_tracks(self, watch: LabelWatch) -> None:
        """Change the Tracks layer, unless it is what it should be."""
        rows = self.main.state.objects
        hidden = tuple(row.obj_id for row in rows if row.is_hidden)
        content = (watch.live.version, watch.divisions, hidden)
        if content != watch.shown:
            watch.shown = content
            tracks = to_tracks(watch.live.table(), watch.divisions)
            self._port.show_tracks(watch.labels, tracks)

    def close(self) -> None:
        """Stop listening; the Tracks layer stays, as an ordinary one."""
        self._timer.stop()
        for event in self._triggers():
            event.disconnect(self._on_change)
        for event in self._choices():
            event.disconnect(self._on_image)
        self.main.viewer.events.data_replaced.disconnect(self._on_data_replaced)
        self._forget()
        self._port.close()

    def _edit(
        self,
        change: Callable[[Session], Any],
        objects: Collection[int] = (),
        *,
        then: Callable[[Outcome], None] | None = None,
        is_first: bool = False,
    ) -> None:
        """Change the session, unless a run is under way."""
        main = self.main
        if main.is_busy:
            self._tell("Wait for the run to end, or cancel it first.")
            return
        try:
            item = main.desk.begin() if is_first else main.desk.open
            if item is None:
                msg = "There are no objects yet. Segment some, or import tracks."
                raise LineageError(msg)
            main.live.stop()
            main.desk.read_prompts(item)
            main.desk.submit(
                item,
                lambda order, _: main.desk.bench.edit(order, change, objects),
                then or self._on_edited,
                self._on_error,
            )
        except HqSam2Error as error:
            self._on_error(error)

    def _submit(self, work: Callable[[Session], None]) -> None:
        """Let the inference thread read the session when it has nothing else to do.

        Prompts on their way are left to the task that is to answer them.
        """
        desk = self.main.desk
        item = desk.open
        if item is None:
            return

        def read(order: Order, _: Ticket) -> Outcome:
            if order.subject.session is not None:
                work(order.subject.session)
            return desk.bench.look(order)

        with suppress(HqSam2Error):
            desk.submit(
                item,
                read,
                lambda _: self._on_looked(),
                self._on_error,
                "lineage",
                is_background=True,
            )

    def _on_looked(self) -> None:
        """Show what was read; without a session there was nothing to read."""
        watch = self._watch
        if watch and not watch.needs_look(measure=self.state.has_tracks):
            self._timer.start()

    def _on_edited(self, outcome: Outcome) -> None:
        if outcome.name:
            self._tell(outcome.name, "done")
        self._on_change()

    def _on_error(self, error: Exception) -> None:
        self._tell(error_words(error), "problem")

    def _tell(self, text: str, severity: Severity = "hint") -> None:
        self.main.state.message = Message(text, severity)
        if severity == "problem":
            self.main.viewer.notify(text, is_problem=True)

    def _drop(self, suggestion: DivisionSuggestion) -> None:
        kept = (item for item in self.state.suggestions if item is not suggestion)
        self.state.suggestions = tuple(kept)

    def _on_change(self) -> None:
        """Follow the image that is worked on, and show what changed, a little later."""
        item, axes = self.main.desk.open, self.axes
        if item is None or axes is None or not self.has_time:
            return
        if self._watch is None or self._watch.item is not item:
            self._forget()
            self._watch = LabelWatch(item, axes)
        self._timer.start()

    def _on_image(self) -> None:
        self._forget()
        self._refused.clear()
        self.state.divisions = ()
        self.state.suggestions = ()
        if not self.has_time:
            self.state.has_tracks = False
        self._on_change()

    def _on_data_replaced(self, layer: Handle) -> None:
        if self._watch is not None and layer is self._watch.labels:
            self._forget()
            self._on_change()

    def _on_painted(self, layer: Handle, positions: Sequence[tuple[int, ...]]) -> None:
        if self._watch is not None and layer is self._watch.labels:
            self._watch.dirty.update(positions)
            self._timer.start()

    def _forget(self) -> None:
        self._timer.stop()
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def _adopt(session: Session, obj_id: int) -> None:
    """Let labels that nobody prompted be an object too.

    Raises
    ------
    LineageError
        There are neither prompts nor pixels of it.
    """
    if obj_id not in session.obj_ids and not _is_there(session, obj_id, 0):
        msg = f"There is no object {obj_id}. Prompt it first, or name another one."
        raise LineageError(msg)
    ensure_object(session, obj_id)


def _is_there(session: Session, obj_id: int, frame: int) -> bool:
    """Whether an object has pixels at a time or later."""
    labels = session.labels
    later = (p for p in np.ndindex(*labels.shape[:-2]) if p[0] >= frame)
    return any(bool((labels[position] == obj_id).any()) for position in later)
