"""Frames of arrays that are already open: NumPy, dask, zarr, memory maps, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_hqsam2.axes import StackAxes, known_shape
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_checks import (
    COLOUR_CHANNELS,
    choose_channels,
    fail_to_read,
    frame_index,
    read_only,
    real_dtype,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2._types import HW, AnyArray


class ArrayLike(Protocol):
    """Anything indexed like a NumPy array: dask, zarr, h5py, xarray, memmap."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Element type."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Return the part that `key` selects."""
        ...


def is_array_like(value: object) -> bool:
    """Whether `value` has the shape, dtype and indexing of an array."""
    return all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))


def _last_axis_hint(shape: tuple[int, ...]) -> str:
    if shape[1] <= COLOUR_CHANNELS[-1]:
        return (
            f"If axis 1 (length {shape[1]}) holds channels, say axes='TCYX' or move it "
            "to the end with np.moveaxis(stack, 1, -1)."
        )
    return (
        "If the first two axes are T and Z, pass one of them at a time, such as "
        "stack[t], or use segment_stack(stack, axes='TZYX', axis='Z')."
    )


def _guess_axes(shape: tuple[int, ...], where: str) -> StackAxes:
    """Axes of a stack that came without axis letters: TYX or TYXC, nothing else."""
    if len(shape) == 2:
        msg = (
            f"{where} has shape {shape}, a single 2D image. Pass image[np.newaxis] for "
            "a stack of one frame, or use segment_image."
        )
        raise StackError(msg)
    if len(shape) == 3 and shape[-1] in (3, 4):
        msg = (
            f"{where} has shape {shape}, which looks like one colour image. Pass "
            "image[np.newaxis] for a stack of one frame, or say axes='TYX' if the "
            f"frames are {shape[-1]} pixels wide."
        )
        raise StackError(msg)
    if len(shape) not in (3, 4):
        msg = (
            f"{where} has {len(shape)} dimensions, shape {shape}; a stack has "
            "(T, H, W) or (T, H, W, C). Index the other axes first, such as stack[t]."
        )
        raise StackError(msg)
    return StackAxes("TYX" if len(shape) == 3 else "TYXC", shape)


class ArrayFrameSource:
    """Frames along one axis of an array, indexed one at a time.

    Nothing is read before `read`, and never more than one frame: lazy arrays stay lazy.

    Parameters
    ----------
    array : array-like
        NumPy, dask, zarr or memory-mapped array of shape (T, H, W) or (T, H, W, C).
    axes : str, optional
        One letter per axis if the order is another: Y and X, C for channels, one more
        letter for the frames, such as "TCYX" or "YXZ".
    channels : sequence of int, optional
        One to three channel indices. Needed unless there are 1, 3 (RGB) or 4 (RGBA).

    Raises
    ------
    StackError
        If shape, dtype, axes or channels do not make a stack of frames.
    """

    def __init__(
        self,
        array: ArrayLike,
        *,
        axes: str | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        self._array = array
        self._kind = getattr(array, "kind", type(array).__name__)
        self._named = f"the {self._kind} stack{getattr(array, 'place', '')}"
        self._where = f"T{self._named[1:]}"
        shape = known_shape(array.shape)
        self.dtype = real_dtype(array.dtype, self._where)
        if axes is None:
            self._axes = _guess_axes(shape, self._where)
        else:
            self._axes = StackAxes(axes.upper(), shape)
        if len(self._axes.leading) != 1:
            msg = (
                f"axes={self._axes.letters!r} ({self._axes.described}) must name one "
                "axis besides Y, X and C, the one that counts frames, and no more."
            )
            raise StackError(msg)
        self._channels = self._choose(channels)

    def _choose(self, channels: Sequence[int] | None) -> tuple[int, ...] | None:
        letters = self._axes.letters
        available = self._axes.length("C") if "C" in letters else 1
        # Four channels are RGBA only where colours stand: behind Y and X.
        free = COLOUR_CHANNELS if letters.endswith("C") else COLOUR_CHANNELS[:2]
        try:
            chosen = choose_channels(channels, available, self._where, free_choice=free)
        except StackError as error:
            if channels is None and letters == "TYXC":
                shape = self._axes.shape
                msg = f"{error} (shape {shape} read as T, H, W, C). "
                raise StackError(msg + _last_axis_hint(shape)) from None
            raise
        return chosen if "C" in letters else None

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._axes.num_frames

    def __repr__(self) -> str:
        """Show what the frames come from."""
        return f"ArrayFrameSource({self._kind}, {self._axes.described}, {self.dtype})"

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self._axes.hw

    def read(self, index: int) -> AnyArray:
        """Read one frame.

        Parameters
        ----------
        index : int
            Frame number, from 0.

        Returns
        -------
        numpy.ndarray
            Shape (H, W), or (H, W, C) with two to four channels; do not write to it.

        Raises
        ------
        StackError
            If the frame does not exist, cannot be read, or is not what the array's
            shape and dtype promise.
        """
        return self._read(index, {})

    def read_part(self, index: int, window: tuple[slice, slice]) -> AnyArray:
        """Read a window of one frame, and nothing else of it.

        Parameters
        ----------
        index : int
            Frame number, from 0.
        window : pair of slice
            Rows and columns, with a start and a stop inside the frame.

        Returns
        -------
        numpy.ndarray
            As `read`, with the height and width of the window.
        """
        return self._read(index, dict(zip("YX", window, strict=True)))

    def _read(self, index: int, window: dict[str, slice]) -> AnyArray:
        index = frame_index(index, len(self), self._where)
        channels = self._channels or (None,)
        parts = [self._part(index, channel, window) for channel in channels]
        frame = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
        return read_only(frame)

    def _part(
        self, index: int, channel: int | None, window: dict[str, slice]
    ) -> AnyArray:
        """Window of one frame, (h, w[, C]), or of one channel of it, (h, w)."""
        fixed = {self._axes.leading: index}
        if channel is not None:
            fixed["C"] = channel
        letters = self._axes.letters
        key = tuple(
            fixed.get(letter, window.get(letter, slice(None))) for letter in letters
        )
        left = "".join(letter for letter in letters if letter not in fixed)
        try:
            frame = np.asarray(self._array[key])
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a lazy array may raise anything
            fail_to_read(index, self._named, error)
        lengths = {name: part.stop - part.start for name, part in window.items()}
        shape = tuple(lengths.get(name, self._axes.length(name)) for name in left)
        self._check(frame, shape, index)
        order = [left.index(letter) for letter in "YXC" if letter in left]
        frame = frame.transpose(order)
        is_grey = frame.ndim == 3 and frame.shape[-1] == 1
        return frame[..., 0] if is_grey else frame

    def _check(self, frame: AnyArray, shape: tuple[int, ...], index: int) -> None:
        where = f"Frame {index} of {self._named}"
        if frame.shape != shape:
            msg = (
                f"{where} came with shape {frame.shape}, but the array promises "
                f"{shape}. Repair the array, or pass a list of equal frames."
            )
            raise StackError(msg)
        dtype = real_dtype(frame.dtype, where)
        if dtype.newbyteorder("=") != self.dtype.newbyteorder("="):
            msg = (
                f"{where} came with dtype {dtype}, but the array promises "
                f"{self.dtype}. Give the lazy array its true dtype, or use .astype."
            )
            raise StackError(msg)


class FrameList:
    """Equal arrays of shape (H, W) or (H, W, C) with the face of one array.

    Parameters
    ----------
    frames : sequence of array-like
        NumPy or lazy arrays; a lazy one is computed when its frame is read.

    Raises
    ------
    StackError
        If there is no frame, or the frames differ in shape or dtype.
    """

    def __init__(self, frames: Sequence[ArrayLike]) -> None:
        if not frames:
            msg = "The list of frames is empty; give at least one (H, W) array."
            raise StackError(msg)
        shapes = [tuple(frame.shape) for frame in frames]
        if len(shapes[0]) not in (2, 3):
            msg = (
                f"Frame 0 of the list has shape {shapes[0]}; a frame is (H, W) or "
                "(H, W, C). Of a multiscale image pass one level, such as data[0]."
            )
            raise StackError(msg)
        dtypes = [
            real_dtype(frame.dtype, f"Frame {index} of the list")
            for index, frame in enumerate(frames)
        ]
        for index, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
            if shape != shapes[0] or dtype != dtypes[0]:
                msg = (
                    f"Frame {index} of the list is {dtype} of shape {shape}, but frame "
                    f"0 is {dtypes[0]} of shape {shapes[0]}. All frames must be alike; "
                    "crop, pad or convert them first."
                )
                raise StackError(msg)
        self._frames = tuple(frames)
        self.shape = (len(frames), *shapes[0])
        self.dtype = dtypes[0]

    def __getitem__(self, key: tuple[Any, ...], /) -> Any:
        """Return a part of one frame; the first index of the key is its number."""
        index, *rest = key
        return self._frames[index][tuple(rest)]
