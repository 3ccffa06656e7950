"""What the plugin reads from layers: values that no later edit changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_hqsam2.predictors.multiscale import Multiscale

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_hqsam2._types import BoolArray, Limits
    from napari_hqsam2.plugin.axis_names import NamedAxes

Handle: TypeAlias = "Hashable"
"""Stands for a layer; only the viewer port looks inside."""
ShapeKind: TypeAlias = Literal["rectangle", "ellipse", "polygon", "path", "line"]
Coordinates: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class ImageSnapshot:
    """An image layer that can be segmented."""

    name: str
    data: Any = field(repr=False)
    """Array-like of the layer (NumPy, dask, zarr), never copied; the finest level if
    multiscale."""
    axes: NamedAxes
    contrast_limits: Limits | None
    """Data values shown black and white, or None for colour images."""
    gamma: float = 1.0
    """Of the layer; 1 for colour images, which napari shows without."""
    levels: tuple[Any, ...] = field(default=(), repr=False)
    """Arrays of a multiscale layer, the finest first; empty of any other."""

    @property
    def is_multiscale(self) -> bool:
        """Whether the layer has several levels."""
        return bool(self.levels)

    @property
    def stack(self) -> Any:
        """What a session is made on."""
        return Multiscale(self.levels) if self.levels else self.data


@dataclass(frozen=True, slots=True, eq=False)
class PointSet:
    """Points of one layer, in the data space of an image without its channel axis."""

    coordinates: Coordinates
    """(N, leading axes + 2) float64; the last two are y, x."""
    positive: BoolArray
    """(N,) True on the object, False on what to leave out."""
    obj_ids: tuple[int, ...]
    """One id per point; 0 if the layer does not say."""

    def __len__(self) -> int:
        return len(self.obj_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One drawn shape, in the data space of an image without its channel axis."""

    kind: ShapeKind
    vertices: Coordinates
    """(V, leading axes + 2) float64; the last two are y, x."""
    positive: bool = True
    obj_id: int = 0
    """0 if the layer does not say."""


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """A layer that can be chosen in the widget."""

    handle: Handle
    name: str


@dataclass(frozen=True, slots=True)
class PlaceToClick:
    """Where a click would put a point, in the data space of an image."""

    position: tuple[int, ...]
    """Leading indices of the frame."""
    yx: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PromptSource:
    """A layer of the user's that prompts can be taken from."""

    handle: Handle
    name: str
    kind: Literal["seeds", "tracks", "masks"]
    """Points, tracks, or labels."""


@dataclass(frozen=True, slots=True)
class Companions:
    """The newest layers that the plugin made for an image."""

    points: Handle | None = None
    shapes: Handle | None = None
    labels: Handle | None = None


@dataclass(frozen=True, slots=True)
class LabelsSnapshot:
    """What must be known of a Labels layer before writing to it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_aligned: bool
    """Whether its pixels lie exactly on those of the image."""
    obstacle: str = ""
    """Why it cannot be written to, or empty."""
