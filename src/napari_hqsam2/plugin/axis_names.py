"""From a layer's axis labels to axis letters, and back to words for the interface."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.axes import GUESSES, StackAxes
from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS = {
    "time": "T",
    "timepoint": "T",
    "frame": "T",
    "frames": "T",
    "depth": "Z",
    "slice": "Z",
    "slices": "Z",
    "plane": "Z",
    "channel": "C",
    "channels": "C",
    "ch": "C",
    "row": "Y",
    "rows": "Y",
    "height": "Y",
    "column": "X",
    "columns": "X",
    "col": "X",
    "width": "X",
}
_COUNTED = {"T": "frames", "Z": "slices"}
_DEFAULT = re.compile(r"(axis )?-?\d+")
MAX_LEADING = 2
"""Most axes that may count frames: time and depth."""


@dataclass(frozen=True, slots=True)
class NamedAxes:
    """Axes of an image layer: letters for the model, words for people."""

    stack: StackAxes
    named: bool
    """Whether the letters come from the layer's axis labels, not from its shape."""

    def word(self, letter: str) -> str:
        """Name of an axis on screen: "T", or "axis 0" if nobody named it."""
        is_known = self.named or letter in "YX"
        return letter if is_known else f"axis {self.stack.letters.index(letter)}"

    def with_value(self, letter: str, value: object) -> str:
        """An axis and a number, or more: "T 3", "axis 0: 3"."""
        word = self.word(letter)
        return f"{word} {value}" if word == letter else f"{word}: {value}"

    def counted(self, letter: str) -> str:
        """What one counts along an axis: "slices" along Z, else "frames"."""
        return _COUNTED.get(letter, "frames") if self.named else "frames"

    def where(self, position: Sequence[int]) -> str:
        """Words for a frame: "T = 3, Z = 7"; "the image" if there is only one frame."""
        pairs = zip(self.stack.leading, position, strict=True)
        text = ", ".join(f"{self.word(letter)} = {index}" for letter, index in pairs)
        return text or "the image"

    @property
    def summary(self) -> str:
        """Letters with lengths: "T 28 · Y 512 · X 512"; "RGB" for colours."""
        letters, shape = self.stack.letters, self.stack.shape
        words = [self.with_value(*pair) for pair in zip(letters, shape, strict=True)]
        if letters[-1] == "C":
            words[-1] = "RGB"
        return " · ".join(words)


def is_default_label(label: str) -> bool:
    """Whether napari made up an axis label: a number, before napari 0.7 "axis -1"."""
    return _DEFAULT.fullmatch(label) is not None


def name_axes(
    labels: Sequence[str], shape: tuple[int, ...], *, rgb: bool = False
) -> NamedAxes:
    """Name the axes of an image layer.

    Parameters
    ----------
    labels
        One axis label per layer dimension, without the colour axis. napari's
        defaults mean that nobody named them.
    shape
        Shape of the data, with the colour axis last if `rgb`.
    rgb
        Whether the last axis of the data holds red, green, blue (and alpha).

    Raises
    ------
    StackError
        The labels are ambiguous, Y and X are not the last two axes, channels are not
        the first axis, or more than two axes count frames.
    """
    ndim = len(labels)
    named = ndim > 0 and not all(map(is_default_label, labels))
    letters = _letters(labels) if named else _guess(ndim)
    if "".join(letters[-2:]) != "YX":
        msg = (
            f"The axis labels {tuple(labels)} do not end in Y, X. Frames are read "
            "along the last two axes: reorder the data, or correct layer.axis_labels."
        )
        raise StackError(msg)
    if "C" in letters and (rgb or letters[0] != "C"):
        msg = (
            f"The axis labels {tuple(labels)} put the channels C where they cannot be "
            "read. Put C first, or split the channels into layers."
        )
        raise StackError(msg)
    stack = StackAxes("".join(letters) + ("C" if rgb else ""), shape)
    if len(stack.leading) > MAX_LEADING:
        msg = (
            f"The image has {stack.described}; at most {MAX_LEADING} axes may count "
            "frames (time and depth). Show one position as its own layer."
        )
        raise StackError(msg)
    return NamedAxes(stack, named)


def _letters(labels: Sequence[str]) -> list[str]:
    letters: list[str] = []
    for label in labels:
        word = label.strip().lower()
        letter = _WORDS.get(word, word[:1].upper())
        if not (letter.isascii() and letter.isalpha()) or letter in letters:
            msg = (
                f"The axis labels {tuple(labels)} do not give every axis its own "
                "letter. Set layer.axis_labels, such as ('T', 'Z', 'Y', 'X')."
            )
            raise StackError(msg)
        letters.append(letter)
    return letters


def _guess(ndim: int) -> list[str]:
    if ndim not in GUESSES:
        msg = (
            f"The image has {ndim} axes without names. Set layer.axis_labels, such as "
            "('C', 'T', 'Y', 'X') or ('T', 'Z', 'Y', 'X'), so that none is mistaken."
        )
        raise StackError(msg)
    return list(GUESSES[ndim])
