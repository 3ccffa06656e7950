"""Tracked labels to every format, by its name."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from napari_hqsam2.errors import LineageError
from napari_hqsam2.export import is_label_zarr, write_label_zarr, write_labels
from napari_hqsam2.lineage.content import TrackedLabels, check_folder
from napari_hqsam2.lineage.ctc import is_ctc, read_ctc, write_ctc
from napari_hqsam2.lineage.geff_graphs import write_geff
from napari_hqsam2.lineage.tables import write_csv
from napari_hqsam2.stack_files import open_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

ExportFormat: TypeAlias = Literal[
    "ctc", "ctc-truth", "geff", "csv", "ome-tiff", "ome-zarr"
]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
SUFFIXES: dict[str, ExportFormat] = {
    ".geff": "geff",
    ".csv": "csv",
    ".tif": "ome-tiff",
    ".tiff": "ome-tiff",
    ".zarr": "ome-zarr",
}
"""Format of a name that says it."""


def export_format(path: Path) -> ExportFormat:
    """Format that the name of a file or folder stands for; without ending, CTC.

    Raises
    ------
    LineageError
        The ending is none of those known.
    """
    suffix = path.suffix.lower()
    if not suffix:
        return "ctc"
    if suffix not in SUFFIXES:
        msg = (
            f"The ending of {path.name} stands for no format; use one of "
            f"{', '.join(SUFFIXES)}, none for a CTC folder, or name the format: "
            f"{', '.join(FORMATS)}."
        )
        raise LineageError(msg)
    return SUFFIXES[suffix]


def export_labels(
    path: str | PathLike[str],
    content: TrackedLabels,
    to: ExportFormat | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write tracked labels in a format, all or nothing.

    Parameters
    ----------
    path
        File (csv, ome-tiff) or folder (ctc, geff, ome-zarr). A file that exists is
        replaced.
    content
        What to write; see `TrackedLabels`.
    to
        Format; None is as the ending says.
    overwrite
        Also replace a folder, if it holds an earlier export of the same kind.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    LineageError
        The format cannot hold it, divisions are impossible, or the folder is in use.
    StackError
        Labels or axes do not fit the format.
    """
    path = Path(path)
    chosen = to or export_format(path)
    if chosen in ("ctc", "ctc-truth"):
        is_truth = chosen == "ctc-truth"
        return write_ctc(path, content, as_truth=is_truth, overwrite=overwrite)
    if chosen == "geff":
        return write_geff(path, content, overwrite=overwrite)
    if chosen == "csv":
        return write_csv(path, content)
    if chosen == "ome-tiff":
        return write_labels(
            path,
            content.labels,
            content.axes,
            pixel_sizes=content.pixel_sizes,
            provenance=content.provenance,
        )
    if chosen == "ome-zarr":
        return _write_zarr(path, content, overwrite=overwrite)
    msg = f"{chosen!r} is no format; choose one of {', '.join(FORMATS)}."
    raise LineageError(msg)


def _write_zarr(path: Path, content: TrackedLabels, *, overwrite: bool) -> Path:
    is_earlier = is_label_zarr(path)
    check_folder(path, "OME-Zarr", is_earlier=is_earlier, overwrite=overwrite)
    return write_label_zarr(
        path,
        content.labels,
        content.axes,
        pixel_sizes=content.pixel_sizes,
        provenance=content.provenance,
        names=content.names,
    )


@contextmanager
def open_labels(path: Path, axes: str | None = None) -> Iterator[TrackedLabels]:
    """Labels of a file or folder, read when needed, for as long as the block lasts.

    Parameters
    ----------
    path
        CTC folder, or labels of any kind that `open_stack` reads.
    axes
        Of the labels; None is what the file says.

    Raises
    ------
    LineageError
        They are no whole numbers, or a CTC folder that does not fit together.
    StackError
        They cannot be read.
    """
    if is_ctc(path):
        yield read_ctc(path)
        return
    with open_stack(path, axes) as stack:
        if np.dtype(stack.array.dtype).kind not in "iu":
            msg = (
                f"{path.name} is {stack.array.dtype}; labels are whole numbers, one "
                "for each object and 0 for the background."
            )
            raise LineageError(msg)
        yield TrackedLabels(
            labels=stack.array, axes=stack.axes.letters, pixel_sizes=stack.pixel_sizes
        )
