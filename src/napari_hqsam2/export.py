"""Labels as OME-TIFF files and as OME-Zarr folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import zarr

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import StackError
from napari_hqsam2.files import atomic_folder, atomic_path
from napari_hqsam2.stack_files import OME_ZARR_UNITS

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

NGFF_VERSION = "0.5"
PROVENANCE_KEY = "napari-hqsam2"
"""Attribute of an OME-Zarr group with the provenance."""
SMALLEST = 512
"""Levels are added until both sides are at most this."""
CHUNK = 1024
"""Most pixels along a side of a chunk."""


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
    stack_axes = _label_axes(labels, axes)
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


def _label_axes(labels: Any, axes: str) -> StackAxes:
    stack_axes = StackAxes(axes, tuple(labels.shape))
    if not axes.endswith("YX") or "C" in axes:
        msg = f"Labels have no channels and end with Y and X, got axes={axes!r}."
        raise StackError(msg)
    return stack_axes


def write_label_zarr(
    path: str | Path,
    labels: Any,
    axes: str,
    *,
    pixel_sizes: Mapping[str, PixelSize] | None = None,
    provenance: Mapping[str, str] | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write labels as a label image of OME-Zarr 0.5, frame by frame, all or nothing.

    Every second pixel makes the next smaller level, so that no label is invented.
    Format: https://ngff.openmicroscopy.org/0.5.

    Parameters
    ----------
    path
        Folder to write. One that this function has written is replaced.
    labels
        Integer array (NumPy, Zarr, Dask) with Y and X as its last axes.
    axes
        YX, ZYX, TYX or TZYX: the order that the format asks for.
    pixel_sizes
        Physical size of an index step by axis letter.
    provenance
        Names and values that say how the labels were made, stored as the attribute
        ``napari-hqsam2``.
    names
        Of objects, by label.

    Returns
    -------
    Path
        The folder that was written.

    Raises
    ------
    StackError
        The labels are not integers, the axes are others, or the folder holds
        something else.
    """
    path, stack_axes = Path(path), _label_axes(labels, axes)
    if path.exists() and not is_label_zarr(path):
        msg = f"{path} exists and was not written by an export. Choose a new name."
        raise StackError(msg)
    dtype = np.dtype(labels.dtype)
    if axes not in {"YX", "ZYX", "TYX", "TZYX"} or dtype.kind not in "iu":
        msg = (
            "OME-Zarr holds labels of whole numbers with axes YX, ZYX, TYX or TZYX, "
            f"got {dtype} with {axes}."
        )
        raise StackError(msg)
    steps = [1]
    while max(stack_axes.hw) > SMALLEST * steps[-1]:
        steps.append(2 * steps[-1])
    with atomic_folder(path) as new:
        group = zarr.create_group(new)
        levels = [
            _new_level(group, n, stack_axes, dtype, s) for n, s in enumerate(steps)
        ]
        for position in np.ndindex(*stack_axes.leading_shape):
            frame = np.asarray(labels[position])
            for level, step in zip(levels, steps, strict=True):
                level[position] = frame[::step, ::step]
        image: Any = _multiscales(path.stem, axes, steps, pixel_sizes or {})
        properties: list[Any] = [
            {"label-value": label, "name": name}
            for label, name in sorted((names or {}).items())
        ]
        group.attrs["ome"] = {
            "version": NGFF_VERSION,
            "multiscales": [image],
            "image-label": {"properties": properties} if properties else {},
        }
        group.attrs[PROVENANCE_KEY] = dict(provenance or {})
    return path


def is_label_zarr(path: Path) -> bool:
    """Whether a folder is empty, or was written by `write_label_zarr`."""
    if not path.is_dir():
        return False
    is_zarr = (path / "zarr.json").is_file()
    if not is_zarr:
        return not any(path.iterdir())
    return PROVENANCE_KEY in zarr.open(path, mode="r").attrs


def _new_level(
    group: zarr.Group, number: int, axes: StackAxes, dtype: np.dtype[Any], step: int
) -> Any:
    hw = tuple(-(-side // step) for side in axes.hw)
    return group.create_array(
        str(number),
        shape=(*axes.leading_shape, *hw),
        chunks=(*(1 for _ in axes.leading), *(min(CHUNK, side) for side in hw)),
        dtype=dtype,
        dimension_names=[letter.lower() for letter in axes.letters],
    )


def _multiscales(
    name: str, axes: str, steps: list[int], sizes: Mapping[str, PixelSize]
) -> dict[str, Any]:
    units = {short: long for long, short in OME_ZARR_UNITS.items()}
    described = []
    for letter in axes:
        axis = {"name": letter.lower(), "type": "time" if letter == "T" else "space"}
        if letter in sizes and sizes[letter].unit in units:
            axis["unit"] = units[sizes[letter].unit]
        described.append(axis)
    datasets = []
    for number, step in enumerate(steps):
        scale = [
            (sizes[letter].value if letter in sizes else 1.0)
            * (step if letter in "YX" else 1)
            for letter in axes
        ]
        transform = {"type": "scale", "scale": scale}
        datasets.append({"path": str(number), "coordinateTransformations": [transform]})
    return {"name": name, "axes": described, "datasets": datasets}


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
