"""Keys that napari leaves free: on the layers of the plugin, and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_hqsam2.plugin.controller import PluginController

UNDO, REDO = "Control-Z", "Control-Shift-Z"


class Keys:
    """Binds keys as long as the widget lives.

    The letters work everywhere in the viewer, unless they are bound to something else
    there; undo and redo on the layers with prompts. On the chosen Labels these keys
    are napari's own undo of strokes, which is followed.

    Parameters
    ----------
    viewer
        Where keys are pressed.
    controller
        Does what they say.
    """

    def __init__(self, viewer: ViewerModel, controller: PluginController) -> None:
        self._viewer = viewer
        self._controller = controller
        self._everywhere: dict[str, Callable[[], None]] = {
            "N": controller.objects.new_object,
            "J": controller.review.next_doubt,
            "Shift-J": controller.review.previous_doubt,
            "K": controller.review.toggle_lock,
            "G": controller.objects.pick_object,
            "Shift-G": controller.objects.join_pointed,
            "Q": controller.flip_polarity,
            "H": controller.objects.next_hq_mode,
            "W": controller.toggle_view,
        }
        self._on_prompts = {UNDO: controller.review.undo, REDO: controller.review.redo}
        painting = controller.painting
        self._on_labels = {UNDO: painting.undo, REDO: painting.redo}
        self._bound: list[tuple[Any, str]] = []
        for key, verb in self._everywhere.items():
            self._bind(viewer, key, verb)
        state = controller.state
        state.events.points.connect(self._bind_layers)
        state.events.shapes.connect(self._bind_layers)
        state.events.labels.connect(self._bind_labels)
        self._bind_layers()
        self._bind_labels()

    def close(self) -> None:
        """Take all keys back."""
        for target, key in self._bound:
            target.bind_key(key, None)
        self._bound.clear()

    def _bind_layers(self) -> None:
        state = self._controller.state
        for layer in (state.points, state.shapes):
            if layer is not None:
                for key, verb in {**self._everywhere, **self._on_prompts}.items():
                    self._bind(layer, key, verb)

    def _bind_labels(self) -> None:
        """Bind the chosen labels alone: others have nothing that can be followed."""
        chosen = self._controller.state.labels
        for target, key in list(self._bound):
            if isinstance(target, Labels) and target is not chosen:
                target.bind_key(key, None)
                self._bound.remove((target, key))
        if chosen is not None:
            for key, verb in self._on_labels.items():
                self._bind(chosen, key, verb)

    def _bind(self, target: Any, key: str, verb: Callable[[], None]) -> None:
        if any(each is target and name == key for each, name in self._bound):
            return
        try:
            target.bind_key(key, lambda _: verb())
        except ValueError:  # somebody has bound it, and keeps it
            return
        self._bound.append((target, key))
