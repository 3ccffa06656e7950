"""Images and labels on disk as a source of training frames, read one at a time."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.segmentation.stack_view import StackView
from napari_hqsam2.stack_files import open_stack
from napari_hqsam2.training.sources import Clip, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_hqsam2._types import BoolArray, LabelArray
    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.training.fine_tuning.pairs import Pair

MIN_SIDE = 32
"""Smallest frame, in pixels."""
LARGEST_VALUE = 2**16 - 1
"""Label values above are numbered anew, so that tables of values stay small."""
MAX_GUESSED = 4
"""Most axes that are told without letters."""


@dataclass(frozen=True)
class Reading:
    """How images are read."""

    axes: str | None = None
    """Axis letters of the images; None as in `open_stack`."""
    channels: tuple[int, ...] | None = None
    """Indices along C shown to the model as red, green and blue."""


@dataclass(frozen=True)
class LabelledStack:
    """A pair of files that fit each other."""

    pair: Pair
    reading: Reading
    limits: IntensityLimits
    """Intensities shown as black and white, as prediction takes them from the file."""
    run: int
    """Consecutive frames of one sequence; after so many another one begins."""
    frames: tuple[int, ...]
    """Numbers of the frames that have labels."""
    digest: str
    """Hash of their pixels and labels."""

    def read(self, indices: Sequence[int]) -> Clip:
        """Frames as floats from 0 to 1, and labels whose values agree among them."""
        with _view(self.pair.image, self.reading) as view:
            source = view.every_frame()
            images = [to_unit_rgb(source.read(index), self.limits) for index in indices]
        with _labels_view(self.pair.labels, view.axes) as view:
            source = view.every_frame()
            labels = np.stack([_plain(source.read(index)) for index in indices])
        return Clip(np.stack(images), _renumbered(labels))


@contextmanager
def _view(path: Path, reading: Reading) -> Iterator[StackView]:
    with open_stack(path, reading.axes) as file:
        letters = file.axes.letters
        if file.axes.leading:
            yield StackView(file.array, letters, reading.channels)
        else:
            yield StackView.of_image(file.array, letters, reading.channels)


@contextmanager
def _labels_view(path: Path, image_axes: StackAxes) -> Iterator[StackView]:
    letters = image_axes.labels_letters
    axes = letters if len(letters) > MAX_GUESSED else None
    with _view(path, Reading(axes)) as view:
        yield view


def _plain(labels: LabelArray) -> LabelArray:
    """Labels as numbers from 0; negative ones are background."""
    return labels.astype(np.uint8) if labels.dtype == bool else labels.clip(min=0)


def _renumbered(labels: LabelArray) -> LabelArray:
    if labels.max() <= LARGEST_VALUE:
        return labels.astype(np.int32)
    values, index = np.unique(labels, return_inverse=True)
    return index.reshape(labels.shape).astype(np.int32) + int(values[0] != 0)


def open_labelled(pair: Pair, reading: Reading) -> LabelledStack:
    """Check that image and labels fit, and find the frames that have labels.

    Raises
    ------
    StackError
        A file cannot be read.
    TrainingError
        The labels are not whole numbers, have another shape than the image, or the
        image is too small.
    """
    digest = hashlib.blake2b(digest_size=16)
    with (
        _view(pair.image, reading) as images,
        _labels_view(pair.labels, images.axes) as labels,
    ):
        _check_fit(pair, images.axes, labels)
        frames = []
        pixels, truth = images.every_frame(), labels.every_frame()
        for index in range(len(truth)):
            plain = _plain(truth.read(index))
            if plain.any():
                frames.append(index)
                digest.update(np.ascontiguousarray(plain).tobytes())
                digest.update(np.ascontiguousarray(pixels.read(index)).tobytes())
        run = [1, *(n for n in images.axes.leading_shape if n > 1)][-1]
        limits = images.limits()
    return LabelledStack(pair, reading, limits, run, tuple(frames), digest.hexdigest())


def _check_fit(pair: Pair, image_axes: StackAxes, labels: StackView) -> None:
    name, axes = pair.labels.name, labels.axes
    frame = labels.every_frame().read(0)
    if frame.ndim != 2:
        msg = (
            f"{name} has {frame.shape[-1]} channels ({axes.described}): it is a colour "
            "picture, not labels. Save one whole number per pixel, 0 for background."
        )
        raise TrainingError(msg)
    if frame.dtype.kind not in "biu":
        msg = (
            f"The labels {name} are {frame.dtype}. Labels are whole numbers, one for "
            "each object and 0 for background; save labels.astype('uint16')."
        )
        raise TrainingError(msg)
    if _long(axes) != _long(image_axes):
        msg = (
            f"{name} ({axes.described}) does not fit {pair.image.name} "
            f"({image_axes.described}): labels have the shape of the image without "
            "channels. If axes are mistaken, name those of the image with --axes."
        )
        raise TrainingError(msg)
    if min(image_axes.hw) < MIN_SIDE:
        msg = (
            f"{pair.image.name} is {image_axes.hw[0]} x {image_axes.hw[1]} pixels; "
            f"images to train on have at least {MIN_SIDE} x {MIN_SIDE}."
        )
        raise TrainingError(msg)


def _long(axes: StackAxes) -> tuple[int, ...]:
    """Lengths of a labels array, without leading axes of one frame."""
    return (*(n for n in axes.leading_shape if n > 1), *axes.hw)


@dataclass(frozen=True)
class Place:
    """A frame to learn from, or to measure on."""

    stack: LabelledStack
    frame: int
    objects: tuple[float, float] | None = None
    """Share of its objects, from and to; None for all of them."""

    def read(self) -> Frame:
        """Image and labels."""
        clip = self.stack.read([self.frame])
        labels = clip.labels[0]
        if self.objects is not None:
            labels = np.where(_share_of(labels, *self.objects), labels, 0)
        return Frame(clip.images[0], labels)


def separate(labels: LabelArray) -> LabelArray:
    """Objects of an image; the pieces of a mask that has one value only."""
    values = np.unique(labels[labels > 0])
    if len(values) != 1:
        return labels
    pieces: LabelArray = ndimage.label(labels)[0]
    return pieces


def _share_of(labels: LabelArray, start: float, stop: float) -> BoolArray:
    """Pixels of the objects from one share to another, in a fixed random order."""
    labels = separate(labels)
    values = np.unique(labels[labels > 0])
    values = np.random.default_rng(len(values)).permutation(values)
    first, last = (round(share * len(values)) for share in (start, stop))
    chosen: BoolArray = np.isin(labels, values[first:last])
    return chosen


@dataclass(frozen=True)
class Split:
    """Where to learn and where to measure; no object is in both."""

    train: tuple[Place, ...]
    validation: tuple[Place, ...]


def split(stacks: Sequence[LabelledStack], share: float, seed: int) -> Split:
    """Hold out a share for validation.

    Whole files of several are held out, the last frames of a single stack, and some of
    the objects of a single image.

    Parameters
    ----------
    stacks : sequence of LabelledStack
        With labels on at least one frame each.
    share : float
        From 0 to below 1; 0 holds out nothing.
    seed : int
        Chooses the files.

    Raises
    ------
    TrainingError
        There is one object only.
    """
    places = [Place(stack, frame) for stack in stacks for frame in stack.frames]
    if share == 0:
        return Split(tuple(places), ())
    if len(places) == 1:
        return _split_objects(places[0], share)
    if len(stacks) == 1:
        count = len(places) - _held_out(len(places), share)
        return Split(tuple(places[:count]), tuple(places[count:]))
    order = np.random.default_rng(seed).permutation(len(stacks))
    chosen = {id(stacks[i]) for i in order[: _held_out(len(stacks), share)]}
    return Split(
        tuple(place for place in places if id(place.stack) not in chosen),
        tuple(place for place in places if id(place.stack) in chosen),
    )


def _held_out(count: int, share: float) -> int:
    return min(max(round(count * share), 1), count - 1)


def _split_objects(place: Place, share: float) -> Split:
    labels = separate(place.read().labels)
    count = len(np.unique(labels[labels > 0]))
    if count < 2:
        msg = (
            f"{place.stack.pair.image.name} has one object only, so none can be held "
            "out to measure on. Label more, or give --validation images."
        )
        raise TrainingError(msg)
    kept = 1 - _held_out(count, share) / count
    learnt = Place(place.stack, place.frame, (0.0, kept))
    return Split((learnt,), (Place(place.stack, place.frame, (kept, 1.0)),))


@dataclass(frozen=True)
class FileSource:
    """Frames on disk as a source of training images."""

    places: tuple[Place, ...]
    name: str = "files"

    def still(self, rng: np.random.Generator) -> Frame:
        """Draw one frame."""
        return self.places[int(rng.integers(len(self.places)))].read()

    def clip(self, rng: np.random.Generator, length: int) -> Clip | None:
        """Draw consecutive labelled frames in either order; None if there are none."""
        starts = self._starts(length)
        if not starts:
            return None
        start = starts[int(rng.integers(len(starts)))]
        frames = range(start.frame, start.frame + length)
        return start.stack.read(frames if rng.random() < 0.5 else frames[::-1])

    def _starts(self, length: int) -> list[Place]:
        here = {(id(place.stack), place.frame) for place in self.places}
        return [
            place
            for place in self.places
            if place.frame % place.stack.run + length <= place.stack.run
            and all(
                (id(place.stack), place.frame + step) in here for step in range(length)
            )
        ]

    def has_clips(self, length: int) -> bool:
        """Whether so many consecutive frames have labels anywhere."""
        return bool(self._starts(length))
