"""The mask that a click would give, shown under the pointer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_hqsam2.plugin.error_words import error_words
from napari_hqsam2.plugin.follower import Follower
from napari_hqsam2.plugin.state import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from psygnal import SignalInstance

    from napari_hqsam2.plugin.desk import Desk
    from napari_hqsam2.plugin.live import Timer
    from napari_hqsam2.plugin.orders import Glimpse
    from napari_hqsam2.plugin.snapshots import Handle, PlaceToClick
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort

SLOW = 0.5
"""Seconds of a preview from which on nothing is computed for one but the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What is asked for a place of the pointer."""

    image: Handle
    points: Handle
    place: PlaceToClick
    colour: tuple[float, float, float]


class Hover(Follower):
    """Asks for the mask at the pointer, one question at a time, the newest place first.

    Parameters
    ----------
    state, viewer, desk
        Of the controller.
    make_timer
        Makes the timer that a question waits for.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        desk: Desk,
        make_timer: Callable[[Callable[[], None]], Timer],
    ) -> None:
        super().__init__(state, viewer, desk)
        self._timer = make_timer(self._ask)
        self._removal = make_timer(self._on_removal)
        self._taken_from: Handle | None = None
        """Image whose layer somebody has taken away."""
        self._is_waiting = False
        """Whether a question waits for the timer or for its answer."""
        self._has_moved = False
        self._valid: _Question | None = None
        """The question whose answer is still wanted."""
        self._shown: tuple[Handle, Handle] | None = None
        """The image, and the layer on it."""
        self._is_quick = True
        viewer.events.pointer_moved.connect(self._on_moved)
        viewer.events.layer_removed.connect(self._on_layer_removed)
        for signal in self._ends():
            signal.connect(self._hide)
        events = state.events
        for name in ("object_id", "positive", "run", "is_thinking"):
            getattr(events, name).connect(self._hide)
        for name in ("image", "points", "hover", "live"):
            getattr(events, name).connect(self._clear)
        for name in ("model", "device", "resolution", "crop"):
            getattr(events, name).connect(self._on_model)

    def close(self) -> None:
        """Stop listening, and take the layer away."""
        self._timer.stop()
        self._removal.stop()
        self._viewer.events.pointer_moved.disconnect(self._on_moved)
        self._viewer.events.layer_removed.disconnect(self._on_layer_removed)
        for signal in self._ends():
            signal.disconnect(self._hide)
        self._clear()

    def _ends(self) -> tuple[SignalInstance, ...]:
        """What a preview ends with."""
        events = self._viewer.events
        return events.pointer_left, events.prompts_changed, events.frame_changed

    def _on_moved(self) -> None:
        self._has_moved = True
        if self._is_wanted and not self._is_waiting:
            self._is_waiting = True
            self._timer.start()

    @property
    def _is_wanted(self) -> bool:
        state = self._state
        is_free = not (state.run.is_busy or state.is_thinking)
        has_layers = state.image is not None and state.points is not None
        return state.hover and state.live and has_layers and is_free

    def _ask(self) -> None:
        """Ask for the place where the pointer is now."""
        self._timer.stop()
        self._has_moved = False
        state, item = self._state, self._desk.open
        place = None
        if self._is_wanted and item is not None:
            place = self._viewer.place_to_click(state.points, state.image)
        if place is None or item is None:
            self._is_waiting = False
            self._hide()
            return
        (colour,) = self._viewer.label_colours(item.labels, [state.object_id])
        question = _Question(state.image, state.points, place, colour)
        self._valid = question
        look = partial(
            self._desk.bench.glimpse,
            item.subject,
            state.object_id,
            place,
            positive=state.positive,
            only_prepared=not self._is_quick,
        )
        answered = partial(self._on_answer, question)
        self._desk.ask(look, answered, self._on_error, "hover")

    def _on_answer(self, question: _Question, glimpse: Glimpse) -> None:
        self._is_waiting = False
        self._is_quick = self._is_quick and glimpse.seconds < SLOW
        if question is self._valid:
            self._show(question, glimpse)
        if self._has_moved:
            self._on_moved()

    def _show(self, question: _Question, glimpse: Glimpse) -> None:
        if not glimpse.mask:
            self._hide()
            return
        layer = self._viewer.show_preview(
            question.points,
            question.image,
            question.place.position,
            glimpse.mask,
            question.colour,
        )
        self._shown = (question.image, layer)

    def _on_error(self, error: Exception) -> None:
        self._is_waiting = False
        self._state.hover = False
        self._state.message = Message(
            f"No more previews. {error_words(error)}", "problem"
        )

    def _on_model(self) -> None:
        self._is_quick = True
        self._hide()

    def _hide(self) -> None:
        """Show nothing until the pointer moves again."""
        self._valid = None
        if self._shown is not None:
            self._viewer.hide_preview(self._shown[0])

    def _clear(self) -> None:
        """Take the layer away too."""
        self._valid = None
        if self._shown is not None:
            image, _ = self._shown
            self._shown = None
            self._viewer.remove_preview(image)

    def _on_layer_removed(self, layer: Handle) -> None:
        """See, a little later, whether the layer alone was taken away."""
        if self._shown is not None and layer is self._shown[1]:
            self._taken_from, _ = self._shown
            self._shown = None
            self._removal.start()

    def _on_removal(self) -> None:
        """Show no more to somebody who takes the layer away, but not the image."""
        if any(choice.handle is self._taken_from for choice in self._viewer.images()):
            self._state.hover = False
        self._taken_from = None
