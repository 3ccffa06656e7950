"""Several stacks as the colours of one picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.array_source import FrameList
from napari_hqsam2.predictors.frame_checks import real_dtype
from napari_hqsam2.predictors.intensity import check_gamma, with_gamma
from napari_hqsam2.predictors.multiscale import Multiscale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_hqsam2._types import AnyArray, Limits
    from napari_hqsam2.predictors.intensity import IntensityLimits

COLOURS = ("red", "green", "blue")
BLACK = (0.0, 1.0, 1.0)
"""Limits and gamma of a colour that nothing is shown in."""


@dataclass(frozen=True, slots=True, eq=False)
class MixChannel:
    """A stack as one colour of a `Mix`."""

    stack: Any = None
    """Array (NumPy, Dask, Zarr, ...) with the shape of the stack that is segmented,
    without channels; None is that stack itself."""
    contrast_limits: Limits | None = None
    """(low, high) intensities shown as black and as the full colour; None takes those
    that the options say for the stack itself, else percentiles of the whole stack."""
    gamma: float | None = None
    """As of `ImageOptions`; None is that of the options for the stack itself, or 1."""
    name: str = ""
    """What it is called in the provenance."""

    def __post_init__(self) -> None:
        if self.gamma is not None:
            check_gamma(self.gamma)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MixChannel):
            return NotImplemented
        return self.stack is other.stack and self._values == other._values

    def __hash__(self) -> int:
        return hash((id(self.stack), self._values))

    @property
    def _values(self) -> tuple[object, ...]:
        return self.contrast_limits, self.gamma, self.name


@dataclass(frozen=True, slots=True)
class Mix:
    """Up to three stacks that the model sees in one picture, each in a colour.

    Raises
    ------
    ValueError
        No colour has a stack.

    Examples
    --------
    >>> import numpy as np
    >>> nuclei, membranes = np.zeros((2, 5, 64, 80), np.uint16)
    >>> mix = Mix(red=MixChannel(), green=MixChannel(membranes, (100, 900), gamma=0.7))
    >>> session = Session(nuclei, axes="TYX", mix=mix)  # doctest: +SKIP
    """

    red: MixChannel | None = None
    green: MixChannel | None = None
    blue: MixChannel | None = None

    def __post_init__(self) -> None:
        if not any(self.channels):
            msg = "A Mix shows at least one stack: Mix(red=MixChannel(), ...)."
            raise ValueError(msg)

    @property
    def channels(self) -> tuple[MixChannel | None, ...]:
        """What is shown in red, green and blue."""
        return self.red, self.green, self.blue

    @property
    def described(self) -> str:
        """Colours and names: "red: nuclei, green: membranes"."""
        shown = [
            (colour, channel)
            for colour, channel in zip(COLOURS, self.channels, strict=True)
            if channel is not None
        ]
        unnamed = {True: "the stack", False: "another stack"}
        return ", ".join(
            f"{colour}: {channel.name or unnamed[channel.stack is None]}"
            for colour, channel in shown
        )

    def __repr__(self) -> str:
        """Python that makes it, with stacks under names such as ``green_stack``."""
        parts = []
        for colour, channel in zip(COLOURS, self.channels, strict=True):
            if channel is not None:
                stack = "None" if channel.stack is None else f"{colour}_stack"
                limits, gamma = channel.contrast_limits, channel.gamma
                name = f", name={channel.name!r}" if channel.name else ""
                made = f"MixChannel({stack}, {limits!r}, gamma={gamma!r}{name})"
                parts.append(f"{colour}={made}")
        return f"Mix({', '.join(parts)})"

    def of_images(self) -> Mix:
        """The same for images, as stacks of one frame."""
        return Mix(
            *(
                channel
                if channel is None or channel.stack is None
                else replace(channel, stack=FrameList([channel.stack]))
                for channel in self.channels
            )
        )

    def with_own(self, stack: Any, limits: Limits | None, gamma: float) -> Mix:
        """The mix with the stack that is segmented, and its look, put in."""
        own = {"stack": stack, "contrast_limits": limits, "gamma": gamma}

        def put_in(channel: MixChannel | None) -> MixChannel | None:
            if channel is None or channel.stack is not None:
                return channel
            given = {
                name: getattr(channel, name)
                for name in own
                if getattr(channel, name) is not None
            }
            return replace(channel, **{**own, **given})

        return Mix(*map(put_in, self.channels))

    def limits(self, estimated: IntensityLimits) -> IntensityLimits:
        """Limits and gamma of the three colours.

        Parameters
        ----------
        estimated
            What to take for those that are not given; one, or one for each colour.
        """
        several: Any = estimated if np.ndim(estimated[0]) else (estimated,) * 3
        ramps = []
        for channel, default in zip(self.channels, several, strict=True):
            if channel is None:
                ramps.append(BLACK)
                continue
            low, high = (channel.contrast_limits or default)[:2]
            ramps.append((float(low), float(high), float(channel.gamma or 1)))
        return tuple(ramps)


@dataclass(frozen=True, slots=True)
class Look:
    """How intensities of a stack are shown to the model."""

    contrast_limits: IntensityLimits | None = None
    """As of `ImageOptions`."""
    gamma: float = 1.0
    mix: Mix | None = None

    def with_own(self, stack: Any) -> Look:
        """The look with the stack put into the mix."""
        if self.mix is None:
            return self
        limits: Any = self.contrast_limits
        if limits is not None and np.ndim(limits[0]):
            (limits,) = limits
        return replace(self, mix=self.mix.with_own(stack, limits, self.gamma))

    @property
    def fixed_limits(self) -> Limits | None:
        """The one pair of limits that is given for all that is shown, if it is."""
        limits: Any = self.contrast_limits
        if limits is None or self.mix is not None or np.ndim(limits[0]):
            return None
        return float(limits[0]), float(limits[1])

    def limits(self, estimate: Callable[[], IntensityLimits]) -> IntensityLimits:
        """Limits and gamma; `estimate` is asked for what is not given."""
        if self.mix is None:
            limits = self.contrast_limits
            return with_gamma(estimate() if limits is None else limits, self.gamma)
        channels = [channel for channel in self.mix.channels if channel is not None]
        are_given = all(channel.contrast_limits for channel in channels)
        return self.mix.limits(BLACK[:2] if are_given else estimate())


class MixedStack:
    """Stacks of one shape with the face of one array, (3, ...), read part by part.

    Parameters
    ----------
    mix
        With a stack in each of its channels.
    shape
        That each of them has.

    Raises
    ------
    StackError
        A stack has another shape, or its values are not real numbers.
    """

    def __init__(self, mix: Mix, shape: tuple[int, ...]) -> None:
        self.shape = (len(COLOURS), *shape)
        self._parts: list[Any] = []
        dtypes = []
        for colour, channel in zip(COLOURS, mix.channels, strict=True):
            if channel is None:
                self._parts.append(None)
                continue
            stack = channel.stack if hasattr(channel.stack, "shape") else None
            if stack is None or tuple(stack.shape) != shape:
                found = "no array" if stack is None else f"shape {tuple(stack.shape)}"
                msg = (
                    f"The stack to be shown in {colour} has {found}; it must be an "
                    f"array of shape {shape}, that of the stack that is segmented "
                    "without channels. Give each channel as an array of its own."
                )
                raise StackError(msg)
            dtypes.append(real_dtype(stack.dtype, f"The stack shown in {colour}"))
            self._parts.append(stack)
        self.dtype = np.result_type(*dtypes)

    @property
    def parts(self) -> Sequence[Any]:
        """The stacks that are shown."""
        return [part for part in self._parts if part is not None]

    def __getitem__(self, key: tuple[Any, ...], /) -> AnyArray:
        """Return a part of one stack; the first index of the key is its number."""
        index, *rest = key
        part = self._parts[index]
        if part is None:
            empty: AnyArray = np.broadcast_to(np.zeros((), self.dtype), self.shape[1:])
            return np.asarray(empty[tuple(rest)])
        values: AnyArray = np.asarray(part[tuple(rest)])
        return values.astype(self.dtype, copy=False)


def is_in_memory(stack: object) -> bool:
    """Whether frames of a stack are there without being waited for."""
    if isinstance(stack, MixedStack):
        return all(map(is_in_memory, stack.parts))
    if isinstance(stack, Multiscale):
        return all(map(is_in_memory, stack.levels))
    if isinstance(stack, list | tuple):
        return all(isinstance(frame, np.ndarray) for frame in stack)
    return isinstance(stack, np.ndarray)
