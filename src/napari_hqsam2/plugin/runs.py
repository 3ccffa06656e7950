"""One run at a time: how it starts, how far it is, what has become of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from napari_hqsam2.errors import ReadCancelledError
from napari_hqsam2.plugin.costs import RunCost, cost_key
from napari_hqsam2.plugin.error_words import error_words
from napari_hqsam2.plugin.resolve import count_words
from napari_hqsam2.plugin.state import Message, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2.plugin.costs import CostBook
    from napari_hqsam2.plugin.desk import Desk
    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.open_images import OpenImage
    from napari_hqsam2.plugin.orders import Order, RunOutcome
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort
    from napari_hqsam2.plugin.views import Report
    from napari_hqsam2.session.running import PropagationStep

LEAST_MEASURED = 3
"""Frames of a run that tell how long the next one takes."""


class Teller:
    """Says things in the line under the buttons, and in napari's status line.

    Parameters
    ----------
    state
        Its `message` is written.
    viewer
        Shows status and notifications.
    """

    def __init__(self, state: PluginState, viewer: ViewerPort) -> None:
        self._state = state
        self._viewer = viewer

    def refuse(self, text: str) -> None:
        """Say why something cannot be done, so that it is noticed."""
        self.tell(text, problem=True)
        self._viewer.notify(text, is_problem=True)

    def tell(
        self,
        text: str,
        *,
        problem: bool = False,
        severity: Literal["hint", "done", "problem"] = "hint",
    ) -> None:
        """Say something."""
        self._state.message = Message(text, "problem" if problem else severity)
        self._viewer.show_status(text)

    def refuse_error(self, error: Exception, more: str = "") -> None:
        """Say what went wrong."""
        self.refuse(f"{error_words(error)} {more}".strip())


@dataclass(slots=True, eq=False)
class Run:
    """A run, and what has become of it."""

    item: OpenImage
    words: str
    """Where it runs: "through T, frames 0 to 27"."""
    ticket: Ticket | None = None
    done: int = 0
    total: int = 0
    cost_key: str = ""
    """Settings that decide how long it takes, as they were when it began."""
    first_at: float = 0.0
    """When `done` was first told, in seconds of `monotonic`."""
    first_done: int = 0
    """What it was then."""
    stopped_by: str = ""
    """Why the run was stopped from outside, or empty."""
    in_parts: bool = False
    """Whether `done` and `total` count parts of one frame instead of frames."""

    @property
    def num_frames(self) -> int:
        """Frames that are done."""
        return 0 if self.in_parts else self.done

    @property
    def pace(self) -> float:
        """Seconds for each that was done since the first was told."""
        return (monotonic() - self.first_at) / (self.done - self.first_done)

    def ended(self, kept: str) -> str:
        """Why it was stopped from outside, and what is kept."""
        return f"{self.stopped_by} {kept}"

    @property
    def labels(self) -> Handle:
        """Layer that it writes to."""
        return self.item.labels


def _kept(number: int, noun: str) -> str:
    return f"{count_words(number, noun)} {'is' if number == 1 else 'are'} kept"


class Runs:
    """The run that is under way, if there is one.

    Parameters
    ----------
    state, viewer, desk, teller
        Of the controller.
    book
        Is told what runs have taken.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        desk: Desk,
        teller: Teller,
        book: CostBook,
    ) -> None:
        self._state = state
        self._viewer = viewer
        self._desk = desk
        self._book = book
        self._teller = teller
        self._run: Run | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self._run is not None

    def cancel(self) -> None:
        """Stop the run after the present frame; finished frames stay."""
        if self._run is not None and self._run.ticket is not None:
            self._set_phase("cancelling")
            self._run.ticket.cancel()

    def forget(self) -> None:
        """Cancel, and do not heed any more what comes of it."""
        self.cancel()
        self._run = None

    def stop_for(self, layer: Handle, what: str) -> None:
        """Stop the run if something happened to a layer that it needs."""
        run = self._run
        if run is None or layer not in (run.item.image, run.item.labels):
            return
        name = "Labels" if layer is run.item.labels else "image"
        run.stopped_by = run.stopped_by or f"The {name} layer {what}."
        self.cancel()

    def launch(
        self,
        run: Run,
        work: Callable[..., RunOutcome],
        on_done: Callable[[Run, RunOutcome], None] | None = None,
    ) -> Run:
        """Start a run; `on_done` is called when it is over."""

        def start(order: Order, ticket: Ticket) -> RunOutcome:
            run.ticket = ticket
            return work(order, ticket=ticket)

        self._run = run
        run.cost_key = cost_key(self._state, run.item.subject.axes.stack.hw)
        self._set_phase("starting")
        self._teller.tell("Starting …")
        try:
            ticket = self._desk.submit(
                run.item,
                start,
                partial(self._on_done, run, on_done or self._tell_end),
                partial(self._on_error, run),
            )
        except BaseException:
            self._finish()
            raise
        run.ticket = ticket
        return run

    def on_step(self, run: Run, step: PropagationStep, report: Report | None) -> None:
        """Show a frame that is in the labels."""
        if run is not self._run:
            return
        if not run.done:
            self._teller.tell(f"Following {run.words} …")
        self._advance(run, step.done, step.total)
        if report is not None:
            self._desk.display.take_report(run.item, report)

    def on_part(self, run: Run, done: int, total: int) -> None:
        """Show that a part of the frame was looked through."""
        if run is self._run:
            run.in_parts = True
            self._advance(run, done, total)

    def _advance(self, run: Run, done: int, total: int) -> None:
        if not run.done:
            run.first_at, run.first_done = monotonic(), done
        run.done, run.total = done, total
        is_ending = run.ticket is not None and run.ticket.is_cancelled()
        self._set_phase("cancelling" if is_ending else "running")

    def _on_done(
        self,
        run: Run,
        tell: Callable[[Run, RunOutcome], None],
        outcome: RunOutcome,
    ) -> None:
        if run is not self._run:
            return
        self._finish()
        is_measured = run.num_frames - run.first_done + 1 >= LEAST_MEASURED
        if is_measured and outcome.objects:
            cost = RunCost(len(outcome.objects), run.pace, outcome.peak_bytes)
            self._book.note(run.cost_key, cost)
            self._state.num_measured += 1
        if outcome.num_frames:
            self._viewer.finish(run.labels, self._provenance(run, outcome))
        tell(run, outcome)

    def _tell_end(self, run: Run, outcome: RunOutcome) -> None:
        if outcome.was_cancelled or run.stopped_by:
            kept = f"{outcome.num_frames} of {max(run.total, 1)} frames are kept."
            words = run.ended(kept) if run.stopped_by else f"Cancelled. {kept}"
            self._teller.tell(words, problem=bool(run.stopped_by))
        elif outcome.lost:
            self._teller.tell(
                f"Object {', '.join(map(str, outcome.lost))} was not found on any "
                "frame. Add a box around it, or more points on it.",
                problem=True,
            )
        elif outcome.objects:
            number = len(outcome.objects)
            objects = "1 object" if number == 1 else f"{number} objects"
            self._teller.tell(f"Done: {objects} {run.words}.", severity="done")
        else:
            self._teller.tell("Nothing has changed since these frames were followed.")

    def _on_error(self, run: Run, error: Exception) -> None:
        if run is not self._run:
            return
        self._finish()
        self._desk.look(run.item)
        if run.stopped_by:
            self._teller.refuse(run.ended(f"{_kept(run.num_frames, 'frame')}."))
        elif isinstance(error, ReadCancelledError):
            self._teller.tell(str(error))
        else:
            done = run.num_frames
            kept = f"({_kept(done, 'finished frame')}.)" if done else ""
            self._teller.refuse_error(error, kept)

    def _finish(self) -> None:
        self._run = None
        self._state.run = RunStatus()

    def _set_phase(self, phase: Any) -> None:
        run = self._run
        if run is None:
            return
        left = None
        if run.done > run.first_done:
            left = run.pace * (run.total - run.done)
        self._state.run = RunStatus(phase, run.done, run.total, left)

    def _provenance(self, run: Run, outcome: RunOutcome) -> dict[str, str]:
        state, axes = self._state, run.item.subject.axes
        images = self._viewer.images()
        names = (c.name for c in images if c.handle is run.item.image)
        rows = run.item.rows.values()
        own = {row.obj_id: row.hq_mode for row in rows if row.hq_mode}
        return {
            **{name: str(value) for name, value in outcome.provenance.items()},
            "version": version("napari-hqsam2"),
            "image": next(names, ""),
            "axes": axes.summary,
            "what": run.words,
            "direction": state.direction,
            "checkpoint": str(state.checkpoint or "the model's own"),
            "hq_mode": state.hq_mode,
            "hq_modes": str(own),
            "one_piece": str(state.one_piece),
            "crop": str(state.crop),
            "overlap": state.overlap,
            "tracking": state.tracking,
            "resolution": str(state.resolution or "the model's own"),
            "channels": str(state.channels),
        }
