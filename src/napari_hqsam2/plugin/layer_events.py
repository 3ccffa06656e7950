"""From the many events of napari to the few that the plugin follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer, Points, Shapes

from napari_hqsam2.plugin.layer_reading import planes_on_show

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_hqsam2.plugin.viewer_port import ViewerEvents


class LayerEvents:
    """Follows the layers of one viewer and passes on what matters.

    napari keeps only weak references to bound methods, and `close` disconnects them, so
    a closed widget leaves nothing behind in the viewer.
    """

    def __init__(self, viewer: ViewerModel, events: ViewerEvents) -> None:
        self._viewer = viewer
        self._events = events
        self._num_shapes: dict[Shapes, int] = {}
        for emitter in self._list_emitters():
            emitter.connect(self._on_list_changed)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.dims.events.ndisplay.connect(self._on_step)
        viewer.mouse_move_callbacks.append(self._on_pointer)
        viewer.events.mouse_over_canvas.connect(self._on_canvas)
        for layer in viewer.layers:
            self._follow(layer)

    def close(self) -> None:
        """Disconnect from the viewer and its layers."""
        viewer = self._viewer
        for emitter in self._list_emitters():
            emitter.disconnect(self._on_list_changed)
        viewer.layers.events.inserted.disconnect(self._on_inserted)
        viewer.layers.events.removed.disconnect(self._on_removed)
        viewer.dims.events.current_step.disconnect(self._on_step)
        viewer.dims.events.ndisplay.disconnect(self._on_step)
        viewer.mouse_move_callbacks.remove(self._on_pointer)
        viewer.events.mouse_over_canvas.disconnect(self._on_canvas)
        for layer in viewer.layers:
            self._unfollow(layer)

    def _list_emitters(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        return (events.inserted, events.removed, events.reordered)

    def _layer_emitters(self, layer: Layer) -> list[tuple[Any, Any]]:
        pairs: list[tuple[Any, Any]] = [(layer.events.name, self._on_list_changed)]
        if isinstance(layer, Image):
            pairs.append((layer.events.axis_labels, self._on_list_changed))
            pairs.append((layer.events.contrast_limits, self._on_contrast))
            pairs.append((layer.events.gamma, self._on_contrast))
        if isinstance(layer, Image | Labels):
            pairs.append((layer.events.data, self._on_data))
        if isinstance(layer, Labels):
            pairs.append((layer.events.selected_label, self._on_label))
            pairs.append((layer.events.paint, self._on_paint))
        if isinstance(layer, Points | Shapes):
            pairs.append((layer.events.data, self._on_prompts))
            pairs.append((layer.events.features, self._on_prompts))
            pairs.append((layer.events.current_properties, self._on_defaults))
        return pairs

    def _follow(self, layer: Layer) -> None:
        for emitter, callback in self._layer_emitters(layer):
            emitter.connect(callback)
        if isinstance(layer, Shapes):
            self._num_shapes[layer] = layer.nshapes

    def _unfollow(self, layer: Layer) -> None:
        for emitter, callback in self._layer_emitters(layer):
            emitter.disconnect(callback)
        self._num_shapes.pop(layer, None)

    def _on_inserted(self, event: Any) -> None:
        self._follow(event.value)

    def _on_removed(self, event: Any) -> None:
        self._unfollow(event.value)
        self._events.layer_removed.emit(event.value)

    def _on_list_changed(self, _: Any = None) -> None:
        self._events.layers_changed.emit()

    def _on_step(self, _: Any = None) -> None:
        self._events.frame_changed.emit()

    def _on_pointer(self, *_: Any) -> None:
        self._events.pointer_moved.emit()

    def _on_canvas(self, _: Any = None) -> None:
        if not self._viewer.mouse_over_canvas:
            self._events.pointer_left.emit()

    def _on_data(self, event: Any) -> None:
        self._events.data_replaced.emit(event.source)

    def _on_contrast(self, event: Any) -> None:
        self._events.contrast_changed.emit(event.source)

    def _on_label(self, event: Any) -> None:
        labels = event.source
        self._events.label_selected.emit(labels, int(labels.selected_label))

    def _on_paint(self, event: Any) -> None:
        labels = event.source
        planes = planes_on_show(self._viewer, labels)
        self._events.painted.emit(labels, int(labels.selected_label), planes)

    def _on_defaults(self, event: Any) -> None:
        self._events.defaults_changed.emit(event.source)

    def _on_prompts(self, event: Any) -> None:
        layer = event.source
        if isinstance(layer, Shapes):
            if len(layer.features) > layer.nshapes:
                # napari forgets the row of a path that was too short to be kept
                layer.features = layer.features.iloc[: layer.nshapes]
                return  # the new features have told of it
            before = self._num_shapes.get(layer, 0)
            self._num_shapes[layer] = layer.nshapes
            if str(getattr(event, "action", "")) == "added":
                for index in range(before, layer.nshapes):
                    self._events.shape_added.emit(layer, index)
        self._events.prompts_changed.emit(layer)
