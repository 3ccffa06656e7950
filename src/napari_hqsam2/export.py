"""Labels as OME-TIFF files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import StackError
from napari_hqsam2.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.stack_files import PixelSize

BIG_TIFF_BYTES = 2**32 - 2**25
"""Above this many bytes of pixels a TIFF needs 64-bit offsets."""
OME_LENGTHS = frozenset({"m", "cm", "mm", "µm", "nm", "pm", "Å", "in", "pixel"})
OME_TIMES = frozenset({"d", "h", "min", "s", "ms", "µs", "ns"})
"""Units of OME-XML; a length in any other is stored as pixels, a time not at all."""
OME_INTEGERS = frozenset({"int8", "int16", "int32", "uint8", "uint16", "uint32"})


def check_tiff_name(path: Path) -> None:
    """Refuse a file name that does not end in ``.tif`` or ``.tiff``.

    Raises
    ------
    StackError
        The name has another ending.
    """
    if path.suffix.lower() not in {".tif", ".tiff"}:
        msg = (
            "Labels are written as OME-TIFF: name the file .tif or .ome.tif, not "
            f"{path.name}."
        )
        raise StackError(msg)


def write_labels(
    path: str | Path,
    labels: Any,
    axes: str,
    *,
    pixel_sizes: Mapping[str, PixelSize] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Write labels as a compressed OME-TIFF, frame by frame, all or nothing.

    Parameters
    ----------
    path
        File to write, ``.tif`` or ``.tiff``; replaced if it exists.
    labels
        Integer array (NumPy, Zarr, Dask) with Y and X as its last axes.
    axes
        Its axis letters, such as "TZYX".
    pixel_sizes
        Physical size of an index step by axis letter; Z, Y, X and T are stored.
    provenance
        Names and values that say how the labels were made, stored as an OME map
        annotation.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    StackError
        The suffix is not TIFF's, the labels are not integers of at most 32 bits, or the
        axes do not fit.
    """
    path = Path(path)
    check_tiff_name(path)
    stack_axes = StackAxes(axes, tuple(labels.shape))
    if not axes.endswith("YX") or "C" in axes:
        msg = f"Labels have no channels and end with Y and X, got axes={axes!r}."
        raise StackError(msg)
    if np.dtype(labels.dtype).name not in OME_INTEGERS:
        msg = (
            f"OME-TIFF holds labels of {', '.join(sorted(OME_INTEGERS))}, got "
            f"{labels.dtype}; convert them with labels.astype('int32')."
        )
        raise StackError(msg)
    size = stack_axes.num_frames * np.prod(stack_axes.hw) * labels.dtype.itemsize
    metadata = {
        "axes": axes,
        "Name": path.name,
        **_ome_sizes(pixel_sizes or {}),
        **({"MapAnnotation": dict(provenance)} if provenance else {}),
    }
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            _frames(labels, stack_axes),
            shape=labels.shape,
            dtype=labels.dtype,
            ome=True,
            bigtiff=bool(size > BIG_TIFF_BYTES),
            photometric="minisblack",
            compression="zlib",
            metadata=metadata,
        )
    return path


def _frames(labels: Any, axes: StackAxes) -> Iterator[LabelArray]:
    for position in np.ndindex(*axes.leading_shape):
        yield np.asarray(labels[position])


def _ome_sizes(pixel_sizes: Mapping[str, PixelSize]) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for letter in "ZYX":
        if letter in pixel_sizes:
            size = pixel_sizes[letter]
            unit = size.unit if size.unit in OME_LENGTHS else "pixel"
            sizes[f"PhysicalSize{letter}"] = size.value
            sizes[f"PhysicalSize{letter}Unit"] = unit
    time = pixel_sizes.get("T")
    if time is not None and time.unit in OME_TIMES:
        sizes["TimeIncrement"] = time.value
        sizes["TimeIncrementUnit"] = time.unit
    return sizes
