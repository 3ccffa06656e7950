"""Tracks in a napari viewer; public napari API only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Tracks
from psygnal import Signal

from napari_hqsam2.plugin.layer_reading import planes_on_show
from napari_hqsam2.plugin.prompt_layers import METADATA
from napari_hqsam2.stack_files import OME_ZARR_UNITS, PixelSize

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_hqsam2.lineage.tracks import TracksData

NAME = "Tracks [{}]"


class NapariTracks:
    """A `TracksPort` over a napari viewer.

    Parameters
    ----------
    viewer
        `napari.Viewer` or `napari.components.ViewerModel`.
    """

    painted = Signal(object, tuple)

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._tracks: dict[Labels, Tracks] = {}
        """By the labels that they lie on."""
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        for layer in viewer.layers:
            self._follow(layer)

    def show_tracks(self, labels: Labels, tracks: TracksData) -> None:
        """Make or change the Tracks layer that lies on labels.

        A layer has rows; without any it is removed.
        """
        layer = self._tracks.get(labels)
        if layer is None and len(tracks.data):
            self._add(labels, tracks)
        elif layer is not None and not len(tracks.data):
            self._viewer.layers.remove(layer)
        elif layer is not None:
            layer.colormaps_dict = _colours(labels)
            layer.data = tracks.data
            layer.features = tracks.features
            layer.graph = tracks.graph

    def remove_tracks(self) -> None:
        """Remove all layers that were made."""
        for layer in list(self._tracks.values()):
            self._viewer.layers.remove(layer)

    def pixel_sizes(self, labels: Labels) -> dict[str, PixelSize]:
        """Physical size of an index step by axis letter, as the layer says."""
        letters = "TZYX"[-labels.ndim :] if labels.ndim != 3 else "TYX"
        names = map(str, labels.units)
        pairs = zip(letters, labels.scale, names, strict=True)
        return {
            letter: PixelSize(float(scale), OME_ZARR_UNITS[name])
            for letter, scale, name in pairs
            if name in OME_ZARR_UNITS
        }

    def close(self) -> None:
        """Stop listening to the viewer."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for layer in self._viewer.layers:
            if isinstance(layer, Labels):
                layer.events.paint.disconnect(self._on_paint)

    def _add(self, labels: Labels, tracks: TracksData) -> None:
        selected = self._viewer.layers.selection.active
        layer = Tracks(
            tracks.data,
            graph=tracks.graph,
            features=tracks.features,
            name=NAME.format(labels.name),
            metadata={METADATA: {}},
            colormaps_dict=_colours(labels),
            scale=labels.scale,
            translate=labels.translate,
            rotate=labels.rotate,
            shear=labels.shear,
            affine=labels.affine,
            units=labels.units,
            axis_labels=labels.axis_labels,
        )
        self._tracks[labels] = layer
        self._viewer.add_layer(layer)
        if selected is not None:
            self._viewer.layers.selection.active = selected

    def _follow(self, layer: Any) -> None:
        if isinstance(layer, Labels):
            layer.events.paint.connect(self._on_paint)

    def _on_inserted(self, event: Any) -> None:
        self._follow(event.value)

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        if isinstance(gone, Labels):
            gone.events.paint.disconnect(self._on_paint)
        pairs = self._tracks.items()
        self._tracks = {k: v for k, v in pairs if gone is not k and gone is not v}

    def _on_paint(self, event: Any) -> None:
        """Tell the planes that a stroke of the brush may have changed."""
        layer = event.source
        self.painted.emit(layer, planes_on_show(self._viewer, layer))


def _colours(labels: Labels) -> dict[str, Any]:
    """Every track in the colour of its label."""
    return {"track_id": labels.colormap}
