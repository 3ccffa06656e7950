"""Frames from a TIFF stack, read page by page."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_checks import (
    COLOUR_CHANNELS,
    MAX_FRAME_BYTES,
    choose_channels,
    frame_index,
    real_dtype,
)
from napari_hqsam2.predictors.tiff_chain import check_page_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_hqsam2._types import HW, AnyArray

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".lsm", ".btf", ".stk"})
BOMB_RATIO = 1000
"""A page that grows by more than this when decoded, beyond `BOMB_BYTES`, is refused."""
BOMB_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class PageTable:
    """Where the pages of each frame and channel are."""

    frames: int
    channels: int
    """Channels that lie in pages of their own; 1 if none do."""
    frame_step: int
    """Pages between frames."""
    channel_step: int
    """Pages between channels."""

    def page(self, frame: int, channel: int) -> int:
        """Page number of a channel of a frame."""
        return frame * self.frame_step + channel * self.channel_step


def _page_table(series: tifffile.TiffPageSeries, path: Path) -> PageTable:
    page_ndim = series.keyframe.ndim
    leading = series.axes[: len(series.axes) - page_ndim]
    shape = series.shape[: len(leading)]
    steps = [math.prod(shape[position + 1 :]) for position in range(len(shape))]
    frame_axes = [position for position, letter in enumerate(leading) if letter != "C"]
    if len(frame_axes) > 1:
        described = ", ".join(
            f"{letter}={length}"
            for letter, length in zip(series.axes, series.shape, strict=True)
        )
        msg = (
            f"{path} has several frame axes ({described}). Open it as an array, such "
            "as tifffile.imread(path), and use segment_stack with axes and axis."
        )
        raise StackError(msg)
    channel = leading.find("C")
    return PageTable(
        frames=shape[frame_axes[0]] if frame_axes else 1,
        channels=shape[channel] if channel >= 0 else 1,
        frame_step=steps[frame_axes[0]] if frame_axes else 0,
        channel_step=steps[channel] if channel >= 0 else 0,
    )


class TiffFrameSource:
    """Frames from a multi-page TIFF: plain, ImageJ, OME, LSM, BigTIFF.

    Only the pages of the frame asked for are read, and the file is open only meanwhile.

    Parameters
    ----------
    path : Path
        The file.
    channels : sequence of int, optional
        One to three channel indices. Needed if channels lie in pages of their own and
        there are more than three, or two.

    Raises
    ------
    StackError
        If the file is damaged, cannot be understood, or is not one stack of frames.
    """

    def __init__(self, path: Path, *, channels: Sequence[int] | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        check_page_chain(path)
        try:
            with tifffile.TiffFile(path) as tiff:
                self._series = only_series(tiff, path)
                self._keyframe = self._series.keyframe
                self._page_count = len(self._series.pages)
                self._data_offset = self._series.dataoffset
        except (StackError, FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # a damaged file fails in any way
            msg = (
                f"{path} cannot be read as TIFF ({type(error).__name__}: {error}). It "
                "may be damaged; copy it again or convert it."
            )
            raise StackError(msg) from error
        self.dtype = real_dtype(self._series.dtype, str(path))
        self._check_page()
        self._pages = _page_table(self._series, path)
        self._channels = self._choose(channels)

    def _choose(self, channels: Sequence[int] | None) -> tuple[int, ...] | None:
        """Chosen channels, or None if each frame is one page that is taken whole."""
        where = str(self._path)
        if self._pages.channels > 1:
            available = self._pages.channels
            # Four pages are four stains, not red, green, blue and opacity.
            free = COLOUR_CHANNELS[:2]
            chosen = choose_channels(channels, available, where, free_choice=free)
            return chosen or tuple(range(available))
        samples = self._samples
        return choose_channels(channels, samples, where)

    @property
    def _samples(self) -> int:
        """Colour samples in one page."""
        page = self._keyframe
        return int(page.shape[page.axes.index("S")]) if "S" in page.axes else 1

    def _check_page(self) -> None:
        page = self._keyframe
        if 0 in page.shape or sorted(page.axes) not in (["X", "Y"], ["S", "X", "Y"]):
            msg = (
                f"{self._path} has pages with axes {page.axes} and shape {page.shape}; "
                "each page must be one image (Y, X), grey or in colour."
            )
            raise StackError(msg)
        if page.nbytes > MAX_FRAME_BYTES:
            msg = (
                f"{self._path} announces pages of {page.nbytes} bytes (shape "
                f"{page.shape}); more than {MAX_FRAME_BYTES} is taken for a damaged "
                "header. Crop the images or store them in tiles as zarr."
            )
            raise StackError(msg)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._pages.frames

    def __repr__(self) -> str:
        """Show what the frames come from."""
        return f"TiffFrameSource({self._path}, {len(self)} frames, {self.hw})"

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        page = self._keyframe
        height, width = (page.shape[page.axes.index(letter)] for letter in "YX")
        return int(height), int(width)

    def read(self, index: int) -> AnyArray:
        """Read one frame.

        Parameters
        ----------
        index : int
            Frame number, from 0.

        Returns
        -------
        numpy.ndarray
            Shape (H, W), or (H, W, C) with two to four channels.

        Raises
        ------
        StackError
            If the frame does not exist or one of its pages cannot be read.
        """
        index = frame_index(index, len(self), str(self._path))
        if self._pages.channels == 1:
            frame = self._read_page(self._pages.page(index, 0), index)
            chosen = list(self._channels or ())
            frame = frame[..., chosen] if chosen and frame.ndim == 3 else frame
            is_grey = frame.ndim == 3 and frame.shape[-1] == 1
            return frame[..., 0] if is_grey else frame
        parts = [
            self._read_page(self._pages.page(index, channel), index)
            for channel in self._channels or ()
        ]
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)

    def _read_page(self, page: int, index: int) -> AnyArray:
        """One page as (H, W) or (H, W, samples)."""
        where = f"Frame {index} of {self._path} (page {page})"
        try:
            if self._data_offset is not None:
                data = self._read_raw(page)
            else:
                data = self._decode(page)
        except MemoryError:
            raise
        except Exception as error:  # a damaged page fails in any way
            msg = f"{where} cannot be read ({type(error).__name__}: {error})."
            if "imagecodecs" in str(error):
                msg += " Install it with: pip install imagecodecs"
            raise StackError(msg) from error
        if data.shape != self._keyframe.shape or data.dtype != self.dtype:
            msg = (
                f"{where} is {data.dtype} of shape {data.shape}, but the first page is "
                f"{self.dtype} of shape {self._keyframe.shape}."
            )
            raise StackError(msg)
        if self._keyframe.axes == "SYX":
            data = np.moveaxis(data, 0, -1)
        return data

    def _read_raw(self, page: int) -> AnyArray:
        """Page of a series whose pixels lie uncompressed, one page after the other."""
        dtype = self.dtype.newbyteorder(self._series.keyframe.parent.byteorder)
        shape = self._keyframe.shape
        count = math.prod(shape)
        offset = (self._data_offset or 0) + page * count * dtype.itemsize
        data = np.fromfile(self._path, dtype=dtype, count=count, offset=offset)
        if data.size != count:
            msg = f"the file ends after {data.size} of {count} values"
            raise EOFError(msg)
        return data.astype(self.dtype, copy=False).reshape(shape)

    def _decode(self, number: int) -> AnyArray:
        with self._lock, _reopened(self._keyframe.parent.filehandle):
            page = self._series.pages[number]
            if page is None:
                msg = "the file lacks this page"
                raise ValueError(msg)
            # An OME series may go on in another file.
            with _reopened(page.parent.filehandle):
                check_segments(page)
                return page.asarray()


@contextlib.contextmanager
def _reopened(file: tifffile.FileHandle) -> Iterator[None]:
    """Open a file handle meanwhile, unless it is open already."""
    was_closed = file.closed
    if was_closed:
        file.open()
    try:
        yield
    finally:
        if was_closed:
            file.close()


def only_series(tiff: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """Full-size image series of a file that holds one, or equal pages as one.

    Raises
    ------
    StackError
        If there is none, or several of different kinds, or an ImageJ stack is cut off.
    """
    series = [item for item in tiff.series if not item.keyframe.is_reduced]
    _check_imagej(tiff, path)
    if len(series) == 1:
        return series[0]
    if not series:
        msg = f"{path} holds no full-size image."
        raise StackError(msg)
    shapes = {(item.shape, item.dtype, item.axes) for item in series}
    if len(shapes) == 1 and {len(item.pages) for item in series} == {1}:
        return tifffile.TiffPageSeries(
            [item.pages[0] for item in series],
            shape=(len(series), *series[0].shape),
            dtype=series[0].dtype,
            axes="I" + series[0].axes,
            kind="pages",
        )
    listed = "; ".join(f"{item.axes} {item.shape} {item.dtype}" for item in series[:5])
    msg = (
        f"{path} holds {len(series)} images of different kinds ({listed}). Save the "
        "one to segment as a file of its own, or read it into an array."
    )
    raise StackError(msg)


def _check_imagej(tiff: tifffile.TiffFile, path: Path) -> None:
    """Refuse a cut-off ImageJ stack, which would otherwise pass as its first page."""
    announced = (tiff.imagej_metadata or {}).get("images", 1)
    is_whole = any(item.kind == "imagej" for item in tiff.series)
    if not is_whole and isinstance(announced, int) and announced > len(tiff.pages):
        msg = (
            f"{path} is cut off: its ImageJ header announces {announced} images, and "
            "the file is too short for them. Copy it again."
        )
        raise StackError(msg)


def check_segments(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Check before decoding that the compressed parts of a page can be in the file.

    Raises
    ------
    ValueError, EOFError
        They cannot, or claim to hold absurdly many pixels.
    """
    size = page.parent.filehandle.size
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    stored = sum(count for _, count in segments)
    if not stored:
        msg = "it holds no pixel data"
        raise ValueError(msg)
    end = max(offset + count for offset, count in segments)
    if end > size:
        msg = f"its data end at byte {end}, but the file has {size} bytes"
        raise EOFError(msg)
    if page.nbytes > BOMB_BYTES and page.nbytes > BOMB_RATIO * stored:
        msg = f"{stored} bytes claim to hold {page.nbytes}; it may be a bomb"
        raise ValueError(msg)
