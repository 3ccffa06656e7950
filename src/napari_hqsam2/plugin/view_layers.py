"""Image layers that show something exactly where it lies on an image, or could.

One is what the model sees, which others may be mixed into; another one is the mask that
a click would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_hqsam2.plugin.layer_reading import (
    layer_affine,
    read_axes,
    selected_layer,
)
from napari_hqsam2.plugin.prompt_layers import (
    image_of,
    remember,
    transform_without_channels,
)
from napari_hqsam2.plugin.transforms import LayerAffine
from napari_hqsam2.segmentation.crops import Crop

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_hqsam2._types import BoolArray
    from napari_hqsam2.plugin.viewer_port import Colour
    from napari_hqsam2.session.model_view import ModelView
    from napari_hqsam2.session.packed_masks import PackedMask

VIEW = "napari-hqsam2 view"
"""Key in the metadata of these layers; its value says what they show."""
SEEN, PREVIEW = "What the model sees", "Preview"
DISMISSED = "nothing any more"
INSIDE, BORDER = 64, 255
"""Opacities of a preview, of 255."""


def is_view(layer: Any) -> bool:
    """Whether a layer is one of these."""
    return VIEW in layer.metadata


def mixable(viewer: ViewerModel, image: Image) -> tuple[Image, ...]:
    """Layers that can be colours of one picture with an image, which comes first.

    They have its shape, no channels, and lie on it pixel on pixel. There are none if
    the image itself has channels.

    Raises
    ------
    StackError
        The axes of the image cannot be read.
    """
    if "C" in read_axes(viewer, image).stack.letters:
        return ()
    place, shape = layer_affine(viewer, image), _shape(image)
    return (
        image,
        *(
            layer
            for layer in reversed(viewer.layers)
            if isinstance(layer, Image)
            and layer is not image
            and not (layer.rgb or is_view(layer))
            and _shape(layer) == shape
            and layer_affine(viewer, layer).is_close(place, shape)
        ),
    )


def _shape(image: Image) -> tuple[int, ...]:
    """Shape of the finest level."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(length) for length in data.shape)


def show(
    viewer: ViewerModel, image: Image, position: tuple[int, ...], view: ModelView
) -> Image:
    """Show what the model sees of a frame, above the image, on that frame alone.

    Raises
    ------
    StackError
        The transform of the image cannot be copied.
    """
    return _show(viewer, SEEN, image, position, view.picture, view.crop, image)


def show_preview(
    viewer: ViewerModel,
    points: Layer,
    image: Image,
    position: tuple[int, ...],
    mask: PackedMask,
    colour: Colour,
) -> Image:
    """Show a mask on a frame, right below the points; see `show`."""
    top, left, bottom, right = mask.box
    crop = Crop(top, left, bottom - top, right - left)
    picture = _outlined(mask.part(), colour)
    layer = _show(viewer, PREVIEW, image, position, picture, crop, points)
    if not layer.visible:
        layer.visible = True
    return layer


def hide_preview(viewer: ViewerModel, image: Image) -> None:
    """Make the preview of an image invisible, if it is there."""
    layer = _view_of(viewer, image, PREVIEW)
    if layer is not None:
        layer.visible = False


def dismiss(viewer: ViewerModel, image: Image, kind: str) -> Image | None:
    """Hide a view of an image, if it is there, and use it no more; return it."""
    layer = _view_of(viewer, image, kind)
    if layer is not None:
        layer.visible = False
        layer.metadata[VIEW] = DISMISSED
    return layer


def _show(
    viewer: ViewerModel,
    kind: str,
    image: Image,
    position: tuple[int, ...],
    picture: npt.NDArray[np.uint8],
    crop: Crop,
    neighbour: Layer,
) -> Image:
    """Let the layer of a kind show a picture; a new one lies beside `neighbour`.

    That is above it if that is the image, else below.
    """
    lying = transform_without_channels(viewer, image)
    data = picture.reshape((1,) * len(position) + picture.shape)
    affine = _affine(image, position, picture.shape[:2], crop)
    layer = _view_of(viewer, image, kind)
    if layer is not None:
        layer.data = data
        layer.affine = affine
        return layer
    layer = Image(
        data,
        rgb=True,
        name=f"{kind} [{image.name}]",
        interpolation2d="nearest",
        affine=affine,
        units=lying["units"],
        axis_labels=lying["axis_labels"],
        metadata={VIEW: kind},
    )
    remember(layer, image)
    selected = selected_layer(viewer)
    viewer.add_layer(layer)
    place = viewer.layers.index(neighbour) + (neighbour is image)
    viewer.layers.move(viewer.layers.index(layer), place)
    if selected is not None:
        viewer.layers.selection.active = selected
    return layer


def _view_of(viewer: ViewerModel, image: Image, kind: str) -> Image | None:
    views = (layer for layer in viewer.layers if layer.metadata.get(VIEW) == kind)
    return next((layer for layer in views if image_of(layer) is image), None)


def _outlined(mask: BoolArray, colour: Colour) -> npt.NDArray[np.uint8]:
    """(h, w, 4) picture of a mask: its border, and faintly what is inside."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    picture = np.zeros((*mask.shape, 4), dtype=np.uint8)
    picture[mask, :3] = [round(255 * part) for part in colour]
    picture[mask, 3] = BORDER
    picture[mask & inside, 3] = INSIDE
    return picture


def _affine(
    image: Image, position: tuple[int, ...], shape: tuple[int, ...], crop: Crop
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Map from pixels of a picture of some shape to the world, (n + 1, n + 1)."""
    steps = np.array([crop.height / shape[0], crop.width / shape[1]])
    corner = np.array([crop.top, crop.left]) + (steps - 1) / 2
    ndim = len(position) + 2
    frame = LayerAffine.probe(image.data_to_world, image.ndim)
    channels = [0] * (image.ndim - ndim)
    place = frame.to_world([[*channels, *position, *corner]])[0]
    matrix = np.eye(ndim + 1)
    own = frame.matrix[-ndim:, -ndim:]
    matrix[:-1, :-1] = own * np.array([*[1.0] * len(position), *steps])
    matrix[:-1, -1] = place[-ndim:]
    return matrix
