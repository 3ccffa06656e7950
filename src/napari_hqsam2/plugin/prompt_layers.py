"""Points and shapes layers prepared for prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes, Tracks

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.layer_reading import read_axes
from napari_hqsam2.plugin.prompt_features import (
    LABEL,
    NEGATIVE,
    OBJECT_ID,
    POLARITY_COLUMNS,
    POSITIVE,
)
from napari_hqsam2.plugin.prompt_values import DrawnItem
from napari_hqsam2.plugin.snapshots import PromptSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_hqsam2.plugin.snapshots import Coordinates

METADATA = "napari-hqsam2"
"""Key of the plugin's entry in the metadata of a layer."""
_MADE_FOR: WeakKeyDictionary[Layer, ref[Image]] = WeakKeyDictionary()
COLOURS = {POSITIVE: "#2fd566", NEGATIVE: "#ff4b4b"}
"""Green on the object, red off it."""
_SOURCES: dict[type[Layer], Literal["seeds", "tracks", "masks"]] = {
    Points: "seeds",
    Tracks: "tracks",
    Labels: "masks",
}
POINT_ON_SCREEN = (2, 18)
"""Least and most pixels of a point on the screen: it is seen, and hides nothing."""
POINT_FRACTION = 0.02
"""Diameter of points as a part of the longer side of the frame."""


def add_prompt_layers(
    viewer: ViewerModel,
    image: Image,
    points: Points | None = None,
    shapes: Shapes | None = None,
) -> tuple[Points, Shapes]:
    """Add what there is not yet of a points and a shapes layer that lie on an image.

    New ones are empty and carry the features that prompts are read by; new points are
    selected and ready for clicks.

    Raises
    ------
    StackError
        The image cannot be segmented.
    """
    if points is None:
        points = _new_points(viewer, image)
        viewer.add_layer(points)
        points.mode = "add"
        if shapes is not None:
            viewer.layers.move(viewer.layers.index(points), viewer.layers.index(shapes))
    if shapes is None:
        # empty shapes under points crash Mesa once images of another depth come and go
        shapes = _new_shapes(viewer, image)
        viewer.add_layer(shapes)
        shapes.mode = "add_rectangle"
    viewer.layers.selection.active = points
    return points, shapes


def _new_points(viewer: ViewerModel, image: Image) -> Points:
    transform = transform_without_channels(viewer, image)
    side = max(read_axes(viewer, image).stack.hw)
    points = Points(
        ndim=len(transform["scale"]),
        name=f"HQ-SAM2 points [{image.name}]",
        size=max(3.0, side * POINT_FRACTION),
        canvas_size_limits=POINT_ON_SCREEN,
        border_color="white",
        features=_empty_features(),
        feature_defaults=_defaults(1, positive=True),
        face_color=LABEL,
        face_color_cycle=COLOURS,
        **transform,
    )
    remember(points, image)
    return points


def _new_shapes(viewer: ViewerModel, image: Image) -> Shapes:
    transform = transform_without_channels(viewer, image)
    side = max(read_axes(viewer, image).stack.hw)
    shapes = Shapes(
        ndim=len(transform["scale"]),
        name=f"HQ-SAM2 shapes [{image.name}]",
        edge_width=max(1.0, side / 256),
        face_color="transparent",
        features=_empty_features(),
        feature_defaults=_defaults(1, positive=True),
        edge_color=COLOURS[POSITIVE],
        **transform,
    )
    remember(shapes, image)
    return shapes


def flip_selected(points: Points) -> bool:
    """Give points selected with the arrow tool the other polarity; were there any.

    A point that was just clicked is selected too, but not with that tool.
    """
    selected = sorted(points.selected_data)
    if str(points.mode) != "select" or not selected or LABEL not in points.features:
        return False
    labels, symbols = list(points.features[LABEL]), [str(s) for s in points.symbol]
    for index in selected:
        is_positive = labels[index] == NEGATIVE
        labels[index] = POSITIVE if is_positive else NEGATIVE
        symbols[index] = "disc" if is_positive else "cross"
    points.features = points.features.assign(**{LABEL: labels})
    points.symbol = symbols
    return True


def name_objects(points: Points, obj_ids: Sequence[int]) -> None:
    """Say of every point which object it belongs to, and its polarity if none does."""
    features = {name: list(points.features[name]) for name in points.features}
    if not set(POLARITY_COLUMNS) & set(features):
        features[LABEL] = [POSITIVE] * len(obj_ids)
    points.features = {**features, OBJECT_ID: list(obj_ids)}


def find_sources(viewer: ViewerModel) -> tuple[PromptSource, ...]:
    """Layers that prompts can be taken from, the topmost first.

    Points and labels that the plugin made are none: they hold prompts and objects
    already. Tracks are, whoever made them.
    """
    found = []
    for layer in reversed(viewer.layers):
        kind = next((k for t, k in _SOURCES.items() if isinstance(layer, t)), None)
        if kind is not None and METADATA not in layer.metadata:
            found.append(PromptSource(layer, layer.name, kind))
    return tuple(found)


def remember(layer: Layer, image: Image) -> None:
    """Note that a layer was made for an image."""
    _MADE_FOR[layer] = ref(image)
    layer.metadata[METADATA] = {**layer.metadata.get(METADATA, {}), "image": image.name}


def image_of(layer: Layer) -> Image | None:
    """The image a layer was made for in this session, if that still exists."""
    image = _MADE_FOR.get(layer)
    return None if image is None else image()


def set_defaults(layer: Points | Shapes, obj_id: int, *, positive: bool) -> None:
    """Let new prompts in a layer belong to an object and have a polarity.

    A layer without the feature columns is left alone: it is read by other rules.
    """
    if not {LABEL, OBJECT_ID} <= set(layer.features):
        return
    defaults = _defaults(obj_id, positive=positive or isinstance(layer, Shapes))
    if read_defaults(layer) != (obj_id, defaults[LABEL] == POSITIVE):
        layer.feature_defaults = {**_as_dict(layer.feature_defaults), **defaults}
    if isinstance(layer, Points):
        with layer.block_update_properties():  # of points that are selected
            layer.current_symbol = "disc" if positive else "cross"


def read_defaults(layer: Points | Shapes) -> tuple[int, bool] | None:
    """Object and polarity of new prompts in a layer; None without these features."""
    if not {LABEL, OBJECT_ID} <= set(layer.features):
        return None
    defaults = _as_dict(layer.feature_defaults)
    return int(defaults[OBJECT_ID]), defaults[LABEL] == POSITIVE


def set_object(shapes: Shapes, index: int, obj_id: int) -> None:
    """Give one shape to another object."""
    features = {name: list(shapes.features[name]) for name in shapes.features}
    features[OBJECT_ID][index] = obj_id
    shapes.features = features


def read_items(
    layer: Points | Shapes | None, indices: Sequence[int]
) -> tuple[DrawnItem, ...]:
    """Points or shapes of a layer, as they are."""
    if layer is None or not len(indices):
        return ()
    kinds = layer.symbol if isinstance(layer, Points) else layer.shape_type
    rows = layer.features.to_dict("records") if len(layer.features.columns) else []
    return tuple(
        DrawnItem(
            np.array(layer.data[index], dtype=np.float64),
            str(getattr(kinds[index], "value", kinds[index])),
            dict(rows[index]) if rows else {},
        )
        for index in indices
    )


def redraw(
    layer: Points | Shapes, gone: Sequence[int], new: Sequence[DrawnItem]
) -> None:
    """Take some points or shapes out of a layer, and put others in."""
    defaults = _as_dict(layer.feature_defaults)
    mode = layer.mode
    if gone:
        layer.selected_data = set(gone)
        layer.remove_selected()
    first = len(layer.data)
    for item in new:
        if isinstance(layer, Points):
            layer.add(item.vertices)
        else:
            layer.add([item.vertices], shape_type=item.kind)
    layer.selected_data = set()
    if new:
        _set_features(layer, first, new)
        if isinstance(layer, Points):
            symbols = [str(getattr(s, "value", s)) for s in layer.symbol]
            layer.symbol = symbols[:first] + [item.kind for item in new]
    if defaults:
        layer.feature_defaults = defaults
    layer.mode = mode


def add_points(
    points: Points,
    places: Coordinates,
    obj_ids: Sequence[int],
    positive: Sequence[bool],
) -> None:
    """Add (N, axes of the layer) places to a points layer made for prompts."""
    features = {name: list(points.features[name]) for name in points.features}
    symbols = [str(getattr(s, "value", s)) for s in points.symbol]
    points.data = np.concatenate([points.data, places])
    features[OBJECT_ID] += obj_ids
    features[LABEL] += [POSITIVE if is_on else NEGATIVE for is_on in positive]
    points.features = features
    points.symbol = symbols + ["disc" if is_on else "cross" for is_on in positive]


def _set_features(layer: Points | Shapes, first: int, new: Sequence[DrawnItem]) -> None:
    """Give the last items of a layer their features."""
    features = {name: list(layer.features[name]) for name in layer.features}
    for name, values in features.items():
        for index, item in enumerate(new, first):
            values[index] = item.features.get(name, values[index])
    if features:
        layer.features = features


def transform_without_channels(viewer: ViewerModel, image: Image) -> dict[str, Any]:
    """Transform of an image for layers without its channel axis, as layer arguments.

    Raises
    ------
    StackError
        The transform mixes channels with other axes.
    """
    first = int(read_axes(viewer, image).stack.letters[0] == "C")
    rotate, affine = np.asarray(image.rotate), np.asarray(image.affine.affine_matrix)
    shear = _shear_matrix(image.shear, image.ndim)
    for matrix in (rotate, shear, affine[:-1, :-1]):
        if first and (np.any(matrix[0, 1:]) or np.any(matrix[1:, 0])):
            msg = (
                f"'{image.name}' is rotated or sheared along its channel axis, so no "
                "layer can lie on it. Reset the transform, or split the channels."
            )
            raise StackError(msg)
    return {
        "scale": np.asarray(image.scale)[first:],
        "translate": np.asarray(image.translate)[first:],
        "rotate": rotate[first:, first:],
        "shear": shear[first:, first:],
        "affine": affine[first:, first:],
        "units": tuple(image.units)[first:],
        "axis_labels": tuple(image.axis_labels)[first:],
    }


def _shear_matrix(shear: Any, ndim: int) -> Any:
    values = np.asarray(shear, dtype=np.float64)
    if values.ndim == 2:
        return values
    matrix = np.eye(ndim)
    matrix[np.triu_indices(ndim, k=1)] = values
    return matrix


def _empty_features() -> dict[str, Any]:
    return {LABEL: np.empty(0, dtype=object), OBJECT_ID: np.empty(0, dtype=np.int64)}


def _defaults(obj_id: int, *, positive: bool) -> dict[str, Any]:
    return {LABEL: POSITIVE if positive else NEGATIVE, OBJECT_ID: obj_id}


def _as_dict(table: Any) -> dict[str, Any]:
    return {name: table[name][0] for name in table}
