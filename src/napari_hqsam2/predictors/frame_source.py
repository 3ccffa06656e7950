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
from napari_hqsam2.predictors.frame_checks import choose_channels

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, AnyArray

__all__ = ["ArrayFrameSource", "FrameSource", "StackInput", "open_frames"]

ZARR_MARKERS = (".zarray", ".zgroup", "zarr.json")
NUMPY_MAGIC = b"\x93NUMPY"


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
    array = video
    if isinstance(video, str | os.PathLike):
        array = _mapped(Path(video))
    if is_array_like(array) and not isinstance(array, FrameSource):
        return ArrayFrameSource(array, axes=axes, channels=channels)  # type: ignore[arg-type]
    if axes is not None:
        msg = (
            f"axes={axes!r} can be given only for arrays; a {type(video).__name__} knows "
            "its own axes. Leave axes out."
        )
        raise StackError(msg)
    if isinstance(array, FrameSource):
        return array if channels is None else ChannelFrameSource(array, channels)
    if isinstance(array, Path):
        return 
    if isinstance(video, Sequence) and not isinstance(video, bytes):
        return _open_sequence(video, channels)
    msg = (
        f"A {type(video).__name__} is not a stack. Give an array of shape (T, H, W) or "
        "(T, H, W, C), a list of frames, a folder of images, a TIFF or a video file."
    )
    raise StackError(msg)


def _with_channels(source: FrameSource, channels: Sequence[int] | None) -> FrameSource:
    return source if channels is None else ChannelFrameSource(source, channels)


def _open_sequence(
    items: Sequence[object], channels: Sequence[int] | None
) -> FrameSource:
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        from napari_hqsam2.predictors.image_files import (  # noqa: PLC0415 - opens Pillow
            ImageFilesSource,
        )

        return _with_channels(ImageFilesSource(map(Path, items)), channels)  # type: ignore[arg-type]
    for index, item in enumerate(items):
        if not is_array_like(item):
            msg = (
                f"Frame {index} of the list is a {type(item).__name__}; a frame is an "
                "array of shape (H, W) or (H, W, C)."
            )
            raise StackError(msg)
    frames = FrameList(items)  # type: ignore[arg-type]
    letters = "TYXC"[: len(frames.shape)]
    return ArrayFrameSource(frames, axes=letters, channels=channels)


def _open_path(
    path: Path, axes: str | None, channels: Sequence[int] | None
) -> FrameSource:
    try:
        if path.is_dir():
            return _open_folder(path, axes, channels)
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        msg = f"{path} cannot be opened ({error.strerror or error}). Check the path."
        raise StackError(msg) from error
    if not head:
        msg = f"The file {path} is empty. Copy it again from its source."
        raise StackError(msg)
    if head.startswith(NUMPY_MAGIC):
        return _open_npy(path, axes, channels)
    return _open_file(path, head, channels)


def _open_folder(
    path: Path, axes: str | None, channels: Sequence[int] | None
) -> FrameSource:
    if any((path / marker).exists() for marker in ZARR_MARKERS):
        return _open_zarr(path, axes, channels)
    from napari_hqsam2.predictors.image_files import (  # noqa: PLC0415 - opens Pillow
        ImageFilesSource,
        image_files,
    )

    return _with_channels(ImageFilesSource(image_files(path)), channels)


def _open_file(path: Path, head: bytes, channels: Sequence[int] | None) -> FrameSource:
    # Each of these libraries costs time to import and may not be needed.
    from napari_hqsam2.predictors import (  # noqa: PLC0415
        image_files,
        tiff_file,
        video_file,
    )

    if tiff_file.is_tiff(head):
        return tiff_file.TiffFrameSource(path, channels=channels)
    if path.suffix.lower() in image_files.PILLOW_SUFFIXES:
        return _with_channels(image_files.ImageFilesSource([path]), channels)
    return _with_channels(video_file.VideoFrameSource(path), channels)


def _open_npy(
    path: Path, axes: str | None, channels: Sequence[int] | None
) -> FrameSource:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        msg = (
            f"{path} cannot be mapped as a NumPy array ({error}). It may be cut off, "
            "or hold Python objects; save it again with numpy.save."
        )
        raise StackError(msg) from error
    return ArrayFrameSource(array, axes=axes, channels=channels)


def _open_zarr(
    path: Path, axes: str | None, channels: Sequence[int] | None
) -> FrameSource:
    import zarr  # noqa: PLC0415 - not needed for other stacks

    try:
        node = zarr.open(path, mode="r")
    except Exception as error:  # damaged metadata fail in any way
        msg = f"{path} cannot be opened as zarr ({type(error).__name__}: {error})."
        raise StackError(msg) from error
    if isinstance(node, zarr.Array):
        return ArrayFrameSource(node, axes=axes, channels=channels)
    names = ", ".join(sorted(name for name, _ in node.arrays())) or "none"
    msg = (
        f"{path} is a zarr group; open one of its arrays by its own path. Arrays here: "
        f"{names} (of an OME-Zarr image, 0 is full size)."
    )
    raise StackError(msg)
