"""Frames from image files: one file, one frame."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_checks import (
    MAX_FRAME_BYTES,
    fail_to_read,
    frame_index,
)
from napari_hqsam2.predictors.tiff_file import TIFF_SUFFIXES, TiffFrameSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_hqsam2._types import HW, AnyArray

PILLOW_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm"})
IMAGE_SUFFIXES = PILLOW_SUFFIXES | TIFF_SUFFIXES
"""File name endings, in lower case, that are taken as frames of a folder."""
ARRAY_MODES = frozenset({"1", "L", "RGB", "RGBA", "F", "I", "I;16", "I;16L", "I;16B"})
"""Pillow modes whose pixels NumPy can take as they are."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which "t2.png" comes before "t10.png"."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in parts
        if part
    )


def image_files(folder: Path) -> list[Path]:
    """Images of a folder in natural order; hidden and other files are left out.

    Raises
    ------
    StackError
        If the folder holds no image.
    """
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    if not found:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        msg = f"The folder {folder} holds no image file ({endings})."
        raise StackError(msg)
    return sorted(found, key=lambda path: (natural_key(path.name), path.name))


class ImageFilesSource:
    """Frames from image files that are opened one at a time.

    Parameters
    ----------
    paths : iterable of Path
        Files in frame order. The first one is read at once: it sets size, channels and
        dtype, and every other file must agree.

    Raises
    ------
    StackError
        If there is no file or the first one cannot be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths: Sequence[Path] = tuple(paths)
        if not self._paths:
            msg = "The list of image files is empty; give at least one."
            raise StackError(msg)
        first = self._load(0)
        self._shape = first.shape
        self.dtype = first.dtype

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._paths)

    def __repr__(self) -> str:
        """Show what the frames come from."""
        first = self._paths[0]
        return f"ImageFilesSource({len(self)} files from {first}, {self._shape})"

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self._shape[0], self._shape[1]

    def read(self, index: int) -> AnyArray:
        """Read one frame.

        Parameters
        ----------
        index : int
            Frame number, from 0.

        Returns
        -------
        numpy.ndarray
            Shape (H, W), or (H, W, C) with three or four channels.

        Raises
        ------
        StackError
            If the file cannot be read or is not like the first one.
        """
        index = frame_index(index, len(self), f"The folder {self._paths[0].parent}")
        frame = self._load(index)
        if frame.shape != self._shape or frame.dtype != self.dtype:
            msg = (
                f"Frame {index} ({self._paths[index]}) is {frame.dtype} of shape "
                f"{frame.shape}, but the first file, {self._paths[0].name}, is "
                f"{self.dtype} of shape {self._shape}. All frames must be alike; crop, "
                "pad or convert them first."
            )
            raise StackError(msg)
        return frame

    def _load(self, index: int) -> AnyArray:
        path = self._paths[index]
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _read_tiff(path, index)
        try:
            return _read_image(path)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            msg = (
                f"Frame {index} ({path}) has more pixels than Pillow allows "
                f"({Image.MAX_IMAGE_PIXELS}); it may be a decompression bomb. If you "
                "trust it, raise PIL.Image.MAX_IMAGE_PIXELS, or convert it to TIFF."
            )
            raise StackError(msg) from error
        except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
            fail_to_read(index, str(path), error)


def _read_tiff(path: Path, index: int) -> AnyArray:
    source = TiffFrameSource(path)
    if len(source) != 1:
        msg = (
            f"Frame {index} ({path}) holds {len(source)} pages. In a folder every file "
            "is one frame; open a multi-page TIFF by its own path."
        )
        raise StackError(msg)
    return source.read(0)


def _read_image(path: Path) -> AnyArray:
    with Image.open(path) as image:
        width, height = image.size
        if width * height * len(image.getbands()) * 4 > MAX_FRAME_BYTES:
            msg = f"{width} x {height} pixels are more than a frame may have"
            raise ValueError(msg)
        if image.mode in ARRAY_MODES:
            return np.array(image)
        has_colour = image.mode != "LA"
        return np.array(image.convert("RGB" if has_colour else "L"))
