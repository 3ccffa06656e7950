"""An image layer with what the model sees, exactly where it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_hqsam2.plugin.prompt_layers import (
    image_of,
    remember,
    transform_without_channels,
)
from napari_hqsam2.plugin.transforms import LayerAffine

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_hqsam2.session.model_view import ModelView

VIEW = "napari-hqsam2 view"
"""Key in the metadata of these layers."""


def is_view(layer: Any) -> bool:
    """Whether a layer shows what the model sees."""
    return VIEW in layer.metadata


def show(
    viewer: ViewerModel, image: Image, position: tuple[int, ...], view: ModelView
) -> Image:
    """Show a view of a frame; the layer lies above the image, on that frame alone.

    Raises
    ------
    StackError
        The transform of the image cannot be copied.
    """
    lying = transform_without_channels(viewer, image)
    shape = (1,) * len(position) + view.picture.shape
    affine = _affine(lying, position, view)
    layer = _view_of(viewer, image)
    if layer is not None:
        layer.data = view.picture.reshape(shape)
        layer.affine = affine
        return layer
    layer = Image(
        view.picture.reshape(shape),
        rgb=True,
        name=f"What the model sees [{image.name}]",
        interpolation2d="nearest",
        affine=affine,
        units=lying["units"],
        axis_labels=lying["axis_labels"],
        metadata={VIEW: True},
    )
    remember(layer, image)
    selected = viewer.layers.selection.active
    viewer.add_layer(layer)
    viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(image) + 1)
    if selected is not None:
        viewer.layers.selection.active = selected
    return layer


def hide(viewer: ViewerModel, image: Image) -> None:
    """Take the view of an image away, if it is there."""
    layer = _view_of(viewer, image)
    if layer is not None:
        viewer.layers.remove(layer)


def _view_of(viewer: ViewerModel, image: Image) -> Image | None:
    views = (layer for layer in viewer.layers if is_view(layer))
    return next((layer for layer in views if image_of(layer) is image), None)


def _affine(
    lying: dict[str, Any], position: tuple[int, ...], view: ModelView
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Map from pixels of the picture to the world, (n + 1, n + 1)."""
    crop, (height, width) = view.crop, view.picture.shape[:2]
    steps = np.array([crop.height / height, crop.width / width])
    corner = np.array([crop.top, crop.left]) + (steps - 1) / 2
    ndim = len(position) + 2
    blank = Image(np.zeros((1,) * ndim), **lying)
    frame = LayerAffine.probe(blank.data_to_world, ndim)
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = frame.matrix * np.array([*[1.0] * len(position), *steps])
    matrix[:-1, -1] = frame.to_world([[*position, *corner]])[0]
    return matrix
