"""What is on this machine of the chosen model; downloads beside all other work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.files import size_words
from napari_hqsam2.plugin.inference import Task
from napari_hqsam2.plugin.state import WeightsStatus

if TYPE_CHECKING:
    from napari_hqsam2.plugin.inference import Inference, Ticket
    from napari_hqsam2.plugin.runs import Teller
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.weights.inventory import ModelFile

TELL_EVERY = 0.2
"""Seconds between two words on a download."""
CHECKS = {
    "verified": "verified",
    "not checked": "not checked yet",
    "no known hash": "no published hash",
    "wrong": "damaged: will be replaced",
}


class ModelStore:
    """Keeps `state.weights` true, downloads and removes.

    Parameters
    ----------
    state
        Its model is described.
    tasks
        Carries out what reads or writes files; not the thread of the model, which
        goes on meanwhile.
    teller
        Says what has become of it.
    """

    def __init__(self, state: PluginState, tasks: Inference, teller: Teller) -> None:
        self._state = state
        self._tasks = tasks
        self._teller = teller
        self._download: Ticket | None = None
        self._is_looked_at = False
        events = state.events
        for event in (events.model, events.checkpoint, events.whereabouts):
            event.connect(self._on_changed)

    def close(self) -> None:
        """Stop a download; what has arrived is kept."""
        self._tasks.close(lambda: None)

    def refresh(self) -> None:
        """Look at the files, now and when they may have changed; not in a download."""
        self._is_looked_at = True
        if self._download is not None:
            return
        model, own = self._state.model, self._state.checkpoint

        def look(_: Ticket) -> WeightsStatus:
            from napari_hqsam2.weights.inventory import describe_model  # noqa: PLC0415

            return (
                _own(Path(own)) if own is not None else _status(describe_model(model))
            )

        self._tasks.submit(Task(look, self._show, key="look"))

    def download(self) -> None:
        """Fetch the weights of the chosen model."""
        model = self._state.model
        told = [0.0]

        def work(ticket: Ticket) -> str:
            from napari_hqsam2.weights.inventory import download_model  # noqa: PLC0415

            def progress(done: int, total: int | None) -> None:
                if time.monotonic() > told[0] + TELL_EVERY:
                    told[0] = time.monotonic()
                    ticket.tell(self._show_progress, model, done, total)

            download_model(model, progress=progress, cancel=ticket.is_cancelled)
            return f"{model} is on this machine."

        self._show_progress(model, 0, None)
        # A task that is done at once has an end before it has a ticket.
        ticket = self._tasks.submit(Task(work, self._on_done, self._on_error))
        if self._state.weights.action == "cancel":
            self._download = ticket

    def cancel(self) -> None:
        """Stop the download; the next one goes on from what has arrived."""
        if self._download is not None:
            self._download.cancel()

    def remove(self) -> None:
        """Delete the downloaded weights of the chosen model."""
        model = self._state.model

        def work(_: Ticket) -> str:
            from napari_hqsam2.weights.inventory import remove_model  # noqa: PLC0415

            freed = size_words(remove_model(model))
            return f"Removed {model}: {freed} are free again."

        self._tasks.submit(Task(work, self._on_done, self._on_error))

    def _on_changed(self) -> None:
        if self._is_looked_at:
            self.refresh()

    def _show_progress(self, model: str, done: int, total: int | None) -> None:
        name = "" if model == self._state.model else f" {model}"
        share = f"{100 * done // total} % of {size_words(total)}" if total else "…"
        self._show(WeightsStatus(f"Downloading{name}: {share}", "cancel"))

    def _show(self, status: WeightsStatus) -> None:
        self._state.weights = status

    def _on_done(self, text: str) -> None:
        self._teller.tell(text, severity="done")
        self._end()

    def _on_error(self, error: Exception) -> None:
        was_cancelled = self._download is not None and self._download.is_cancelled()
        if was_cancelled and isinstance(error, HqSam2Error):
            self._teller.tell(str(error))
        else:
            self._teller.refuse_error(error)
        self._end()

    def _end(self) -> None:
        self._download = None
        self._state.weights = WeightsStatus()
        self.refresh()


def _status(item: ModelFile) -> WeightsStatus:
    """What is to be said of a model that has a name."""
    size = size_words(item.size) if item.size else ""
    if item.is_here:
        here = f"Built in, {size}" if item.kind == "built in" else f"{size} here"
        words = f"{here}, {CHECKS[item.check]}"
        can_go = item.kind == "official"
        freed = size_words(item.freed)
        return WeightsStatus(words, "remove" if can_go else "", freed)
    if item.url is None:
        return WeightsStatus("Never published; take weights of your own")
    left = (item.size or 0) - item.partial
    rest = f"{size_words(left)} of {size} left" if item.partial and size else size
    return WeightsStatus(f"{rest or 'Still'} to download", "download")


def _own(path: Path) -> WeightsStatus:
    """What is to be said of a weights file of one's own."""
    if not path.is_file():
        return WeightsStatus("This file is gone; choose another one")
    return WeightsStatus(f"Your own, {size_words(path.stat().st_size)}")
