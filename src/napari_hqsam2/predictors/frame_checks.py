"""Checks that every frame source shares."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2._types import AnyArray

MAX_FRAME_BYTES = 4 * 1024**3
"""Largest frame that is decoded from a file; more is taken for a damaged header."""
COLOUR_CHANNELS = (1, 3, 4)
"""Numbers of channels that need no choice: grey, RGB, RGBA."""
MAX_CHANNELS = 3
"""Most channels that the model can see at once."""


def check_path(path: Path) -> None:
    """Refuse what is there but can only be waited for, such as a pipe.

    Raises
    ------
    StackError
        It is neither a file nor a folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        msg = (
            f"{path} is neither a file nor a folder, but a pipe or a device. Save what "
            "comes out of it as a file first."
        )
        raise StackError(msg)


def real_dtype(dtype: object, where: str) -> np.dtype[Any]:
    """Return `dtype` as a NumPy dtype.

    Parameters
    ----------
    dtype : dtype-like
        Element type of an array or frame.
    where : str
        What has this type, to begin the message with.

    Raises
    ------
    StackError
        If it is not boolean, integer or real floating.
    """
    try:
        checked: np.dtype[Any] | None = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:
        checked = None
    if checked is not None and checked.kind in "biuf":
        return checked
    hints = {
        "c": "Take np.abs, .real or .imag of it first.",
        "O": "Build one regular array with np.stack, or pass a list of equal frames.",
    }
    kind = "" if checked is None else checked.kind
    hint = hints.get(
        kind, "Convert it with .astype(np.float32), or pass a NumPy array."
    )
    msg = (
        f"{where} has dtype {dtype}; a stack needs boolean, integer or real "
        f"floating values. {hint}"
    )
    raise StackError(msg)


def frame_index(index: int, length: int, where: str) -> int:
    """Return `index` as an int after checking that it is a frame of the stack.

    Raises
    ------
    StackError
        If the frame does not exist; negative indices do not count from the end.
    """
    checked = operator.index(index)
    if not 0 <= checked < length:
        msg = f"{where} has frames 0 to {length - 1}; frame {checked} does not exist."
        raise StackError(msg)
    return checked


def choose_channels(
    channels: Sequence[int] | None,
    available: int,
    where: str,
    *,
    free_choice: tuple[int, ...] = COLOUR_CHANNELS,
) -> tuple[int, ...] | None:
    """Check a choice of channels against how many there are.

    Parameters
    ----------
    channels : sequence of int or None
        One to three channel indices, shown to the model as red, green and blue.
    available : int
        Channels per frame.
    where : str
        Name of the stack, to begin messages with.
    free_choice : tuple of int
        Numbers of channels for which no choice is needed.

    Returns
    -------
    tuple of int or None
        The chosen indices; None if all channels are used as they are.

    Raises
    ------
    StackError
        If a choice is needed and missing, or names channels that do not exist.
    """
    if channels is None:
        if available in free_choice:
            return None
        msg = (
            f"{where} has {available} channels; the model sees one to three. "
            f"Choose them, such as channels=(0,) or channels=(0, 1)."
        )
        raise StackError(msg)
    chosen = tuple(operator.index(channel) for channel in channels)
    if not 1 <= len(chosen) <= MAX_CHANNELS or not all(
        0 <= channel < available for channel in chosen
    ):
        msg = (
            f"channels={chosen} does not fit {where}, which has channels 0 to "
            f"{available - 1}. Give one to three of these."
        )
        raise StackError(msg)
    return chosen


def fail_to_read(index: int, where: str, error: BaseException) -> NoReturn:
    """Raise the StackError for a frame whose source raised `error`."""
    cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    msg = f"Frame {index} of {where} cannot be read ({cause})."
    raise StackError(msg) from error


def read_only(frame: AnyArray) -> AnyArray:
    """Return a view of `frame` through which the data cannot be written."""
    view = frame.view()
    view.flags.writeable = False
    return view
