"""The napari viewer as the controller sees it; public napari API only.

Works with `napari.Viewer` and, without Qt, with `napari.components.ViewerModel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from napari.layers import Image, Labels, Layer, Points, Shapes, Tracks
from napari.utils.notifications import show_info, show_warning

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin import (
    label_layers,
    layer_reading,
    prompt_layers,
    view_layers,
)
from napari_hqsam2.plugin.layer_events import LayerEvents
from napari_hqsam2.plugin.snapshots import Companions, LayerChoice
from napari_hqsam2.plugin.viewer_port import ViewerEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from napari.components import ViewerModel

    from napari_hqsam2.plugin.label_view import LabelWrite
    from napari_hqsam2.plugin.prompt_values import DrawnItem
    from napari_hqsam2.plugin.snapshots import (
        Coordinates,
        ImageSnapshot,
        LabelsSnapshot,
        PlaceToClick,
        PointSet,
        PromptSource,
        Shape,
    )
    from napari_hqsam2.plugin.viewer_port import Colour
    from napari_hqsam2.session.model_view import ModelView
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import FrameScores

L = TypeVar("L", bound=Layer)


class NapariViewer:
    """A `ViewerPort` over a napari viewer; handles are the layers themselves.

    Parameters
    ----------
    viewer
        `napari.Viewer` or `napari.components.ViewerModel`.
    copy
        Puts a text on the clipboard; None without one.
    later
        Calls something when whoever changes the layers now is done, in this thread;
        None calls at once. A script may go through layers that it has listed before.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        copy: Callable[[str], bool] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._viewer = viewer
        self._copy = copy
        self._later = later
        self._dismissed: list[Image] = []
        """Views that are to be taken away."""
        self._events = ViewerEvents()
        self._listener = LayerEvents(viewer, self._events)

    @property
    def events(self) -> ViewerEvents:
        """Signals of the viewer."""
        return self._events

    def images(self) -> tuple[LayerChoice, ...]:
        """Image layers, the topmost first."""
        choices = self._choices(Image)
        return tuple(c for c in choices if not view_layers.is_view(c.handle))

    def mixable(self, image: Image) -> tuple[LayerChoice, ...]:
        """Layers that can be colours of one picture with an image, itself first."""
        try:
            layers = view_layers.mixable(self._viewer, image)
        except StackError:
            return ()
        return tuple(LayerChoice(layer, layer.name) for layer in layers)

    def points(self) -> tuple[LayerChoice, ...]:
        """Points layers, the topmost first."""
        return self._choices(Points)

    def shapes(self) -> tuple[LayerChoice, ...]:
        """Shapes layers, the topmost first."""
        return self._choices(Shapes)

    def labels(self) -> tuple[LayerChoice, ...]:
        """Labels layers, the topmost first."""
        return self._choices(Labels)

    def selected(self) -> Layer | None:
        """The one selected layer."""
        return layer_reading.selected_layer(self._viewer)

    def snapshot_image(self, image: Image) -> ImageSnapshot:
        """Read an image layer; raises StackError if it cannot be segmented."""
        return layer_reading.read_image(self._viewer, image)

    def snapshot_points(self, points: Points, image: Image) -> PointSet:
        """Read a points layer in the data space of an image."""
        return layer_reading.read_points(self._viewer, points, image)

    def snapshot_shapes(self, shapes: Shapes, image: Image) -> tuple[Shape, ...]:
        """Read a shapes layer in the data space of an image."""
        return layer_reading.read_shapes(self._viewer, shapes, image)

    def snapshot_labels(self, labels: Labels, image: Image) -> LabelsSnapshot:
        """Read what must be known of a labels layer before writing to it."""
        return label_layers.read_labels(self._viewer, labels, image)

    def current_position(self, image: Image) -> tuple[int, ...] | None:
        """Leading indices of the frame of an image on show; None if none is."""
        return layer_reading.read_position(self._viewer, image)

    def add_prompt_layers(
        self,
        image: Image,
        points: Points | None = None,
        shapes: Shapes | None = None,
    ) -> tuple[Points, Shapes]:
        """Add empty layers prepared for prompts, as far as there are none."""
        return prompt_layers.add_prompt_layers(self._viewer, image, points, shapes)

    def put_aside(self, layer: Layer) -> None:
        """Do not show a layer any more."""
        layer.visible = False

    def companions(self, image: Image | None) -> Companions:
        """Layers that were made for an image and are still there."""
        return Companions(
            points=self._made_for(image, Points),
            shapes=self._made_for(image, Shapes),
            labels=self._made_for(image, Labels),
        )

    def set_new_prompts(
        self, layers: Iterable[Points | Shapes], obj_id: int, *, positive: bool
    ) -> None:
        """Choose object and polarity of prompts that will be drawn in these layers."""
        for layer in layers:
            prompt_layers.set_defaults(layer, obj_id, positive=positive)

    def new_prompts(self, layer: Points | Shapes) -> tuple[int, bool] | None:
        """Object and polarity of the next prompt in a layer, if it says so."""
        return prompt_layers.read_defaults(layer)

    def set_object(self, shapes: Shapes, index: int, obj_id: int) -> None:
        """Give one shape to another object."""
        prompt_layers.set_object(shapes, index, obj_id)

    def largest_label(self, labels: Labels) -> int:
        """Largest label value in use; 0 if none, or if looking would take long."""
        return label_layers.largest_label(labels)

    def add_labels(self, image: Image, array: Any = None) -> Labels:
        """Add a labels layer that lies on an image; an empty one without an array."""
        return label_layers.add_labels(self._viewer, image, array)

    def remove_labels(self, labels: Labels) -> None:
        """Take a labels layer away, if it is there."""
        if labels in self._viewer.layers:
            self._viewer.layers.remove(labels)

    def make_room(self, labels: Labels, largest_id: int) -> str:
        """Widen the dtype of labels until it holds an id; say so, or return ""."""
        return label_layers.make_room(labels, largest_id)

    def label_array(self, labels: Labels) -> Any:
        """Array of a labels layer as it is now; for any thread."""
        return label_layers.label_array(labels)

    def write_labels(self, labels: Labels, write: LabelWrite) -> None:
        """Change labels and show it; raises StackError if they do not fit."""
        label_layers.write_pixels(labels, write)
        if self._shows(labels, write.position):
            labels.refresh(extent=False, thumbnail=False, highlight=False)

    def label_colours(
        self, labels: Labels, obj_ids: Sequence[int]
    ) -> tuple[Colour, ...]:
        """Red, green and blue of labels, 0 to 1, of hidden ones too."""
        return label_layers.colours(labels, obj_ids)

    def hide_labels(
        self, labels: Labels, hidden: Collection[int], shown: Collection[int]
    ) -> None:
        """Do not show the pixels of some objects."""
        label_layers.hide(labels, hidden, shown)

    def show_scores(
        self, labels: Labels, scores: Sequence[FrameScores], names: Mapping[int, str]
    ) -> None:
        """Put the scores of objects on the frame on show into the features."""
        label_layers.set_scores(labels, scores, names)

    def select_label(self, labels: Labels, obj_id: int) -> None:
        """Choose the label that is painted with, if the layer has room for it."""
        if labels.selected_label != obj_id and label_layers.has_room(labels, obj_id):
            labels.selected_label = obj_id

    def undo_stroke(self, labels: Labels) -> None:
        """Take back the last stroke of the brush, as napari does."""
        labels.undo()

    def redo_stroke(self, labels: Labels) -> None:
        """Make the stroke again that was taken back last."""
        labels.redo()

    def label_under_pointer(self, labels: Labels) -> int:
        """Label where the mouse is; 0 if there is none."""
        return label_layers.label_under_pointer(self._viewer, labels)

    def sources(self) -> tuple[PromptSource, ...]:
        """Layers that prompts can be taken from, the topmost first."""
        return prompt_layers.find_sources(self._viewer)

    def snapshot_source(self, layer: Points | Tracks, image: Image) -> PointSet:
        """Read seeds or tracks in the data space of an image."""
        if isinstance(layer, Tracks):
            return layer_reading.read_tracks(self._viewer, layer, image)
        return layer_reading.read_points(self._viewer, layer, image)

    def draw_points(
        self,
        points: Points,
        places: Coordinates,
        obj_ids: Sequence[int],
        positive: Sequence[bool],
    ) -> None:
        """Add (N, axes of the layer) places to a points layer made for prompts."""
        prompt_layers.add_points(points, places, obj_ids, positive)

    def flip_selected(self, points: Points) -> bool:
        """Give points that the user has selected the other polarity; were there any."""
        return prompt_layers.flip_selected(points)

    def name_objects(self, points: Points, obj_ids: Sequence[int]) -> None:
        """Say of every point of a layer which object it belongs to."""
        prompt_layers.name_objects(points, obj_ids)

    def num_prompts(self, layer: Points | Shapes) -> int:
        """Number of points or shapes in a layer."""
        return len(layer.data)

    def drawn_items(
        self, layer: Points | Shapes, indices: Sequence[int]
    ) -> tuple[DrawnItem, ...]:
        """Points or shapes of a layer, as they are."""
        return prompt_layers.read_items(layer, indices)

    def redraw(
        self, layer: Points | Shapes, gone: Sequence[int], new: Sequence[DrawnItem]
    ) -> None:
        """Take some points or shapes out of a layer, and put others in."""
        prompt_layers.redraw(layer, gone, new)

    def show_frame(self, image: Image, position: tuple[int, ...]) -> None:
        """Move the sliders to a frame of an image."""
        layer_reading.show_position(self._viewer, image, position)

    def show_view(
        self, image: Image, position: tuple[int, ...], view: ModelView
    ) -> Image:
        """Show what the model sees of a frame in a layer that lies on the image."""
        return view_layers.show(self._viewer, image, position, view)

    def hide_view(self, image: Image) -> None:
        """Take the layer of `show_view` away, if it is there."""
        self._dismiss(image, view_layers.SEEN)

    def place_to_click(self, points: Points, image: Image) -> PlaceToClick | None:
        """Where on an image a click would add a point; None if it would not."""
        return layer_reading.read_place_to_click(self._viewer, points, image)

    def show_preview(
        self,
        points: Points,
        image: Image,
        position: tuple[int, ...],
        mask: PackedMask,
        colour: Colour,
    ) -> Image:
        """Show a mask in a layer that lies on an image, right below the points."""
        return view_layers.show_preview(
            self._viewer, points, image, position, mask, colour
        )

    def hide_preview(self, image: Image) -> None:
        """Show the layer of `show_preview` no more, if it is there."""
        view_layers.hide_preview(self._viewer, image)

    def remove_preview(self, image: Image) -> None:
        """Take the layer of `show_preview` away, if it is there."""
        self._dismiss(image, view_layers.PREVIEW)

    def copy_text(self, text: str) -> bool:
        """Put a text on the clipboard; False where there is none."""
        return bool(self._copy is not None and self._copy(text))

    def finish(self, labels: Labels, provenance: dict[str, str]) -> None:
        """Show the final labels and note how they were made in their metadata."""
        labels.metadata[prompt_layers.METADATA] = {
            **labels.metadata.get(prompt_layers.METADATA, {}),
            "last_run": provenance,
        }
        labels.refresh()

    def notify(self, text: str, *, is_problem: bool = False) -> None:
        """Show a notification."""
        (show_warning if is_problem else show_info)(text)

    def show_status(self, text: str) -> None:
        """Write to the status line of the viewer."""
        self._viewer.status = text

    def close(self) -> None:
        """Stop listening to the viewer."""
        self._listener.close()
        self._remove_dismissed()

    def _dismiss(self, image: Image, kind: str) -> None:
        """Take a view away, later if somebody may be going through the layers."""
        layer = view_layers.dismiss(self._viewer, image, kind)
        if layer is not None:
            self._dismissed.append(layer)
            (self._later or _at_once)(self._remove_dismissed)

    def _remove_dismissed(self) -> None:
        dismissed, self._dismissed = self._dismissed, []
        for layer in dismissed:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _choices(self, kind: type[L]) -> tuple[LayerChoice, ...]:
        layers = (layer for layer in reversed(self._viewer.layers))
        return tuple(LayerChoice(x, x.name) for x in layers if isinstance(x, kind))

    def _made_for(self, image: Image | None, kind: type[L]) -> L | None:
        for layer in reversed(self._viewer.layers):
            is_of_image = prompt_layers.image_of(layer) is image
            if image is not None and isinstance(layer, kind) and is_of_image:
                return layer
        return None

    def _shows(self, labels: Labels, position: tuple[int, ...]) -> bool:
        """Whether a frame may be on show, so that it must be drawn again."""
        displayed = set(self._viewer.dims.displayed)
        ndim = self._viewer.dims.ndim
        shown = layer_reading.index_on_show(self._viewer, labels)
        for axis, index in enumerate(position):
            if ndim - labels.ndim + axis not in displayed and shown[axis] != index:
                return False
        return True


def _at_once(callback: Callable[[], None]) -> None:
    callback()
