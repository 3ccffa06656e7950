"""Tracked labels with all that files can tell about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.divisions import Lineage
from napari_hqsam2.lineage.measuring import ObjectTable, check_letters, measure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.stack_files import PixelSize


@dataclass(frozen=True, slots=True)
class FrameNotes:
    """What a session knows of an object at one time, all depths together."""

    object_score: float | None = None
    """Logit that it is in view, the mean over depths."""
    iou_score: float | None = None
    """IoU with the truth as the model predicts it, the mean over depths."""
    num_prompts: int = 0
    """Points, boxes and masks."""
    num_locked: int = 0
    """Planes that are locked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedLabels:
    """Labels, who comes from whom, and how it was made.

    Raises
    ------
    LineageError
        The axes are not YX, ZYX, TYX or TZYX, in any order that ends with YX.
    StackError
        They do not fit the shape.
    """

    labels: Any
    """Integer array (NumPy, Zarr, Dask, files), read a frame at a time; 0 is
    background."""
    axes: str
    divisions: tuple[Division, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    """For people, by object."""
    notes: Mapping[tuple[int, int], FrameNotes] = field(default_factory=dict)
    """By object and time."""
    pixel_sizes: Mapping[str, PixelSize] = field(default_factory=dict)
    """Physical size of an index step by axis letter."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Names and values that say how the labels were made."""

    def __post_init__(self) -> None:
        check_letters(self.stack_axes)

    @property
    def stack_axes(self) -> StackAxes:
        """Axes with their lengths."""
        return StackAxes(self.axes, tuple(self.labels.shape))

    @cached_property
    def table(self) -> ObjectTable:
        """All objects; measured once, which reads all frames."""
        return measure(self.labels, self.stack_axes)

    @property
    def lineage(self) -> Lineage:
        """Objects and divisions, not checked."""
        return Lineage(self.table.spans(), self.divisions)

    def name(self, obj_id: int) -> str:
        """Name of an object, or one made from its id."""
        return self.names.get(obj_id, f"object {obj_id}")


def check_folder(folder: Path, kind: str, *, is_earlier: bool, overwrite: bool) -> None:
    """Refuse to replace a folder that holds something else.

    Parameters
    ----------
    folder
        That will be written.
    kind
        What will be in it, for the message.
    is_earlier
        Whether it holds an earlier one.
    overwrite
        Whether that may be replaced.

    Raises
    ------
    LineageError
        The folder exists, and is not empty, and may not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_earlier:
        msg = (
            f"{folder} exists and was not written by an export to {kind}. Choose a new "
            "name, so that nothing in it is lost."
        )
        raise LineageError(msg)
    if not overwrite:
        msg = (
            f"{folder} exists already. Choose another name; overwrite=True, or "
            "--overwrite on the command line, replaces an earlier export."
        )
        raise LineageError(msg)
