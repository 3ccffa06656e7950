"""Labels layers: made to lie on an image, and written to box by box.

What the session writes goes straight into the array, past napari's undo history: that
holds 100 strokes, all of which a run would push out. A session has its own undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.layer_reading import layer_affine, read_axes
from napari_hqsam2.plugin.prompt_layers import remember, transform_without_channels
from napari_hqsam2.plugin.snapshots import LabelsSnapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_hqsam2.plugin.label_view import LabelWrite
    from napari_hqsam2.plugin.transforms import LayerAffine
    from napari_hqsam2.session.records import FrameScores

INDEX = "index"
"""Column of features in which napari looks a label up."""
WIDER = (np.int32, np.int64)
"""Types that labels are widened to, in order."""
_COLOURS_OF: WeakKeyDictionary[Labels, Any] = WeakKeyDictionary()
"""Colours of layers some of whose labels are hidden."""
MAX_SCANNED_BYTES = 2**32
"""Larger arrays are not searched for their largest label, which takes seconds."""


def add_labels(viewer: ViewerModel, image: Image, array: Any = None) -> Labels:
    """Add a labels layer that lies on an image, with its whole transform.

    Without an array it is empty, and int32.

    Raises
    ------
    StackError
        The transform of the image cannot be copied.
    """
    if array is None:
        shape = read_axes(viewer, image).stack.labels_shape
        array = np.zeros(shape, dtype=np.int32)
    labels = Labels(
        array,
        name=f"HQ-SAM2 labels [{image.name}]",
        opacity=0.5,
        **transform_without_channels(viewer, image),
    )
    remember(labels, image)
    selected = viewer.layers.selection.active
    viewer.add_layer(labels)
    viewer.layers.move(viewer.layers.index(labels), viewer.layers.index(image) + 1)
    if selected is not None:
        viewer.layers.selection.active = selected
    return labels


def read_labels(viewer: ViewerModel, labels: Labels, image: Image) -> LabelsSnapshot:
    """Read what must be known of a labels layer before writing to it."""
    shape = tuple(int(length) for length in np.shape(label_array(labels)))
    return LabelsSnapshot(
        name=labels.name,
        shape=shape,
        dtype=np.dtype(label_array(labels).dtype),
        is_aligned=_is_aligned(viewer, labels, image),
        obstacle=_obstacle(labels),
    )


def largest_label(labels: Labels) -> int:
    """Largest label value in use; 0 for arrays not in memory, or too large to scan."""
    data = label_array(labels)
    if not isinstance(data, np.ndarray) or data.nbytes > MAX_SCANNED_BYTES:
        return 0
    return int(data.max(initial=0))


def label_under_pointer(viewer: ViewerModel, labels: Labels) -> int:
    """Label where the mouse is; 0 if there is none."""
    dims = list(viewer.dims.displayed)
    value = labels.get_value(viewer.cursor.position, dims_displayed=dims, world=True)
    value = value[1] if isinstance(value, tuple) else value
    return int(value or 0)


def has_room(labels: Labels, obj_id: int) -> bool:
    """Whether the type of labels can hold an id."""
    dtype = np.dtype(label_array(labels).dtype)
    return dtype.kind != "b" and obj_id <= np.iinfo(dtype).max


def make_room(labels: Labels, largest_id: int) -> str:
    """Widen the dtype of labels until it holds an id.

    Returns
    -------
    str
        What was done, for the user; empty if there was room.

    Raises
    ------
    StackError
        The labels are not in memory, so that their type cannot be changed.
    """
    data = label_array(labels)
    old = np.dtype(data.dtype)
    if old.kind == "b" or has_room(labels, largest_id):
        return ""
    if not isinstance(data, np.ndarray):
        msg = (
            f"'{labels.name}' holds {old} values up to {np.iinfo(old).max}, too small "
            f"for object {largest_id}, and is not in memory. Choose a new Labels layer."
        )
        raise StackError(msg)
    new = next(t for t in WIDER if largest_id <= np.iinfo(t).max)
    labels.data = data.astype(new)
    return (
        f"'{labels.name}' now holds {np.dtype(new)} values: object {largest_id} does "
        f"not fit into {old}."
    )


def label_array(labels: Labels) -> Any:
    """Array of a labels layer, at its finest level."""
    return labels.data[0] if labels.multiscale else labels.data


def write_pixels(labels: Labels, write: LabelWrite) -> None:
    """Change pixels of one frame, past napari's undo history.

    Raises
    ------
    StackError
        The labels have got another shape, or a type that cannot hold the new ones.
    """
    data = label_array(labels)
    shape = tuple(int(length) for length in np.shape(data))
    position, (rows, columns) = write.position, write.box
    inside = len(shape) == len(position) + 2 and all(
        index < length
        for index, length in zip(
            (*position, rows.stop - 1, columns.stop - 1), shape, strict=True
        )
    )
    if not inside:
        msg = (
            f"'{labels.name}' has been given other data of shape {shape} during the "
            "run. The run stopped; start it again."
        )
        raise StackError(msg)
    if isinstance(data, np.ndarray):
        write.apply(data[position])
        return
    frame = np.array(data[position])
    write.apply(frame)
    data[(*position, rows, columns)] = frame[write.box]


def colours(
    labels: Labels, obj_ids: Sequence[int]
) -> tuple[tuple[float, float, float], ...]:
    """Red, green and blue of labels, 0 to 1, of hidden ones too."""
    if not len(obj_ids):
        return ()
    colormap = _COLOURS_OF.get(labels, labels.colormap)
    rgba = np.atleast_2d(colormap.map(np.asarray(obj_ids)))
    return tuple((float(r), float(g), float(b)) for r, g, b in rgba[:, :3])


def set_scores(
    labels: Labels, scores: Sequence[FrameScores], names: Mapping[int, str]
) -> None:
    """Put scores into the features of a labels layer, one row for each object.

    napari shows them in its status line for the label under the pointer. Columns of
    others are kept where an "index" column says which label a row is of.
    """
    table: dict[str, list[Any]] = {
        INDEX: [item.obj_id for item in scores],
        "name": [names.get(item.obj_id, "") for item in scores],
        "object_score": [item.object_score for item in scores],
        "iou_score": [item.iou_score for item in scores],
        "area": [item.area for item in scores],
    }
    columns = [str(name) for name in labels.features.columns]
    others = [name for name in columns if name not in table]
    if columns and INDEX not in columns:
        return
    for name in others:
        known = dict(zip(labels.features[INDEX], labels.features[name], strict=True))
        table[name] = [known.get(obj_id) for obj_id in table[INDEX]]
    labels.features = table


def hide(labels: Labels, hidden: Collection[int], shown: Collection[int]) -> None:
    """Let some labels be transparent, while the others keep their colours.

    Parameters
    ----------
    labels
        The layer; its own colours come back when nothing is hidden.
    hidden, shown
        Objects that are not to be seen, and all others; labels that belong to no object
        are grey as long as anything is hidden.
    """
    own = _COLOURS_OF.get(labels)
    if not hidden:
        if own is not None:
            labels.colormap = _COLOURS_OF.pop(labels)
        return
    if own is None:
        own = _COLOURS_OF[labels] = labels.colormap
    named: dict[int | None, Any] = {None: (0.5, 0.5, 0.5, 1.0), 0: (0, 0, 0, 0)}
    named |= {obj_id: own.map(obj_id) for obj_id in shown}
    named |= dict.fromkeys(hidden, (0.0, 0.0, 0.0, 0.0))
    labels.colormap = DirectLabelColormap(color_dict=named)


def _obstacle(labels: Labels) -> str:
    data = labels.data
    if labels.multiscale:
        return "it is multiscale, and its levels would disagree"
    if isinstance(data, np.ndarray):
        return "" if data.flags.writeable else "its array is read-only"
    if not hasattr(data, "__setitem__") or type(data).__module__.startswith("dask"):
        return f"its data is a {type(data).__name__}, which is computed, not stored"
    return ""


def _is_aligned(viewer: ViewerModel, labels: Labels, image: Image) -> bool:
    own, other = layer_affine(viewer, labels), layer_affine(viewer, image)
    drop = image.ndim - labels.ndim
    if drop < 0:
        return False
    return own.is_close(_without_first(other, drop), np.shape(label_array(labels)))


def _without_first(affine: LayerAffine, drop: int) -> LayerAffine:
    return type(affine)(affine.matrix[drop:, drop:], affine.offset[drop:])
