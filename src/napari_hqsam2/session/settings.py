"""Keyword arguments of a session, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, get_args

from napari_hqsam2._types import Overlap
from napari_hqsam2.segmentation.options import (
    DIRECTIONS,
    HQ_MODES,
    ImageOptions,
    make_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from napari_hqsam2._types import Direction
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.tracking_config import TrackingMode


STORED_SETTINGS = (
    "checkpoint",
    "contrast_limits",
    "channels",
    "crop",
    "gamma",
    "hq_mode",
    "one_piece",
    "resolution",
    "tracking",
)
"""Settings that a saved session brings along, and a script repeats."""


class SessionOptions(ImageOptions, total=False):
    """How a session segments; fixed once it is made."""

    tracking: TrackingMode | None
    """"exact", or "local": small objects are looked for in windows around them, much
    faster and with nearly the same masks. None leaves it to the model."""


class RunOptions(TypedDict, total=False):
    """Keyword arguments of `Session.propagate`."""

    at: Sequence[int] | int | None
    """Position of any frame of the line to follow: what is fixed along the other axes.
    None follows objects on every line on which they have a prompt or a locked frame."""
    objects: Iterable[int] | None
    """Objects to follow; None is all that have a prompt or a locked frame there."""
    direction: Direction
    """"forward", "backward" or "both" (default)."""
    frames: tuple[int, int] | None
    """(start, stop) along the axis, stop not included; None is all frames. Prompts
    outside are not heeded."""
    start: int | None
    """Frame to start from, with what the labels show there of objects without a prompt
    there. None starts each object at its first prompt or locked frame."""
    only_changed: bool
    """Follow only from prompts and locked frames that no run has seen as they are now,
    up to the next ones on either side. Objects that were never followed run in full."""
    stop_after_empty: int | None
    """Leave an object after so many frames in a row without it. None never does."""
    overlap: Overlap
    """"protect" (default) keeps the pixels of other labels; "overwrite" takes them,
    except those of objects that are locked on that frame; "ask" keeps them, and
    `Session.disputes` says which ones `Session.take_disputed` would take."""
    hq_mode: HqMode | None
    """How the high-quality mask is used; None is as each object says, or the
    session."""
    max_steps: int | None
    """Stop after so many frames in all; None does all."""
    cancel: Callable[[], bool] | None
    """Asked often; True ends the run after the last whole frame."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """`RunOptions` with their defaults."""

    at: Sequence[int] | int | None = None
    objects: Iterable[int] | None = None
    direction: Direction = "both"
    frames: tuple[int, int] | None = None
    start: int | None = None
    only_changed: bool = False
    stop_after_empty: int | None = None
    overlap: Overlap = "protect"
    hq_mode: HqMode | None = None
    max_steps: int | None = None
    cancel: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        check_choice("direction", self.direction, DIRECTIONS)
        check_choice("overlap", self.overlap, get_args(Overlap))
        if self.hq_mode is not None:
            check_choice("hq_mode", self.hq_mode, HQ_MODES)
        for name in ("stop_after_empty", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} is a number of frames, 1 or more, or None; got {value}."
                raise ValueError(msg)
        if self.start is not None and self.only_changed:
            msg = (
                "start and only_changed both say where to begin; give one of them: "
                "only_changed finds the frames by itself."
            )
            raise ValueError(msg)


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not one of those allowed, with ValueError."""
    if value not in allowed:
        msg = f"{name}={value!r} is not one of {', '.join(allowed)}."
        raise ValueError(msg)


def settings_from(stored: Mapping[str, Any]) -> Any:
    """Settings as `Session` takes them; JSON has lists where there were tuples."""
    return {name: _tuples(value) for name, value in stored.items()}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
