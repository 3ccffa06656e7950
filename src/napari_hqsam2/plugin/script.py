"""Segmentation of viewer layers for scripts: what the widget does, without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, get_args

from napari.layers import Image, Labels, Layer, Points, Shapes

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.models import ModelEngine
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.run_starter import Scope
from napari_hqsam2.plugin.state import HqMode, PluginState
from napari_hqsam2.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_hqsam2._types import CropMode, Direction, Overlap
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.predictors.tracking_config import TrackingMode

L = TypeVar("L", bound=Layer)


class RunOptions(TypedDict, total=False):
    """Keyword arguments of `segment_layers` about the run."""

    axis: str | None
    """Letter of the axis along which objects are followed; None takes the last axis
    that counts frames."""
    direction: Direction
    """"forward", "backward" or "both" (default)."""
    frames: tuple[int, int] | None
    """Half-open range along the axis; None is all of it."""
    channels: tuple[int, ...] | None
    """One to three indices along C; None takes all of up to three channels."""
    mix: tuple[Image | None, Image | None, Image | None] | None
    """Image layers shown to the model as red, green and blue, with their contrast
    limits and gamma, instead of the image alone."""
    hq_mode: HqMode
    """"add" (default), "only" or "off"."""
    one_piece: bool
    """Whether only the largest piece of each mask is kept; False by default."""
    crop: CropMode
    """Whether small objects are looked at in windows that follow them: "auto"
    (default), "off", or the side of the windows in pixels."""
    overlap: Overlap
    """"protect" (default) keeps the pixels of other labels, "overwrite" takes them.
    "ask" keeps them too: what would be taken is a question of the widget, and of
    `Session.disputes`."""
    tracking: TrackingMode
    """"exact" (default), or "local": many times faster for many small objects, with
    nearly the same masks."""
    resolution: int | None
    """Side in pixels of the square that the model sees, a multiple of 32; None is its
    own. Less is much faster and loses detail."""
    checkpoint: str | None
    """Path of a weights file for the model; None takes its own."""
    device: str
    """"auto" (default), "cuda", "mps" or "cpu"."""
    only_changed: bool
    """Whether only what changed prompts and accepted frames affect is followed again;
    False by default."""
    stop_after_empty: int | None
    """Leave an object after so many frames in a row without it; None never does."""
    object_id: int
    """Object of prompts whose layer has no feature "object_id"; 1 by default."""


@dataclass(frozen=True, slots=True)
class _Layers:
    image: Image
    points: Points | None
    shapes: Shapes | None
    labels: Labels | None


def segment_layers(
    viewer: ViewerModel,
    image: str | Image,
    *,
    points: str | Points | None = None,
    shapes: str | Shapes | None = None,
    labels: str | Labels | None = None,
    model: str = DEFAULT_MODEL,
    scope: Scope = "stack",
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> Labels:
    """Segment an image layer from prompts in a points and a shapes layer.

    The script form of the dock widget; it returns when the run is done.

    Parameters
    ----------
    viewer
        `napari.Viewer`, also with ``show=False``, or `napari.components.ViewerModel`.
    image
        Image layer or its name.
    points
        Points layer or its name: clicks. Feature "label" is "positive" or "negative",
        feature "object_id" the object. Points may have any transform.
    shapes
        Shapes layer or its name: rectangles and ellipses are boxes, polygons masks,
        lines and paths strokes of points.
    labels
        Labels layer or its name to write to; None adds a new one that lies on the
        image. Labels of other objects are not touched, unless `overlap` says so.
    model
        Name as in ``napari-hqsam2 models``.
    scope
        "stack" follows objects through the stack, "frame" segments the frame on show.
    engine
        Keeps the model between calls; a `ModelEngine` for this call if None.
    **options
        See `RunOptions`.

    Returns
    -------
    napari.layers.Labels
        The layer that was written to.

    Raises
    ------
    KeyError
        The viewer has no layer of this name.
    ValueError
        A choice is none of those that there are.
    TypeError
        A layer has another type than asked for.
    PromptError
        A prompt is missing, malformed or outside the image.
    StackError
        The image cannot be segmented, or the labels do not fit it.

    Examples
    --------
    >>> import napari
    >>> from napari_hqsam2.plugin import segment_layers
    >>> viewer = napari.Viewer(show=False)  # doctest: +SKIP
    >>> viewer.open_sample("napari-hqsam2", "nuclei_timelapse")  # doctest: +SKIP
    >>> viewer.add_points([[0, 65, 50]], name="clicks")  # doctest: +SKIP
    >>> segment_layers(viewer, "nuclei over time", points="clicks")  # doctest: +SKIP
    """
    if scope not in get_args(Scope):
        msg = f"scope={scope!r} is not one of {', '.join(get_args(Scope))}."
        raise ValueError(msg)
    chosen = _Layers(
        _find(viewer, image, Image),
        None if points is None else _find(viewer, points, Points),
        None if shapes is None else _find(viewer, shapes, Shapes),
        None if labels is None else _find(viewer, labels, Labels),
    )
    used_engine: Engine = engine or ModelEngine()
    port = NapariViewer(viewer)
    state = PluginState()
    controller = PluginController(state, port, SyncInference(), used_engine)
    try:
        _fill(state, chosen, model, options)
        run = controller.starter.start(scope)
    finally:
        controller.close(keep_model=engine is not None)
    if not isinstance(run.labels, Labels):
        msg = f"The model gave no frame for '{chosen.image.name}'; nothing was written."
        raise StackError(msg)
    return run.labels


def _fill(state: PluginState, chosen: _Layers, model: str, options: RunOptions) -> None:
    state.image = chosen.image
    state.points, state.shapes = chosen.points, chosen.shapes
    state.labels = chosen.labels
    state.model = model
    state.object_id = 1
    for name, value in options.items():
        if name not in RunOptions.__annotations__:
            known = ", ".join(RunOptions.__annotations__)
            msg = f"segment_layers() has no option {name!r}; options are {known}."
            raise TypeError(msg)
        if name == "axis":
            value = value and str(value).upper()  # noqa: PLW2901
        if name != "axis" or value is not None:
            setattr(state, name, value)


def _find(viewer: ViewerModel, layer: str | Any, kind: type[L]) -> L:
    if isinstance(layer, str):
        names = [each.name for each in viewer.layers]
        if layer not in names:
            msg = f"There is no layer {layer!r}; the viewer has {names}."
            raise KeyError(msg)
        layer = viewer.layers[layer]
    if not isinstance(layer, kind):
        msg = (
            f"'{getattr(layer, 'name', layer)}' is a {type(layer).__name__}; a layer "
            f"of type {kind.__name__} is needed here."
        )
        raise TypeError(msg)
    return layer
