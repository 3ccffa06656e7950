"""Shows what the model sees of the frame on show, as long as that is wanted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.plugin.error_words import error_words
from napari_hqsam2.plugin.follower import Follower
from napari_hqsam2.plugin.state import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2.plugin.desk import Desk
    from napari_hqsam2.plugin.live import Timer
    from napari_hqsam2.plugin.open_images import OpenImage
    from napari_hqsam2.plugin.orders import Outcome
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort

Position = tuple[int, ...]


class ModelWindow(Follower):
    """Keeps a layer with what the model sees, made in the inference thread.

    Parameters
    ----------
    state, viewer, desk
        Of the controller.
    make_timer
        For waiting until no layer comes or goes.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        desk: Desk,
        make_timer: Callable[[Callable[[], None]], Timer],
    ) -> None:
        super().__init__(state, viewer, desk)
        self._timer = make_timer(self.refresh)
        self._shown: tuple[Handle, Handle] | None = None
        """The image, and the layer on it."""
        events = state.events
        events.shows_view.connect(self.refresh)
        for event in (
            events.image,
            events.model,
            events.resolution,
            events.crop,
            events.channels,
            events.mix,
            events.object_id,
            events.run,
            events.is_thinking,
        ):
            event.connect(self._follow)
        viewer.events.frame_changed.connect(self._follow)
        viewer.events.contrast_changed.connect(self._on_contrast)
        viewer.events.layer_removed.connect(self._on_layer_removed)

    def close(self) -> None:
        """Stop listening, and take the layer away."""
        self._timer.stop()
        events = self._viewer.events
        events.frame_changed.disconnect(self._follow)
        events.contrast_changed.disconnect(self._on_contrast)
        events.layer_removed.disconnect(self._on_layer_removed)
        self._hide()

    def refresh(self) -> None:
        """Show what the model sees now, or nothing if that is not wanted."""
        state = self._state
        if not state.shows_view or state.image is None:
            self._hide()
            return
        if state.run.is_busy:
            return
        position = self._viewer.current_position(state.image)
        if position is None:
            return
        try:
            item, obj_id = self._desk.begin(), state.object_id
            view = self._desk.bench.view
            self._desk.submit(
                item,
                lambda order, ticket: view(order, position, obj_id, ticket),
                partial(self._show, item, position),
                self._on_error,
                key="view",
                is_background=True,
            )
        except HqSam2Error as error:
            self._on_error(error)

    def _follow(self) -> None:
        """Show it anew; an image that is not open yet gets its labels a bit later.

        napari loses count of layers that are added while others come or go.
        """
        state, item = self._state, self._desk.open
        is_open = item is not None and not item.is_loose
        if state.shows_view and state.image is not None and not is_open:
            self._timer.start()
        else:
            self.refresh()

    def _show(self, item: OpenImage, position: Position, outcome: Outcome) -> None:
        state = self._state
        is_wanted = state.shows_view and item.image is state.image
        if outcome.view is None or not is_wanted:
            return
        if self._shown is not None and self._shown[0] is not item.image:
            self._hide()
        layer = self._viewer.show_view(item.image, position, outcome.view)
        self._shown = (item.image, layer)

    def _hide(self) -> None:
        if self._shown is not None:
            image, _ = self._shown
            self._shown = None
            self._viewer.hide_view(image)

    def _on_contrast(self, image: Handle) -> None:
        state = self._state
        if image in (state.image, *(state.mix or ())):
            self._follow()

    def _on_layer_removed(self, layer: Handle) -> None:
        if self._shown is not None and layer is self._shown[1]:
            self._shown = None
            self._state.shows_view = False

    def _on_error(self, error: Exception) -> None:
        self._state.shows_view = False
        self._state.message = Message(error_words(error), "problem")
