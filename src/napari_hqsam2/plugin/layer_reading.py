"""Reading napari layers into snapshots, all coordinates in the data of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.axis_names import NamedAxes, is_default_label, name_axes
from napari_hqsam2.plugin.prompt_features import read_object_ids, read_polarity
from napari_hqsam2.plugin.snapshots import ImageSnapshot, PlaceToClick, PointSet, Shape
from napari_hqsam2.plugin.transforms import LayerAffine, between_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Points, Shapes, Tracks

    from napari_hqsam2._types import Limits
    from napari_hqsam2.plugin.snapshots import Coordinates


def read_image(viewer: ViewerModel, image: Image) -> ImageSnapshot:
    """Read an image layer.

    Of a multiscale layer the finest level is that of all coordinates, as in napari.

    Raises
    ------
    StackError
        The axes cannot be read, or the values have no brightness.
    """
    data = image.data[0] if image.multiscale else image.data
    return ImageSnapshot(
        name=image.name,
        data=data,
        axes=read_axes(viewer, image),
        contrast_limits=_contrast_limits(image),
        gamma=1.0 if image.rgb else float(image.gamma),
        levels=tuple(image.data) if image.multiscale else (),
    )


def read_axes(viewer: ViewerModel, image: Image) -> NamedAxes:
    """Axes of an image layer: its own labels, else those of the viewer's sliders."""
    data = image.data[0] if image.multiscale else image.data
    shape = tuple(int(length) for length in data.shape)
    labels = tuple(image.axis_labels)
    sliders = tuple(viewer.dims.axis_labels)[-image.ndim :]
    are_named = len(sliders) == image.ndim and not any(map(is_default_label, sliders))
    if all(map(is_default_label, labels)) and are_named:
        labels = sliders
    return name_axes(labels, shape, rgb=bool(image.rgb))


def read_points(viewer: ViewerModel, points: Points, image: Image) -> PointSet:
    """Read a points layer; see `to_image` for the coordinates.

    Raises
    ------
    PromptError
        A feature value is not understood.
    """
    count = len(points.data)
    return PointSet(
        coordinates=to_image(viewer, points, points.data, image),
        positive=read_polarity(points.features, count, points.name),
        obj_ids=read_object_ids(points.features, count, points.name),
    )


def read_tracks(viewer: ViewerModel, tracks: Tracks, image: Image) -> PointSet:
    """Read a tracks layer as points that move; see `to_image` for the coordinates."""
    data = np.asarray(tracks.data, dtype=np.float64)
    return PointSet(
        coordinates=to_image(viewer, tracks, data[:, 1:], image),
        positive=np.ones(len(data), dtype=np.bool_),
        obj_ids=tuple(int(number) for number in data[:, 0]),
    )


def read_shapes(viewer: ViewerModel, shapes: Shapes, image: Image) -> tuple[Shape, ...]:
    """Read a shapes layer; see `to_image` for the coordinates.

    Raises
    ------
    PromptError
        A feature value is not understood.
    """
    count = len(shapes.data)
    positive = read_polarity(shapes.features, count, shapes.name)
    obj_ids = read_object_ids(shapes.features, count, shapes.name)
    return tuple(
        Shape(str(kind), to_image(viewer, shapes, vertices, image), bool(good), obj_id)  # type: ignore[arg-type]
        for vertices, kind, good, obj_id in zip(
            shapes.data, shapes.shape_type, positive, obj_ids, strict=True
        )
    )


def to_image(
    viewer: ViewerModel, layer: Layer, coordinates: Any, image: Image
) -> Coordinates:
    """Move coordinates from the data of a layer to the data of an image.

    The way leads through the world of the viewer, with the full transforms and units of
    both layers. A layer with fewer axes than the image has no say on the first ones and
    is taken to lie on the frame on show.

    Returns
    -------
    ndarray
        (N, axes of the image without channels) float64.
    """
    moved = between_layers(
        coordinates,
        layer_affine(viewer, layer),
        layer_affine(viewer, image),
        _world_on_show(viewer, max(layer.ndim, image.ndim)),
    )
    return moved[:, _num_channel_axes(viewer, image) :]


def layer_affine(viewer: ViewerModel, layer: Layer) -> LayerAffine:
    """Map from the data of a layer to the world of the viewer, units included."""
    return LayerAffine.probe(
        layer.data_to_world, layer.ndim, _unit_factors(viewer, layer)
    )


def index_on_show(viewer: ViewerModel, layer: Layer) -> tuple[int, ...]:
    """Data index of the frame of a layer on show, one per axis of the layer."""
    world = _world_on_show(viewer, layer.ndim)[-layer.ndim :]
    index = layer_affine(viewer, layer).to_data(world[np.newaxis])[0]
    return tuple(int(i) for i in np.floor(index + 0.5))


def planes_on_show(viewer: ViewerModel, labels: Labels) -> tuple[tuple[int, ...], ...]:
    """Positions of planes that a stroke of the brush may change."""
    shown = index_on_show(viewer, labels)[: labels.ndim - 2]
    whole = max(labels.n_edit_dimensions - 2, 0)
    fixed = shown[: len(shown) - whole]
    others = np.ndindex(*labels.data.shape[len(fixed) : -2])
    return tuple((*fixed, *place) for place in others)


def read_position(viewer: ViewerModel, image: Image) -> tuple[int, ...] | None:
    """Leading indices of the frame of an image on show.

    None if the canvas does not show the last two axes of the image, the sliders stand
    outside the image, or its axes cannot be read.
    """
    ndim = viewer.dims.ndim
    if set(viewer.dims.displayed) != {ndim - 2, ndim - 1}:
        return None
    try:
        stack = read_axes(viewer, image).stack
    except StackError:
        return None
    first = _num_channel_axes(viewer, image)
    position = index_on_show(viewer, image)[first : first + len(stack.leading)]
    inside = (0 <= i < n for i, n in zip(position, stack.leading_shape, strict=True))
    return position if all(inside) else None


def selected_layer(viewer: ViewerModel) -> Layer | None:
    """The one selected layer itself, where napari hands out a proxy of it."""
    active = viewer.layers.selection.active
    return next((layer for layer in viewer.layers if layer == active), None)


def read_place_to_click(
    viewer: ViewerModel, points: Points, image: Image
) -> PlaceToClick | None:
    """Where on an image a click would add a point to a layer; None if it would not."""
    is_adding = str(points.mode) == "add" and selected_layer(viewer) is points
    position = read_position(viewer, image) if is_adding else None
    if position is None:
        return None
    world = np.asarray(viewer.cursor.position, dtype=np.float64)[-image.ndim :]
    place = layer_affine(viewer, image).to_data(world[np.newaxis])[0]
    y, x = float(place[-2]), float(place[-1])
    height, width = read_axes(viewer, image).stack.hw
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        return None
    return PlaceToClick(position, (y, x))


def show_position(viewer: ViewerModel, image: Image, position: tuple[int, ...]) -> None:
    """Move the sliders of the viewer to a frame of an image."""
    first = _num_channel_axes(viewer, image)
    index = np.array(index_on_show(viewer, image), dtype=np.float64)
    index[first : first + len(position)] = position
    world = layer_affine(viewer, image).to_world(index[np.newaxis])[0]
    start = viewer.dims.ndim - image.ndim
    for axis in range(first, first + len(position)):
        viewer.dims.set_point(start + axis, world[axis])


def _num_channel_axes(viewer: ViewerModel, image: Image) -> int:
    return int(read_axes(viewer, image).stack.letters[0] == "C")


def _world_on_show(viewer: ViewerModel, ndim: int) -> Coordinates:
    """World coordinates of the sliders, at least `ndim` of them."""
    point = np.asarray(viewer.dims.point, dtype=np.float64)
    missing = max(0, ndim - len(point))
    return np.concatenate([np.zeros(missing), point])


def _unit_factors(viewer: ViewerModel, layer: Layer) -> Coordinates:
    """World units of the viewer per unit of a layer, per axis of the layer.

    napari scales layers to common units only where `dims.units` says which; older
    versions have no such attribute and show all layers as if in the same unit.
    """
    world_units = getattr(viewer.dims, "units", None)
    if world_units is None or len(world_units) < layer.ndim:
        return np.ones(layer.ndim)
    pairs = zip(layer.units, world_units[-layer.ndim :], strict=True)
    return np.array([float((1 * own).to(world).magnitude) for own, world in pairs])


def _contrast_limits(image: Image) -> Limits | None:
    if image.rgb:
        return None
    low, high = (float(limit) for limit in image.contrast_limits)
    if not high > low:
        msg = (
            f"The contrast limits of '{image.name}' are {low:g} and {high:g}; set them "
            "apart so that the image is visible."
        )
        raise StackError(msg)
    return low, high
