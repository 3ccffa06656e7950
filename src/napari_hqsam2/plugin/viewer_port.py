"""What the controller needs from a viewer; a viewer of tests can offer it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from psygnal import Signal, SignalGroup

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from napari_hqsam2.plugin.label_view import LabelWrite
    from napari_hqsam2.plugin.prompt_values import DrawnItem
    from napari_hqsam2.plugin.snapshots import (
        Companions,
        Coordinates,
        Handle,
        ImageSnapshot,
        LabelsSnapshot,
        LayerChoice,
        PlaceToClick,
        PointSet,
        PromptSource,
        Shape,
    )
    from napari_hqsam2.session.model_view import ModelView
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import FrameScores

    Colour = tuple[float, float, float]


class ViewerEvents(SignalGroup):
    """What happens in the viewer."""

    layers_changed = Signal()
    """A layer came, went, moved or got another name."""
    layer_removed = Signal(object)
    """Handle of a layer that is gone."""
    data_replaced = Signal(object)
    """Handle of an image or labels layer whose whole array was replaced."""
    prompts_changed = Signal(object)
    """Handle of a points or shapes layer that was edited."""
    defaults_changed = Signal(object)
    """Handle of a points or shapes layer whose next prompt will differ."""
    shape_added = Signal(object, int)
    """Handle of a shapes layer and index of a shape that was just drawn."""
    contrast_changed = Signal(object)
    """Handle of an image layer whose contrast limits or gamma changed."""
    label_selected = Signal(object, int)
    """Handle of a labels layer, and the label that was chosen in it."""
    painted = Signal(object, int, tuple)
    """Handle of a labels layer, the label that was painted with or erased, and
    positions of the planes that may have changed."""
    frame_changed = Signal()
    """Another frame is on show."""
    pointer_moved = Signal()
    """The pointer moved over the canvas, with no button down."""
    pointer_left = Signal()
    """The pointer is not over the canvas any more."""


class ViewerPort(Protocol):
    """A viewer as the controller sees it. Handles stand for layers."""

    @property
    def events(self) -> ViewerEvents:
        """Signals of the viewer."""
        ...

    def images(self) -> tuple[LayerChoice, ...]:
        """Image layers, the topmost first."""
        ...

    def mixable(self, image: Handle) -> tuple[LayerChoice, ...]:
        """Layers that can be colours of one picture with an image, itself first."""
        ...

    def points(self) -> tuple[LayerChoice, ...]:
        """Points layers, the topmost first."""
        ...

    def shapes(self) -> tuple[LayerChoice, ...]:
        """Shapes layers, the topmost first."""
        ...

    def labels(self) -> tuple[LayerChoice, ...]:
        """Labels layers, the topmost first."""
        ...

    def selected(self) -> Handle | None:
        """The layer the user has selected, if it is one."""
        ...

    def snapshot_image(self, image: Handle) -> ImageSnapshot:
        """Read an image layer; raises StackError if it cannot be segmented."""
        ...

    def snapshot_points(self, points: Handle, image: Handle) -> PointSet:
        """Read a points layer in the data space of an image."""
        ...

    def snapshot_shapes(self, shapes: Handle, image: Handle) -> tuple[Shape, ...]:
        """Read a shapes layer in the data space of an image."""
        ...

    def snapshot_labels(self, labels: Handle, image: Handle) -> LabelsSnapshot:
        """Read what must be known of a labels layer before writing to it."""
        ...

    def current_position(self, image: Handle) -> tuple[int, ...] | None:
        """Leading indices of the frame of an image on show; None if none is."""
        ...

    def add_prompt_layers(
        self,
        image: Handle,
        points: Handle | None = None,
        shapes: Handle | None = None,
    ) -> tuple[Handle, Handle]:
        """Add empty layers prepared for prompts, as far as there are none."""
        ...

    def put_aside(self, layer: Handle) -> None:
        """Do not show a layer any more."""
        ...

    def companions(self, image: Handle | None) -> Companions:
        """Layers that were made for an image and are still there."""
        ...

    def set_new_prompts(
        self, layers: Iterable[Handle], obj_id: int, *, positive: bool
    ) -> None:
        """Choose object and polarity of prompts that will be drawn in these layers."""
        ...

    def new_prompts(self, layer: Handle) -> tuple[int, bool] | None:
        """Object and polarity of the next prompt in a layer, if it says so."""
        ...

    def set_object(self, shapes: Handle, index: int, obj_id: int) -> None:
        """Give one shape to another object."""
        ...

    def largest_label(self, labels: Handle) -> int:
        """Largest label value in use; 0 if none, or if looking would take long."""
        ...

    def add_labels(self, image: Handle, array: Any = None) -> Handle:
        """Add a labels layer that lies on an image; an empty one without an array."""
        ...

    def remove_labels(self, labels: Handle) -> None:
        """Take a labels layer away, if it is there."""
        ...

    def make_room(self, labels: Handle, largest_id: int) -> str:
        """Widen the dtype of labels until it holds an id; say so, or return ""."""
        ...

    def label_array(self, labels: Handle) -> Any:
        """Array of a labels layer as it is now; for any thread."""
        ...

    def write_labels(self, labels: Handle, write: LabelWrite) -> None:
        """Change labels and show it; raises StackError if they do not fit."""
        ...

    def label_colours(
        self, labels: Handle, obj_ids: Sequence[int]
    ) -> tuple[Colour, ...]:
        """Red, green and blue of labels, 0 to 1, of hidden ones too."""
        ...

    def hide_labels(
        self, labels: Handle, hidden: Collection[int], shown: Collection[int]
    ) -> None:
        """Do not show the pixels of some objects."""
        ...

    def show_scores(
        self,
        labels: Handle,
        scores: Sequence[FrameScores],
        names: Mapping[int, str],
    ) -> None:
        """Put the scores of objects on the frame on show into the features."""
        ...

    def select_label(self, labels: Handle, obj_id: int) -> None:
        """Choose the label that is painted with."""
        ...

    def undo_stroke(self, labels: Handle) -> None:
        """Take back the last stroke of the brush, as napari does."""
        ...

    def redo_stroke(self, labels: Handle) -> None:
        """Make the stroke again that was taken back last."""
        ...

    def label_under_pointer(self, labels: Handle) -> int:
        """Label where the mouse is; 0 if there is none."""
        ...

    def sources(self) -> tuple[PromptSource, ...]:
        """Layers that prompts can be taken from, the topmost first."""
        ...

    def snapshot_source(self, layer: Handle, image: Handle) -> PointSet:
        """Read seeds or tracks in the data space of an image."""
        ...

    def draw_points(
        self,
        points: Handle,
        places: Coordinates,
        obj_ids: Sequence[int],
        positive: Sequence[bool],
    ) -> None:
        """Add (N, axes of the layer) places to a points layer made for prompts."""
        ...

    def flip_selected(self, points: Handle) -> bool:
        """Give points that the user has selected the other polarity; were there any."""
        ...

    def name_objects(self, points: Handle, obj_ids: Sequence[int]) -> None:
        """Say of every point of a layer which object it belongs to."""
        ...

    def num_prompts(self, layer: Handle) -> int:
        """Number of points or shapes in a layer."""
        ...

    def drawn_items(
        self, layer: Handle, indices: Sequence[int]
    ) -> tuple[DrawnItem, ...]:
        """Points or shapes of a layer, as they are."""
        ...

    def redraw(
        self, layer: Handle, gone: Sequence[int], new: Sequence[DrawnItem]
    ) -> None:
        """Take some points or shapes out of a layer, and put others in."""
        ...

    def show_frame(self, image: Handle, position: tuple[int, ...]) -> None:
        """Move the sliders to a frame of an image."""
        ...

    def show_view(
        self, image: Handle, position: tuple[int, ...], view: ModelView
    ) -> Handle:
        """Show what the model sees of a frame in a layer that lies on the image."""
        ...

    def hide_view(self, image: Handle) -> None:
        """Take the layer of `show_view` away, if it is there."""
        ...

    def place_to_click(self, points: Handle, image: Handle) -> PlaceToClick | None:
        """Where on an image a click would add a point; None if it would not."""
        ...

    def show_preview(
        self,
        points: Handle,
        image: Handle,
        position: tuple[int, ...],
        mask: PackedMask,
        colour: Colour,
    ) -> Handle:
        """Show a mask in a layer that lies on an image, right below the points."""
        ...

    def hide_preview(self, image: Handle) -> None:
        """Show the layer of `show_preview` no more, if it is there."""
        ...

    def remove_preview(self, image: Handle) -> None:
        """Take the layer of `show_preview` away, if it is there."""
        ...

    def copy_text(self, text: str) -> bool:
        """Put a text on the clipboard; False where there is none."""
        ...

    def finish(self, labels: Handle, provenance: dict[str, str]) -> None:
        """Show the final labels and note how they were made in their metadata."""
        ...

    def notify(self, text: str, *, is_problem: bool = False) -> None:
        """Tell the user something that must not be overlooked."""
        ...

    def show_status(self, text: str) -> None:
        """Write to the status line of the viewer."""
        ...

    def close(self) -> None:
        """Stop listening to the viewer."""
        ...
