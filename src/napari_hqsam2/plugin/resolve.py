"""From what the user chose to what a session is told; pure functions only."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.configs.resolution import check_resolution
from napari_hqsam2.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_hqsam2._types import Limits
    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.rows import ObjectRow
    from napari_hqsam2.plugin.snapshots import ImageSnapshot, LabelsSnapshot
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.segmentation.mixing import Mix

MAX_CHANNELS = 3
"""The model sees red, green and blue."""
MAX_MIXED = 6
"""Channels of an image of which all pairs and triples are offered."""
LINES_IN_WORDS = 4
"""As many places along an axis are told one by one."""
SECONDS_IN_WORDS = 100
"""As many seconds, or minutes, are told in the next larger unit."""


def session_options(
    image: ImageSnapshot, state: PluginState, mix: Mix | None = None
) -> dict[str, Any]:
    """Settings of a session on an image.

    Raises
    ------
    StackError
        The image cannot be segmented, or not with these choices.
    """
    check_image(image)
    _check_resolution(state.resolution)
    channels = shown_channels(state.channels, image.axes)
    are_stains = channels is not None and len(channels) > 1
    return {
        "model": state.model,
        "checkpoint": state.checkpoint,
        "device": state.device,
        "hq_mode": state.hq_mode,
        "one_piece": state.one_piece,
        "tracking": state.tracking,
        "resolution": state.resolution,
        "crop": state.crop,
        "contrast_limits": None if are_stains else image.contrast_limits,
        "gamma": image.gamma,
        "mix": mix,
        "channels": channels,
    }


def stain_limits(image: ImageSnapshot, options: Mapping[str, Any]) -> Limits | None:
    """Contrast limits that are common to several channels; None if one is shown."""
    channels = options["channels"]
    return image.contrast_limits if channels and len(channels) > 1 else None


def range_words(
    axes: NamedAxes,
    axis: str,
    frames: tuple[int, int],
    then: str | None = None,
    lines: Sequence[int] = (),
) -> str:
    """Words for a range of frames: "through Z, slices 3 to 41, at T = 7".

    `lines` are the places along the other axis at which it is gone through, as of
    `lines_of_run`; none of them if they are not known.
    """
    start, stop = frames
    counted = axes.counted(axis)
    others = [axes.word(letter) for letter in axes.stack.leading if letter != axis]
    more = "".join(f", {_at(word, lines)}" for word in others)
    if then is not None:
        more = f", then through {axes.word(then)}"
    return f"through {axes.word(axis)}, {counted} {start} to {stop - 1}{more}"


def _at(word: str, lines: Sequence[int]) -> str:
    """Places along an axis: "at T = 3, 5 and 7", "at each T with prompts"."""
    if not lines:
        return f"at each {word} with prompts"
    if len(lines) > LINES_IN_WORDS:
        return f"at {len(lines)} places along {word}"
    *first, last = map(str, lines)
    return f"at {word} = {' and '.join(filter(None, (', '.join(first), last)))}"


def lines_of_run(
    axes: NamedAxes, axis: str, frames: tuple[int, int], rows: Iterable[ObjectRow]
) -> list[int]:
    """Places along the other axis at which a run along `axis` has something to follow.

    Runs start from prompts and accepted frames within the range; [0] without another
    axis, and nothing if no object starts anywhere.
    """
    letters = axes.stack.leading
    index = letters.index(axis)
    places = (place for row in rows for place in row.starts)
    inside = [place for place in places if place[index] in range(*frames)]
    others = {place[:index] + place[index + 1 :] for place in inside}
    return sorted({other[0] if other else 0 for other in others})


def count_words(number: int, noun: str) -> str:
    """A number of things: "1 frame", "2,400 frames", "2 boxes"."""
    ending = "es" if noun.endswith("x") else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def words_on_removal(*, lost: int, left: int, loose: int) -> str:
    """What has become of objects whose layer was removed; empty if there are none.

    Parameters
    ----------
    lost
        Objects of the image that are gone with it.
    left
        Objects of the image that are kept as unsaved work.
    loose
        Objects of the labels, which stay.
    """
    if lost:
        return (
            f"Prompts and scores of {count_words(lost, 'object')} are gone with the "
            "image: they were saved nowhere. Labels stay in their layer."
        )
    number = left or loose
    are, them = ("is", "it") if number == 1 else ("are", "them")
    if left:
        return (
            f"{count_words(left, 'object')} of the removed image {are} kept. Open the "
            f"image again to restore {them}."
        )
    if loose:
        return (
            f"{count_words(loose, 'object')} of the removed layer {are} kept: the next "
            f"click brings a new layer with {them}. To start afresh, choose “new "
            "layer” under Labels."
        )
    return ""


def duration_words(seconds: float) -> str:
    """Words for how long something takes: "about 40 s", "about 3 min"."""
    if seconds < SECONDS_IN_WORDS:
        return f"about {max(round(seconds), 1)} s"
    minutes = seconds / 60
    if minutes < SECONDS_IN_WORDS:
        return f"about {round(minutes)} min"
    return f"about {minutes / 60:.1f} h"


def channel_choices(axes: NamedAxes) -> dict[tuple[int, ...], str]:
    """Channels that can be shown to the model, with words, the default first.

    Empty for images without a channel axis; colours of RGB images always go together.
    """
    if axes.stack.letters[0] != "C":
        return {}
    number = axes.stack.shape[0]
    choices: dict[tuple[int, ...], str] = {
        (index,): f"{index} alone" for index in range(number)
    }
    if 1 < number <= MAX_CHANNELS:
        words = "both" if number == 2 else f"all {number}"
        choices = {tuple(range(number)): f"{words} together", **choices}
    if MAX_CHANNELS <= number <= MAX_MIXED:
        sizes = range(2, min(number - 1, MAX_CHANNELS) + 1)
        for chosen in chain(*(combinations(range(number), size) for size in sizes)):
            *first, last = map(str, chosen)
            choices[chosen] = f"{', '.join(first)} and {last} together"
    return choices


def default_axis(axes: NamedAxes) -> str | None:
    """Axis that objects are followed along by default; None for one frame."""
    return axes.stack.propagation_axis() if axes.stack.leading else None


def check_image(image: ImageSnapshot) -> None:
    """Refuse images whose values the model cannot read.

    Raises
    ------
    StackError
        The values are complex numbers or objects.
    """
    kind = np.dtype(image.data.dtype).kind
    if kind not in "buif":
        msg = (
            f"'{image.name}' holds {image.data.dtype} values, which have no "
            "brightness. Segment a real image, such as its magnitude."
        )
        raise StackError(msg)


def check_labels(labels: LabelsSnapshot, image: ImageSnapshot) -> None:
    """Refuse a Labels layer that does not fit the image.

    Raises
    ------
    StackError
        Shape or place in the world differ, or it cannot be written to.
    """
    check_place(labels, image)
    if labels.obstacle:
        msg = (
            f"'{labels.name}' cannot be written to: {labels.obstacle}. Choose a new "
            "Labels layer."
        )
        raise StackError(msg)


def check_place(labels: LabelsSnapshot, image: ImageSnapshot) -> None:
    """Refuse labels that do not lie pixel on pixel on the image.

    Raises
    ------
    StackError
        Shape or place in the world differ.
    """
    expected = image.axes.stack.labels_shape
    if labels.shape != expected:
        msg = (
            f"'{labels.name}' has shape {labels.shape}, but '{image.name}' needs "
            f"labels of shape {expected}. Choose another Labels layer, or a new one."
        )
        raise StackError(msg)
    if not labels.is_aligned:
        msg = (
            f"'{labels.name}' lies elsewhere in the world than '{image.name}': compare "
            "their scale, translate, rotate, shear, affine and units. Choose a new "
            "Labels layer, or give it the transform of the image."
        )
        raise StackError(msg)


def shown_channels(
    chosen: tuple[int, ...] | None, axes: NamedAxes
) -> tuple[int, ...] | None:
    """Channels that the model sees; None where the image has none.

    Raises
    ------
    StackError
        There are no such channels, or too many.
    """
    choices = channel_choices(axes)
    if not choices:
        return None
    channels = tuple(chosen or next(iter(choices)))
    number = axes.stack.shape[0]
    if len(channels) > MAX_CHANNELS or not all(0 <= c < number for c in channels):
        msg = (
            f"channels={channels} cannot be shown to the model: choose one to three of "
            f"the channels 0 to {number - 1}."
        )
        raise StackError(msg)
    return channels


def _check_resolution(resolution: int | None) -> None:
    if resolution is None:
        return
    try:
        check_resolution(resolution)
    except ValueError as error:
        raise StackError(str(error)) from error
