"""One way to read any stack: one frame at a time, never the whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.array_source import (
    ArrayFrameSource,
    ArrayLike,
    FrameList,
    is_array_like,
)
from napari_hqsam2.predictors.frame_checks import check_path, choose_channels

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, AnyArray

__all__ = [
    "ArrayFrameSource",
    "FrameSource",
    "PartSource",
    "StackInput",
    "open_frames",
    "read_part",
    "read_seen",
]

ZARR_MARKERS = (".zarray", ".zgroup", "zarr.json")


@runtime_checkable
class FrameSource(Protocol):
    """A stack that gives one frame at a time.

    Sources may be read from several threads.
    """

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        ...

    def read(self, index: int) -> AnyArray:
        """Read frame `index` (from 0) as (H, W) or (H, W, C), C up to 4, real dtype.

        The array is fresh or a read-only view. A frame that cannot be read raises a
        StackError that names it; the others stay readable.
        """
        ...


@runtime_checkable
class PartSource(Protocol):
    """A `FrameSource` that can read a part of a frame without the rest of it."""

    def read_part(self, index: int, window: tuple[slice, slice]) -> AnyArray:
        """Read rows and columns of frame `index`; otherwise as `FrameSource.read`."""
        ...


def read_part(source: FrameSource, index: int, window: tuple[slice, slice]) -> AnyArray:
    """Read a window of a frame; only that, if the source can.

    Parameters
    ----------
    source : FrameSource
        Where the frame is.
    index : int
        Its number, from 0.
    window : pair of slice
        Rows and columns, with a start and a stop inside the frame.

    Returns
    -------
    numpy.ndarray
        (h, w) or (h, w, C), as `FrameSource.read`.

    Raises
    ------
    StackError
        If the frame cannot be read.
    """
    if isinstance(source, PartSource):
        return source.read_part(index, window)
    return source.read(index)[window]


@runtime_checkable
class SeenSource(Protocol):
    """A `FrameSource` that need not read more than can be seen."""

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        """Read a window, or all, of frame `index` for a picture of a given side."""
        ...


def read_seen(
    source: FrameSource, index: int, window: tuple[slice, slice] | None, side: int
) -> AnyArray:
    """Read what is shown in a small picture; at a coarser resolution if there is one.

    Parameters
    ----------
    source : FrameSource
        Where the frame is.
    index : int
        Its number, from 0.
    window : pair of slice, optional
        Rows and columns that are shown, as of `read_part`; None is all of the frame.
    side : int
        Side of the square picture in pixels.

    Returns
    -------
    numpy.ndarray
        (h, w) or (h, w, C); it covers the window, whatever its height and width.

    Raises
    ------
    StackError
        If the frame cannot be read.
    """
    if isinstance(source, SeenSource):
        return source.read_seen(index, window, side)
    return source.read(index) if window is None else read_part(source, index, window)


StackInput: TypeAlias = (
    FrameSource | ArrayLike | Sequence[ArrayLike] | Sequence[str | Path] | str | Path
)
"""What `open_frames` takes."""


class ChannelFrameSource:
    """A source seen through a choice of its channels."""

    def __init__(self, source: FrameSource, channels: Sequence[int]) -> None:
        self._source = source
        shape = source.read(0).shape
        available = shape[2] if len(shape) == 3 else 1
        where = f"The {type(source).__name__}"
        self._channels = choose_channels(channels, available, where)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._source)

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self._source.hw

    def read(self, index: int) -> AnyArray:
        """Read one frame, (H, W) for one chosen channel, else (H, W, C)."""
        frame = self._source.read(index)
        if frame.ndim == 2:
            return frame
        chosen = frame[..., list(self._channels or ())]
        return chosen[..., 0] if chosen.shape[-1] == 1 else chosen


def open_frames(
    video: StackInput,
    *,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
) -> FrameSource:
    """Open a stack for reading one frame at a time.

    Parameters
    ----------
    video : array-like, FrameSource, path, or sequence of arrays or paths
        - an array (T, H, W) or (T, H, W, C): NumPy, dask, zarr, memory map;
        - a sequence of equal arrays (H, W) or (H, W, C);
        - a folder of images, taken in natural order of their names, or their paths;
        - a multi-page TIFF, a video file, a .npy file, or the folder of a zarr array;
        - a FrameSource, which is returned as it is.
    axes : str, optional
        Only for arrays: one letter per axis if their order is not (T, H, W[, C]); Y and
        X, C for channels, and one more letter for the frames, such as "TCYX".
    channels : sequence of int, optional
        One to three channel indices. Needed unless there are 1, 3 (RGB) or 4 (RGBA).

    Returns
    -------
    FrameSource
        Reads frames on demand; nothing holds the whole stack.

    Raises
    ------
    StackError
        If this is not a stack of frames; the message says why and what to do.

    Examples
    --------
    >>> frames = open_frames(np.zeros((5, 64, 80), np.uint16))
    >>> len(frames), frames.hw, frames.read(2).shape
    (5, (64, 80), (64, 80))
    """
    if isinstance(video, str | os.PathLike):
        path = Path(video)
        check_path(path)
        mapped = _mapped_array(path)
        if mapped is None:
            _refuse_axes(axes, path.name)
            return _open_images(path, channels)
        video = mapped
    if is_array_like(video) and not isinstance(video, FrameSource):
        return ArrayFrameSource(video, axes=axes, channels=channels)  # type: ignore[arg-type]
    _refuse_axes(axes, f"a {type(video).__name__}")
    if isinstance(video, FrameSource):
        return _with_channels(video, channels)
    if isinstance(video, Sequence):
        return _open_sequence(video, channels)
    msg = (
        f"A {type(video).__name__} is not a stack. Give an array of shape (T, H, W) or "
        "(T, H, W, C), a list of frames, a folder of images, a TIFF or a video file."
    )
    raise StackError(msg)


def _refuse_axes(axes: str | None, what: str) -> None:
    if axes is not None:
        msg = (
            f"axes={axes!r} can be given only for arrays; {what} has an order of its "
            "own. Leave axes out."
        )
        raise StackError(msg)


def _with_channels(source: FrameSource, channels: Sequence[int] | None) -> FrameSource:
    return source if channels is None else ChannelFrameSource(source, channels)


def _open_sequence(
    items: Sequence[object], channels: Sequence[int] | None
) -> FrameSource:
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        from napari_hqsam2.predictors import image_files  # noqa: PLC0415 - Pillow

        files = image_files.ImageFilesSource(Path(str(item)) for item in items)
        return _with_channels(files, channels)
    for index, item in enumerate(items):
        if not is_array_like(item):
            msg = (
                f"Item {index} of the list is a {type(item).__name__}; a frame is an "
                "array of shape (H, W) or (H, W, C)."
            )
            raise StackError(msg)
    frames = FrameList(items)  # type: ignore[arg-type]
    letters = "TYXC"[: len(frames.shape)]
    return ArrayFrameSource(frames, axes=letters, channels=channels)


def _mapped_array(path: Path) -> ArrayLike | None:
    """Array that a path holds, not read yet; None for images and videos."""
    if any((path / marker).exists() for marker in ZARR_MARKERS):
        return _open_zarr(path)
    if path.suffix.lower() != ".npy":
        return None
    try:
        array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        msg = (
            f"{path} cannot be mapped as a NumPy array ({error}). It may be cut off, "
            "or hold Python objects; save it again with numpy.save."
        )
        raise StackError(msg) from error
    return array


def _open_zarr(path: Path) -> ArrayLike:
    import zarr  # noqa: PLC0415 - not needed for other stacks

    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # damaged metadata fail in any way
        msg = f"{path} cannot be opened as zarr ({type(error).__name__}: {error})."
        raise StackError(msg) from error
    if isinstance(node, zarr.Array):
        return node
    names = ", ".join(sorted(name for name, _ in node.arrays())) or "none"
    msg = (
        f"{path} is a zarr group; open one of its arrays by its own path. Arrays here: "
        f"{names} (of an OME-Zarr image, 0 is full size)."
    )
    raise StackError(msg)


def _open_images(path: Path, channels: Sequence[int] | None) -> FrameSource:
    # Each of these modules opens a library that costs time and may not be needed.
    from napari_hqsam2.predictors import image_files, tiff_chain, tiff_file  # noqa: PLC0415

    try:
        if path.is_dir():
            files = image_files.image_files(path)
            return _with_channels(image_files.ImageFilesSource(files), channels)
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        msg = f"{path} cannot be opened ({error.strerror or error}). Check the path."
        raise StackError(msg) from error
    if not head:
        msg = f"The file {path} is empty. Copy it again from its source."
        raise StackError(msg)
    if tiff_chain.is_tiff(head):
        return tiff_file.TiffFrameSource(path, channels=channels)
    if path.suffix.lower() in image_files.PILLOW_SUFFIXES:
        return _with_channels(image_files.ImageFilesSource([path]), channels)
    from napari_hqsam2.predictors import video_file  # noqa: PLC0415

    return _with_channels(video_file.VideoFrameSource(path), channels)
