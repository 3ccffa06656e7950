"""Masks that follow the prompts at once, while nobody waits."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.plugin.error_words import error_words
from napari_hqsam2.plugin.follower import Follower
from napari_hqsam2.plugin.state import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.plugin.desk import Desk
    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.orders import Outcome
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort

DEBOUNCE = 150
"""Milliseconds without a further change before prompts are taken over."""


def neighbours(
    stack: StackAxes, position: tuple[int, ...], axis: str | None
) -> list[tuple[int, ...]]:
    """Positions of the next and the previous frame along an axis."""
    if axis is None or axis not in tuple(stack.leading):
        return []
    place = stack.leading.index(axis)
    frames = (position[place] + 1, position[place] - 1)
    return [
        (*position[:place], frame, *position[place + 1 :])
        for frame in frames
        if 0 <= frame < stack.length(axis)
    ]


class Timer(Protocol):
    """Calls something once, a while after it was last started."""

    def start(self) -> None:
        """Begin to wait, anew if it does already."""
        ...

    def stop(self) -> None:
        """Do not call."""
        ...


class NoTimer:
    """Never calls: for scripts, in which every verb reads the prompts by itself."""

    def __init__(self, _: Callable[[], None]) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Live(Follower):
    """Takes over prompts as they are drawn, and asks for the masks of the frame.

    Parameters
    ----------
    state, viewer, desk
        Of the controller.
    make_timer
        Makes the timer for `DEBOUNCE` milliseconds.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        desk: Desk,
        make_timer: Callable[[Callable[[], None]], Timer],
    ) -> None:
        super().__init__(state, viewer, desk)
        self._timer = make_timer(self.follow)
        self._position: tuple[int, ...] | None = None
        self._ticket: Ticket | None = None
        self._is_quiet = False
        viewer.events.prompts_changed.connect(self._on_prompts_changed)
        viewer.events.frame_changed.connect(self._on_frame_changed)
        for event in (state.events.points, state.events.shapes):
            event.connect(self._on_layers_chosen)
        events = state.events
        for event in (events.live, events.overlap):
            event.connect(self._on_chosen)
        for event in (events.hq_mode, events.one_piece, events.crop, events.mix):
            event.connect(self._on_configured)

    def close(self) -> None:
        """Stop listening."""
        self._timer.stop()
        events = self._viewer.events
        events.prompts_changed.disconnect(self._on_prompts_changed)
        events.frame_changed.disconnect(self._on_frame_changed)

    def stop(self) -> None:
        """Do not wait for further changes: somebody else reads the prompts."""
        self._timer.stop()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Do not answer again to choices that are made in the block."""
        self._is_quiet = True
        try:
            yield
        finally:
            self._is_quiet = False

    def follow(self) -> None:
        """Take over the prompts, and segment the frame on which they changed."""
        self._timer.stop()
        desk, state = self._desk, self._state
        if not self._has_layers or (desk.open is None and not self._has_prompts()):
            return
        try:
            item = desk.begin()
            if not desk.read_prompts(item):
                return
            position = self._position if state.live else None
            self.start(partial(desk.bench.follow_prompts, position=position), "prompts")
        except HqSam2Error as error:
            state.message = Message(str(error), "problem")

    def warm_up(self) -> None:
        """Let the model be loaded and look at the frame before the first prompt."""
        try:
            self._desk.begin()
        except HqSam2Error as error:
            self._state.message = Message(str(error))
        else:
            self.prepare()

    def prepare(self) -> None:
        """Let the features of the frame on show be computed in the background."""
        state, desk = self._state, self._desk
        if not (state.live and self._has_layers) or desk.open is None:
            return
        position = self._viewer.current_position(state.image)
        if position is not None:
            stack = desk.open.subject.axes.stack
            self._prepare((position, *neighbours(stack, position, state.axis)))

    def _prepare(self, positions: Sequence[tuple[int, ...]]) -> None:
        """Compute features one frame after the other, while nobody asks for more."""
        state, desk = self._state, self._desk
        if desk.open is None or not positions or state.run.is_busy:
            return
        first, *others = positions

        def go_on(outcome: Outcome) -> None:
            if not outcome.hint:
                self._prepare(others)

        try:
            desk.submit(
                desk.open,
                lambda order, ticket: desk.bench.prepare(order, first, ticket),
                go_on,
                self._on_error,
                "prepare",
                is_background=True,
            )
        except HqSam2Error as error:
            state.message = Message(str(error))

    @property
    def _has_layers(self) -> bool:
        state = self._state
        has_prompts = state.points is not None or state.shapes is not None
        return state.image is not None and has_prompts

    def _has_prompts(self) -> bool:
        layers = (self._state.points, self._state.shapes)
        return any(self._viewer.num_prompts(x) for x in layers if x is not None)

    def start(self, work: Callable[..., Outcome], key: str) -> None:
        """Hand in a task that answers prompts, and think until it is done."""
        item = self._desk.open
        if item is None:
            return
        self._state.is_thinking = self._state.live and not self._state.run.is_busy
        self._ticket = self._desk.submit(
            item,
            lambda order, ticket: work(order, ticket=ticket),
            self._on_done,
            self._on_error,
            key,
        )

    def _on_done(self, outcome: Outcome) -> None:
        self._state.is_thinking = False
        if outcome.hint:
            self._state.message = Message(outcome.hint)

    def _on_error(self, error: Exception) -> None:
        self._state.is_thinking = False
        self._state.message = Message(error_words(error), "problem")

    def _on_prompts_changed(self, layer: Handle) -> None:
        state = self._state
        if state.image is not None and layer in (state.points, state.shapes):
            self._position = self._viewer.current_position(state.image)
            self._timer.start()

    def _on_layers_chosen(self) -> None:
        if self._state.image is not None and self._has_layers:
            self._position = self._viewer.current_position(self._state.image)
            self._timer.start()

    def _on_frame_changed(self) -> None:
        self._desk.display.move_timeline()
        self.prepare()

    def _on_chosen(self) -> None:
        self._show_again(only_if_new=False)

    def _on_configured(self) -> None:
        """Show the masks anew unless the session has these settings already."""
        self._show_again(only_if_new=True)

    def _show_again(self, *, only_if_new: bool) -> None:
        """Show the masks of the frame as they are with the new choice."""
        state, desk = self._state, self._desk
        item = desk.open
        is_idle = state.live and not (state.run.is_busy or self._is_quiet)
        if not is_idle or item is None:
            return
        position = self._viewer.current_position(state.image)
        if position is not None:
            work = partial(
                desk.bench.answer_again, position=position, only_if_new=only_if_new
            )
            self.start(work, "again")
