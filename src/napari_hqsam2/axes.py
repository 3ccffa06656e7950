"""Axis letters of a stack: what each axis is, and which ones count frames."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hqsam2._types import HW

GUESSES = {2: "YX", 3: "TYX", 4: "TZYX"}
"""Axes taken for a stack of so many dimensions when none are given."""


@dataclass(frozen=True, slots=True)
class StackAxes:
    """Axis letters of an array and their lengths, checked."""

    letters: str
    """One upper-case letter per axis, such as "TZYX" or "TYXC" (C holds channels)."""
    shape: tuple[int, ...]
    """Length of each axis, in the order of `letters`."""

    def __post_init__(self) -> None:
        letters, shape = self.letters, self.shape
        if len(letters) != len(shape):
            msg = (
                f"axes={letters!r} names {len(letters)} axes but the array has "
                f"{len(shape)}: shape {shape}. Give one letter per axis, such as "
                f"{GUESSES.get(len(shape), 'TZCYX')!r}."
            )
            raise StackError(msg)
        if not (letters.isascii() and letters.isalpha() and letters.isupper()):
            msg = f"axes={letters!r} must be upper-case letters only, such as 'TZYX'."
            raise StackError(msg)
        if len(set(letters)) != len(letters):
            msg = f"axes={letters!r} names an axis twice; every letter must be unique."
            raise StackError(msg)
        if "Y" not in letters or "X" not in letters:
            msg = f"axes={letters!r} must hold Y and X, the axes of one frame."
            raise StackError(msg)
        if 0 in shape:
            msg = f"The array is empty: {self.described}. There is nothing to segment."
            raise StackError(msg)

    @property
    def leading(self) -> str:
        """Letters of the axes that count frames, in order: all but Y, X and C."""
        return "".join(letter for letter in self.letters if letter not in "YXC")

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """Lengths of the leading axes."""
        return tuple(self.length(letter) for letter in self.leading)

    @property
    def hw(self) -> HW:
        """Height and width of one frame."""
        return self.length("Y"), self.length("X")

    @property
    def labels_shape(self) -> tuple[int, ...]:
        """Shape of labels for the stack: leading axes, then Y and X; no channels."""
        return (*self.leading_shape, *self.hw)

    @property
    def labels_letters(self) -> str:
        """Axis letters of labels for the stack."""
        return f"{self.leading}YX"

    @property
    def num_frames(self) -> int:
        """Number of frames in the whole stack."""
        return math.prod(self.leading_shape)

    @property
    def described(self) -> str:
        """Letters with lengths, for messages: "T=5, Y=64, X=64"."""
        pairs = zip(self.letters, self.shape, strict=True)
        return ", ".join(f"{letter}={length}" for letter, length in pairs)

    def length(self, letter: str) -> int:
        """Length of the axis called `letter`."""
        return self.shape[self.letters.index(letter)]

    def where(self, position: tuple[int, ...]) -> str:
        """Words for a frame, for messages: "T=3, Z=7"."""
        pairs = zip(self.leading, position, strict=True)
        return ", ".join(f"{letter}={index}" for letter, index in pairs)

    def propagation_axis(self, axis: str | None = None) -> str:
        """Letter of the axis along which objects are followed.

        Parameters
        ----------
        axis
            One of the leading letters; None takes the last leading axis that is longer
            than one frame (Z of TZYX), or the last leading axis if all have length one.

        Raises
        ------
        StackError
            The stack has no such axis, or no leading axis at all.
        """
        leading = self.leading
        if not leading:
            msg = (
                f"{self.letters} ({self.described}) is a single frame; there is no "
                "axis to follow objects along. Use segment_image for it."
            )
            raise StackError(msg)
        if axis is None:
            long = [letter for letter in leading if self.length(letter) > 1]
            return (long or list(leading))[-1]
        if len(axis) != 1 or axis.upper() not in leading:
            msg = (
                f"axis={axis!r} is not an axis to follow objects along; this stack has "
                f"{self.described}, so choose one of {', '.join(leading)}."
            )
            raise StackError(msg)
        return axis.upper()


def known_shape(shape: Iterable[int]) -> tuple[int, ...]:
    """Return a shape as plain integers.

    Raises
    ------
    StackError
        If a length is not known yet, as in a Dask array behind a boolean index.
    """
    lengths = tuple(shape)
    try:
        return tuple(map(operator.index, lengths))
    except TypeError as error:
        msg = (
            f"The array has shape {lengths}; every length must be known. Of a Dask "
            "array call compute_chunk_sizes() first."
        )
        raise StackError(msg) from error


def resolve_axes(shape: tuple[int, ...], axes: str | None = None) -> StackAxes:
    """Name the axes of an array of this shape.

    Parameters
    ----------
    shape
        Shape of the array.
    axes
        One letter per axis: Y and X once each, C for channels, any other letter for an
        axis that counts frames (T time, Z depth, P position, ...). None guesses by the
        number of dimensions: 2 is "YX", 3 is "TYX", 4 is "TYXC" if the last axis has
        length 3 or 4 (colours), else "TZYX".

    Raises
    ------
    StackError
        The letters do not fit the shape, or no guess is safe.
    """
    shape = known_shape(shape)
    if axes is not None:
        return StackAxes(axes.upper(), shape)
    ndim = len(shape)
    has_colours = ndim >= 3 and shape[-1] in (3, 4)
    if ndim == 3 and has_colours:
        msg = (
            f"An array of shape {shape} may be one colour image or a stack of very "
            "narrow frames. Say axes='YXC' or axes='TYX'."
        )
        raise StackError(msg)
    if ndim not in GUESSES:
        msg = (
            f"Cannot tell the axes of an array of shape {shape}. Name them, such as "
            "axes='TZCYX': Y and X, C for channels, any other letter for frames."
        )
        raise StackError(msg)
    letters = "TYXC" if ndim == 4 and has_colours else GUESSES[ndim]
    return StackAxes(letters, shape)
