"""A stack of any number of axes as frames along one of them, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_hqsam2.axes import StackAxes, resolve_axes
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.array_source import (
    ArrayFrameSource,
    FrameList,
    is_array_like,
)
from napari_hqsam2.predictors.frame_source import (
    FrameSource,
    open_frames,
    read_part,
    read_seen,
)
from napari_hqsam2.predictors.intensity import estimate_limits
from napari_hqsam2.predictors.multiscale import LevelSource, Multiscale
from napari_hqsam2.predictors.slow_reads import DEFAULT_TIMEOUT, PatientSource
from napari_hqsam2.segmentation.mixing import Look, MixedStack, is_in_memory
from napari_hqsam2.segmentation.oddities import Oddities, WatchedSource

if TYPE_CHECKING:
    from napari_hqsam2._types import HW, AnyArray, Limits
    from napari_hqsam2.predictors.array_source import ArrayLike
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.segmentation.mixing import Mix


class StackView:
    """A stack with named axes.

    Parameters
    ----------
    stack
        Array (NumPy, Dask, Zarr, ...), sequence of equal frames, or FrameSource.
    axes
        Axis letters as in `resolve_axes`. A FrameSource has one leading axis, its
        frames.
    channels
        One to three indices along C, shown to the model as red, green and blue; needed
        unless there are 1, 3 or (last axis) 4 channels.
    read_timeout
        Seconds to wait for a frame of a stack that is not in memory; None waits until
        it comes.
    look
        How intensities are shown, and whether other stacks are mixed in.

    Raises
    ------
    StackError
        The axes, the channels or the type do not make a stack.
    """

    def __init__(
        self,
        stack: object,
        axes: str | None = None,
        channels: Sequence[int] | None = None,
        read_timeout: float | None = DEFAULT_TIMEOUT,
        look: Look | None = None,
    ) -> None:
        self.channels = None if channels is None else tuple(channels)
        self._look = look or Look()
        self._is_stack = True
        self.oddities = Oddities()
        self._timeout = read_timeout
        self._kind = f"a {type(stack).__name__}"
        self._is_lazy = not is_in_memory(stack)
        self._array: ArrayLike | None = None
        self._source: FrameSource | None = None
        if is_array_like(stack):
            self._array = stack  # type: ignore[assignment]
        elif isinstance(stack, FrameSource):
            source = open_frames(stack, channels=channels)
            self._source = PatientSource(source, read_timeout, str, self._kind)
        elif isinstance(stack, Sequence) and all(map(is_array_like, stack)) and stack:
            self._array = FrameList(stack)
        else:
            msg = (
                f"A {type(stack).__name__} is not a stack. Give an array, a list of "
                "frames, a FrameSource or a path."
            )
            raise StackError(msg)
        self.axes = self._resolve(axes)
        if self._look.mix is not None:
            self._mix_in(self._look.mix)

    @classmethod
    def of_image(
        cls,
        image: Any,
        axes: str,
        channels: Sequence[int] | None = None,
        read_timeout: float | None = DEFAULT_TIMEOUT,
        look: Look | None = None,
    ) -> StackView:
        """A single image without leading axes, as a stack of one frame."""
        stack: Any = [image]
        if isinstance(image, Multiscale):
            stack = Multiscale([FrameList([level]) for level in image.levels])
        if look is not None and look.mix is not None:
            look = replace(look, mix=look.mix.of_images())
        view = cls(stack, f"T{axes}", channels, read_timeout, look)
        view._is_stack = False
        return view

    def _mix_in(self, mix: Mix) -> None:
        """Show several stacks as channels instead of this one."""
        pairs = zip(self.axes.letters, self.axes.shape, strict=True)
        plain = [(letter, length) for letter, length in pairs if letter != "C"]
        shows_itself = any(c is not None and c.stack is None for c in mix.channels)
        if shows_itself and (self._array is None or "C" in self.axes.letters):
            msg = (
                f"This stack ({self.axes.described}) cannot be one colour of a mix: "
                "that takes an array without channels. Give its channels as arrays of "
                "their own: Mix(red=MixChannel(stack[0]), ...)."
            )
            raise StackError(msg)
        shape = tuple(length for _, length in plain)
        self._look = self._look.with_own(self._array)
        mixed = MixedStack(cast("Mix", self._look.mix), shape)
        self._array, self._source = mixed, None
        self.axes = StackAxes("C" + "".join(x for x, _ in plain), mixed.shape)
        self.channels = (0, 1, 2)
        self._is_lazy = not is_in_memory(mixed)

    def _resolve(self, axes: str | None) -> StackAxes:
        if self._array is not None:
            return resolve_axes(tuple(self._array.shape), axes)
        source = cast("FrameSource", self._source)
        frame = source.read(0)
        letters = axes or ("TYX" if frame.ndim == 2 else "TYXC")
        resolved = StackAxes(letters.upper(), (len(source), *frame.shape))
        if resolved.letters[1:] not in ("YX", "YXC"):
            msg = (
                f"axes={letters!r} does not fit a source of frames "
                f"({resolved.described}); its first axis counts frames, "
                "the others are Y, X and C."
            )
            raise StackError(msg)
        return resolved

    def frames(self, position: tuple[int, ...], axis: str) -> FrameSource:
        """Frames along `axis`, at a position along all other leading axes.

        Parameters
        ----------
        position
            One index per leading axis; the one along `axis` does not matter.
        axis
            Letter of a leading axis.
        """
        place = self.axes.leading.index(axis)

        def at(frame: int) -> tuple[int, ...]:
            return (*position[:place], frame, *position[place + 1 :])

        def look(frame: int, pixels: AnyArray) -> None:
            name = f"Frame {self.axes.where(at(frame))}" if self._is_stack else "Image"
            self.oddities.look(at(frame), name, pixels, self._look.fixed_limits)

        return WatchedSource(self._frames(position, axis, at), look)

    def _frames(
        self,
        position: tuple[int, ...],
        axis: str,
        at: Callable[[int], tuple[int, ...]],
    ) -> FrameSource:
        """As `frames`; `at` gives the position of each."""
        if self._source is not None:
            return self._source
        fixed = dict(zip(self.axes.leading, position, strict=True))
        del fixed[axis]
        source = self._along(fixed)
        if not self._is_lazy:
            return source

        def where(frame: int) -> str:
            return self.axes.where(at(frame))

        return PatientSource(source, self._timeout, where, self._kind)

    def _along(self, fixed: dict[str, int]) -> FrameSource:
        """Frames along the one axis that is not fixed."""
        array, letters = self._array, self.axes.letters
        levels = array.of_frames(letters) if isinstance(array, Multiscale) else (array,)
        parts = [_FixedAxes(level, letters, fixed) for level in levels]
        sources = [
            ArrayFrameSource(part, axes=part.letters, channels=self.channels)
            for part in parts
        ]
        return sources[0] if len(sources) == 1 else LevelSource(sources)

    def every_frame(self) -> FrameSource:
        """All frames of the stack, in the order of its leading axes."""
        return _EveryFrame(self)

    def limits(self) -> IntensityLimits:
        """Intensities to show as black and white, and gamma, for the whole stack.

        Channels that were chosen one by one are stains and get limits of their own.
        """
        return self._look.limits(self._estimated)

    def channel_ranges(self) -> tuple[Limits, ...]:
        """Values that each channel has, apart from the few lowest and highest."""
        ranges = estimate_limits(self.every_frame(), per_channel=True, by_type=False)
        return cast("tuple[Limits, ...]", ranges if np.ndim(ranges[0]) else (ranges,))

    def _estimated(self) -> IntensityLimits:
        are_stains = self.channels is not None and len(self.channels) > 1
        return estimate_limits(
            self.every_frame(), per_channel=True if are_stains else None
        )


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Some consecutive frames of a source; a FrameSource."""

    source: FrameSource
    frames: range

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self.source.hw

    def read(self, index: int) -> AnyArray:
        """Read frame `index` of the range."""
        return self.source.read(self.frames[index])

    def read_part(self, index: int, window: tuple[slice, slice]) -> AnyArray:
        """Read a window of frame `index` of the range."""
        return read_part(self.source, self.frames[index], window)

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        """Read what is shown of frame `index` of the range."""
        return read_seen(self.source, self.frames[index], window, side)


class _FixedAxes:
    """An array seen with some of its axes held at one index; nothing is read before."""

    def __init__(self, array: Any, letters: str, fixed: dict[str, int]) -> None:
        self._array = array
        self._key = [fixed.get(letter) for letter in letters]
        free = [i for i, letter in enumerate(letters) if letter not in fixed]
        self.letters = "".join(letters[i] for i in free)
        self.shape = tuple(int(array.shape[i]) for i in free)
        self.dtype = array.dtype
        self.kind = type(array).__name__
        """What messages call it."""
        fixed_at = ", ".join(f"{letter}={index}" for letter, index in fixed.items())
        self.place = f" at {fixed_at}" if fixed_at else ""
        """Where it lies in the whole stack, for messages."""

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        rest = iter(key)
        return self._array[tuple(next(rest) if k is None else k for k in self._key)]


class _EveryFrame:
    """All frames of a stack as one long source."""

    def __init__(self, view: StackView) -> None:
        self._view = view

    def __len__(self) -> int:
        return self._view.axes.num_frames

    @property
    def hw(self) -> HW:
        return self._view.axes.hw

    def read(self, index: int) -> AnyArray:
        source, frame = self._place(index)
        return source.read(frame)

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        source, frame = self._place(index)
        return read_seen(source, frame, window, side)

    def _place(self, index: int) -> tuple[FrameSource, int]:
        """Frames that an index lies on, and its number there."""
        axes = self._view.axes
        position = tuple(map(int, np.unravel_index(index, axes.leading_shape)))
        source = self._view.frames(position, axes.leading[-1])
        return source, position[-1]
