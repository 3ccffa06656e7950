"""The stack of a session: lines of frames through it, and features kept of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import product
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.predictors.frame_checks import COLOUR_CHANNELS
from napari_hqsam2.predictors.frame_source import read_part
from napari_hqsam2.segmentation.oddities import Oddities
from napari_hqsam2.segmentation.stack_view import FrameRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    import torch

    from napari_hqsam2._types import HW, Limits
    from napari_hqsam2.modeling.outputs import ImageFeatures
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.segmentation.options import ImageSettings
    from napari_hqsam2.segmentation.stack_view import StackView
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.stack_files import PixelSize

SAMPLED_FRAMES = 5
"""Frames, evenly spread, whose pixels tell one stack from another."""
LARGE = 2**26
"""Pixels of a frame above which windows of it do."""
WINDOW = 1024
"""Side in pixels of such a window."""


@dataclass(frozen=True, slots=True)
class Line:
    """The frames along one axis, at fixed places along all others."""

    axis: str
    """Letter of the axis; empty for the one frame of a single image."""
    axis_index: int
    """Place of the axis among the leading axes."""
    origin: Position
    """Position of frame 0."""

    def position(self, frame: int) -> Position:
        """Position of a frame."""
        if not self.axis:
            return ()
        place = list(self.origin)
        place[self.axis_index] = frame
        return tuple(place)

    def frame(self, position: Position) -> int:
        """Frame at a position of the line."""
        return position[self.axis_index] if self.axis else 0

    def __contains__(self, position: Position) -> bool:
        """Whether a position lies on the line."""
        return self.position(self.frame(position)) == position


class SessionStack:
    """A stack, or a single image, as lines of frames.

    Parameters
    ----------
    stack
        As in `api.iter_stack`, or a single image.
    axes
        As in `StackView`.
    settings
        What the model sees of it.
    resources
        Closes the file if `stack` is a path.

    Raises
    ------
    StackError
        The axes, the channels or the type do not make a stack.
    """

    def __init__(
        self,
        stack: Any,
        axes: str | None,
        settings: ImageSettings,
        resources: ExitStack,
    ) -> None:
        self.pixel_sizes: Mapping[str, PixelSize] = {}
        if isinstance(stack, str | PathLike):
            from napari_hqsam2.stack_files import open_stack  # noqa: PLC0415 - formats

            file = resources.enter_context(open_stack(stack, axes))
            stack, axes = file.array, file.axes.letters
            self.pixel_sizes = file.pixel_sizes
        if axes is None and getattr(stack, "ndim", 0) == 2:
            axes = "YX"
        self._stack = stack
        self._is_image = axes is not None and set(axes.upper()) <= set("YXC")
        self._letters = axes
        self._oddities = Oddities()
        if axes is not None and self._is_image:
            self._stack = stack if hasattr(stack, "shape") else np.asarray(stack)
            self.axes = StackAxes(axes.upper(), tuple(self._stack.shape))
        self._fingerprint: _Fingerprint | None = None
        self.show(settings)
        if not self._is_image:
            self.axes = self._plain.axes

    def show(self, settings: ImageSettings) -> None:
        """Change what the model sees."""
        self._settings = settings
        self._plain = self._viewed(replace(settings, mix=None))
        self._view = self._plain if settings.mix is None else self._viewed(settings)
        self._limits: IntensityLimits | None = None
        self._oddities.clear()
        self._view.oddities = self._oddities

    def _viewed(self, settings: ImageSettings) -> StackView:
        if self._is_image:
            return settings.image_view(self._stack, self.axes.letters)
        return settings.view(self._stack, self._letters)

    def channel_ranges(self) -> tuple[Limits, ...]:
        """As of the view, of the channels that are shown; a few frames are read."""
        return self._plain.channel_ranges()

    def oddity(self, position: Position) -> str:
        """What is odd about a frame that was read, as the end of a sentence."""
        return self._oddities.of(position or (0,))

    @property
    def limits(self) -> IntensityLimits:
        """Intensities that the model sees as black and white."""
        if self._limits is None:
            self._limits = self._view.limits()
        return self._limits

    def position(self, position: Sequence[int] | int) -> Position:
        """Check the position of a frame.

        Raises
        ------
        PromptError
            There is no such frame.
        """
        given, shape = np.atleast_1d(np.asarray(position)), self.axes.leading_shape
        if given.size and not (given.dtype.kind in "iuf" and (given % 1 == 0).all()):
            msg = (
                f"Position {position!r} is not made of whole numbers; give the index "
                f"of a frame along each of {', '.join(self.axes.leading)}."
            )
            raise PromptError(msg)
        place = tuple(map(int, given.ravel()))
        if len(place) != len(shape):
            msg = (
                f"Position {place} does not fit a stack with {self.axes.described}; "
                f"give {len(shape)} indices, one for each of "
                f"{', '.join(self.axes.leading) or 'no axes: ()'}."
            )
            raise PromptError(msg)
        if not all(0 <= i < length for i, length in zip(place, shape, strict=True)):
            msg = (
                f"There is no frame {self.axes.where(place)}; the stack has "
                f"{self.axes.described}, and indices begin at 0."
            )
            raise PromptError(msg)
        return place

    def default_axis(self) -> str:
        """Axis of runs for which none is named; empty for a single image."""
        return self.axes.propagation_axis() if self.axes.leading else ""

    def line(self, position: Position, axis: str) -> Line:
        """Frames along `axis` through a position."""
        if not axis:
            return Line("", 0, ())
        index = self.axes.leading.index(axis)
        origin = list(position)
        origin[index] = 0
        return Line(axis, index, tuple(origin))

    def length(self, line: Line) -> int:
        """Number of frames of a line."""
        return self.axes.length(line.axis) if line.axis else 1

    def frames(self, line: Line, frames: range) -> FrameRange:
        """Some frames of a line, read when asked for."""
        origin, axis = (line.origin, line.axis) if line.axis else ((0,), "T")
        return FrameRange(self._view.frames(origin, axis), frames)

    def number(self, position: Position) -> int:
        """Number of a frame in the order of the leading axes."""
        if not position:
            return 0
        return int(np.ravel_multi_index(position, self.axes.leading_shape))

    @property
    def fingerprint(self) -> str:
        """Digest of axes, type and some frames; these are read, one at a time.

        It is of all channels, whichever the model sees. If reading fails or is
        cancelled, the next call goes on from there.
        """
        if self._fingerprint is None:
            self._fingerprint = _Fingerprint(self.axes, self._all_channels())
        return self._fingerprint.finish()

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether a digest is that of the stack.

        It may also be of the channels alone that the model sees, as it once was.
        """
        if fingerprint == self.fingerprint:
            return True
        return fingerprint == _Fingerprint(self.axes, [self._plain]).finish()

    def _all_channels(self) -> list[StackView]:
        letters = self.axes.letters
        number = self.axes.length("C") if "C" in letters else 1
        are_colours = number in COLOUR_CHANNELS[: 3 if letters.endswith("C") else 2]
        choices = [None] if are_colours else [(index,) for index in range(number)]
        plain = replace(self._settings, mix=None)
        return [self._viewed(replace(plain, channels=channels)) for channels in choices]


class _Fingerprint:
    """A digest of axes and some frames, which is made one piece after the other.

    Parameters
    ----------
    axes
        Of the stack.
    views
        The stack, channel by channel.
    """

    def __init__(self, axes: StackAxes, views: Sequence[StackView]) -> None:
        self._digest = blake2b(axes.described.encode(), digest_size=16)
        sources = [view.every_frame() for view in views]
        indices = np.linspace(0, len(sources[0]) - 1, SAMPLED_FRAMES, dtype=int)
        frames = np.unique(indices).tolist()
        self._left = deque(product(frames, sources, _windows(axes.hw)))

    def finish(self) -> str:
        """Read what is left to read; raises as the stack."""
        while self._left:
            index, source, window = self._left[0]
            if window is None:
                frame = source.read(index)
            else:
                frame = read_part(source, index, window)
            little = frame.astype(frame.dtype.newbyteorder("<"))
            self._digest.update(little.dtype.str.encode() + little.tobytes())
            self._left.popleft()
        return self._digest.hexdigest()


def _windows(hw: HW) -> Sequence[tuple[slice, slice] | None]:
    """Parts of a frame that tell it from another one; None is all of it."""
    if hw[0] * hw[1] <= LARGE:
        return (None,)
    starts = (
        np.unique(np.linspace(0, max(side - WINDOW, 0), 4, dtype=int)).tolist()
        for side in hw
    )
    return [
        (slice(top, top + WINDOW), slice(left, left + WINDOW))
        for top, left in product(*starts)
    ]


class LineFeatures(FeatureCache):
    """Image features of a line, kept in one cache for all lines of a stack.

    Parameters
    ----------
    shared
        Features by number of the frame in the whole stack.
    numbers
        Number of each frame of the line.
    """

    def __init__(self, shared: FeatureCache, numbers: Sequence[int]) -> None:
        super().__init__(shared.budget)
        self._shared = shared
        self._numbers = numbers

    @property
    def is_on_host(self) -> bool:
        """Whether features are held in the memory of the host."""
        return self._shared.is_on_host

    def make_room(self, device: torch.device) -> bool:
        """Take no memory of a device from now on, for whatever part of the stack."""
        return self._shared.make_room(device)

    @property
    def nbytes(self) -> int:
        """Bytes held now, for all lines."""
        return self._shared.nbytes

    def __len__(self) -> int:
        """Return the number of frames held, those of other lines included."""
        return len(self._shared)

    def __contains__(self, frame: int) -> bool:
        """Whether a frame's features are held."""
        return self._numbers[frame] in self._shared

    def get(self, frame: int) -> ImageFeatures | None:
        """Features of a frame if they are held."""
        return self._shared.get(self._numbers[frame])

    def put(self, frame: int, features: ImageFeatures) -> None:
        """Hold the features of a frame."""
        self._shared.put(self._numbers[frame], features)

    def clear(self) -> None:
        """Drop everything, for all lines."""
        self._shared.clear()
