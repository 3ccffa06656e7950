"""Stacks on disk, of any kind, opened without reading their pixels."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import tifffile
import zarr

from napari_hqsam2.axes import StackAxes, resolve_axes
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_checks import check_path
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.multiscale import Multiscale
from napari_hqsam2.predictors.tiff_chain import check_page_chain
from napari_hqsam2.predictors.tiff_file import check_segments, only_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike
    from types import TracebackType

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf8", ".lsm"})
DESCRIBED = (tifffile.TiffFileError, ValueError, EOFError)
"""Errors of damaged files whose words say enough."""
TIFF_RESOLUTION_UNITS = {2: (25_400.0, "µm"), 3: (10_000.0, "µm")}
"""Micrometres in an inch and in a centimetre, by the code of TIFF's ResolutionUnit."""
OME_ZARR_UNITS = {
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
}
"""Units as OME-Zarr spells them, and as OME-TIFF does."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Physical length of one index step along an axis."""

    value: float
    unit: str = "pixel"


@dataclass(slots=True)
class StackFile:
    """An opened stack; close it, or use it in a `with` statement."""

    array: Any
    """Array-like or FrameSource that reads frame by frame."""
    axes: StackAxes
    pixel_sizes: Mapping[str, PixelSize] = field(default_factory=dict)
    """What the file says about physical sizes, by axis letter."""
    _resources: ExitStack = field(default_factory=ExitStack, repr=False)

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_stack(path: str | PathLike[str], axes: str | None = None) -> StackFile:
    """Open a stack of any supported kind.

    Parameters
    ----------
    path
        TIFF or OME-TIFF file, Zarr array or OME-Zarr group, ``.npy`` file, folder of
        images, or video file.
    axes
        Axis letters as in `resolve_axes`; None takes what the file says, else the guess
        of `resolve_axes`.

    Raises
    ------
    StackError
        There is no such file, it cannot be read, or its axes are unclear.
    """
    path = Path(path)
    if not path.exists():
        msg = f"There is no file or folder {path}."
        raise StackError(msg)
    check_path(path)
    return _opener(path)(path, axes)


def _opener(path: Path) -> Callable[[Path, str | None], StackFile]:
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return _open_tiff
    if suffix == ".npy":
        return _open_npy
    if path.is_dir() and (path.suffix.lower() == ".zarr" or _is_zarr(path)):
        return _open_zarr
    return _open_frames


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))


def _open_frames(path: Path, axes: str | None) -> StackFile:
    source = open_frames(path)
    frame = source.read(0)
    letters = axes or ("TYX" if frame.ndim == 2 else "TYXC")
    return StackFile(source, StackAxes(letters.upper(), (len(source), *frame.shape)))


def _open_npy(path: Path, axes: str | None) -> StackFile:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        msg = f"{path.name} is not a NumPy array of numbers: {error}"
        raise StackError(msg) from error
    return StackFile(array, resolve_axes(array.shape, axes))


def _open_tiff(path: Path, axes: str | None) -> StackFile:
    with ExitStack() as resources:
        check_page_chain(path)
        try:
            tiff = resources.enter_context(tifffile.TiffFile(path))
            series = only_series(tiff, path)
            check_segments(series.keyframe)
            store = resources.enter_context(series.aszarr(level=0))
            array = zarr.open_array(store, mode="r")
        except (StackError, PermissionError):
            raise
        except Exception as error:  # a damaged file fails in any way
            kind = "" if isinstance(error, DESCRIBED) else f"{type(error).__name__}: "
            msg = (
                f"{path.name} cannot be read as TIFF: {kind}{error}. It may be "
                "damaged; copy it again, or write it again from its source."
            )
            raise StackError(msg) from error
        stack_axes = resolve_axes(array.shape, axes or _tiff_letters(series.axes))
        sizes = _tiff_pixel_sizes(tiff)
        stack = StackFile(array, stack_axes, sizes, resources.pop_all())
    return stack


def _tiff_letters(letters: str) -> str | None:
    """Axes as the file names them, colour samples as C; None if it does not say."""
    if "C" not in letters:
        letters = letters.replace("S", "C")
    is_known = not set(letters) & set("QIS") and len(set(letters)) == len(letters)
    return letters if is_known else None


def _tiff_pixel_sizes(tiff: tifffile.TiffFile) -> dict[str, PixelSize]:
    if tiff.ome_metadata:
        return _ome_pixel_sizes(tiff.ome_metadata)
    sizes = _resolution_pixel_sizes(tiff)
    imagej = tiff.imagej_metadata or {}
    unit = str(imagej.get("unit", "pixel")).replace("\\u00B5m", "µm")
    unit = "µm" if unit in {"micron", "um"} else unit
    if imagej:
        sizes = {letter: PixelSize(size.value, unit) for letter, size in sizes.items()}
    if "spacing" in imagej:
        sizes["Z"] = PixelSize(float(imagej["spacing"]), unit)
    if imagej.get("finterval"):
        sizes["T"] = PixelSize(float(imagej["finterval"]), imagej.get("tunit", "s"))
    return sizes


def _resolution_pixel_sizes(tiff: tifffile.TiffFile) -> dict[str, PixelSize]:
    tags = tiff.pages.first.tags
    code = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    length, unit = TIFF_RESOLUTION_UNITS.get(code, (1.0, "pixel"))
    if unit != "pixel" and not tiff.is_imagej:
        # dots per inch of scanners and drawing programs say nothing about a specimen
        return {}
    sizes = {}
    for letter in "YX":
        tag = tags.get(f"{letter}Resolution")
        numerator, denominator = tag.value if tag else (0, 1)
        if numerator and denominator:
            sizes[letter] = PixelSize(length * denominator / numerator, unit)
    return sizes


def _ome_pixel_sizes(xml: str) -> dict[str, PixelSize]:
    image = tifffile.xml2dict(xml)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    sizes = {
        letter: PixelSize(
            float(pixels[f"PhysicalSize{letter}"]),
            pixels.get(f"PhysicalSize{letter}Unit", "µm"),
        )
        for letter in "ZYX"
        if f"PhysicalSize{letter}" in pixels
    }
    if "TimeIncrement" in pixels:
        unit = pixels.get("TimeIncrementUnit", "s")
        sizes["T"] = PixelSize(float(pixels["TimeIncrement"]), unit)
    return sizes


def _open_zarr(path: Path, axes: str | None) -> StackFile:
    try:
        node = zarr.open(path, mode="r")
    except PermissionError:
        raise
    except Exception as error:  # damaged metadata fail in any way
        msg = f"{path.name} is not readable as Zarr ({type(error).__name__}: {error})."
        raise StackError(msg) from error
    if isinstance(node, zarr.Array):
        names = getattr(node.metadata, "dimension_names", None)
        names = names or node.attrs.get("_ARRAY_DIMENSIONS")
        letters = _zarr_letters(names or ())
        return StackFile(node, resolve_axes(node.shape, axes or letters))
    return _open_ome_zarr(node, path, axes)


def _open_ome_zarr(group: zarr.Group, path: Path, axes: str | None) -> StackFile:
    attributes: dict[str, Any] = dict(group.attrs)
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        keys = ", ".join(sorted(group.keys())) or "nothing"
        msg = (
            f"{path.name} is a Zarr group without OME-Zarr images; it holds {keys}. "
            "Give the path of one of its arrays."
        )
        raise StackError(msg)
    try:
        return _full_resolution(group, multiscales[0], axes)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, StackError):
            raise
        msg = f"The OME-Zarr metadata of {path.name} are damaged ({error!r})."
        raise StackError(msg) from error


def _full_resolution(
    group: zarr.Group, image: dict[str, Any], axes: str | None
) -> StackFile:
    level = image["datasets"][0]
    array = group[level["path"]]
    if not isinstance(array, zarr.Array):
        msg = f"{level['path']} is not an array"
        raise TypeError(msg)
    described = [
        axis if isinstance(axis, dict) else {"name": axis} for axis in image["axes"]
    ]
    letters = _zarr_letters([axis["name"] for axis in described])
    sizes = {}
    for transform in level.get("coordinateTransformations", ()):
        if letters and transform["type"] == "scale":
            for letter, axis, value in zip(
                letters, described, transform["scale"], strict=True
            ):
                unit = str(axis.get("unit", "pixel"))
                sizes[letter] = PixelSize(float(value), OME_ZARR_UNITS.get(unit, unit))
    levels = [array, *_coarser(group, image["datasets"][1:], array)]
    stack = array if len(levels) == 1 else Multiscale(levels)
    return StackFile(stack, resolve_axes(array.shape, axes or letters), sizes)


def _coarser(
    group: zarr.Group, datasets: list[dict[str, Any]], finest: zarr.Array[Any]
) -> Iterator[zarr.Array[Any]]:
    """Further levels of an image; one that is missing or does not fit is left out."""
    last = finest
    for level in datasets:
        array = group.get(level["path"])
        if (
            isinstance(array, zarr.Array)
            and array.ndim == last.ndim
            and array.dtype == last.dtype
            and all(map(int.__le__, array.shape, last.shape))
        ):
            last = array
            yield array


def _zarr_letters(names: Any) -> str | None:
    letters = [str(name).upper() for name in names]
    is_known = bool(letters) and all(len(letter) == 1 for letter in letters)
    return "".join(letters) if is_known else None
