"""What the widget shows of objects and frames: plain values, made by the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_hqsam2.plugin.state import HqMode

FrameKind = Literal["", "prompt", "tracked", "mask", "label"]
"""What an object on a frame came from, "label" if that was somewhere else; empty where
it was not segmented."""


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One line of the list of objects."""

    obj_id: int
    """Also its label value."""
    name: str
    colour: tuple[float, float, float]
    """Red, green and blue of its label, 0 to 1."""
    span: str
    """Frames that it is on, in words: "T 3 to 41", or empty."""
    num_frames: int
    """Frames with pixels of it."""
    doubts: tuple[tuple[tuple[int, ...], str], ...] = ()
    """Positions to look at, in order, and why in words."""
    num_locked: int = 0
    """Frames that were accepted."""
    is_hidden: bool = False
    prompts: tuple[int, int, int] = (0, 0, 0)
    """Its points, boxes and masks on all frames."""
    confidence: float | None = None
    """Mean over its frames, 0 to 1; None if the model said nothing of it."""
    hq_mode: HqMode | None = None
    """How its masks are made; None is as those of all objects."""
    starts: frozenset[tuple[int, ...]] = frozenset()
    """Positions that runs start from: with prompts of it, or where it was accepted."""
    changed: frozenset[tuple[str, tuple[int, ...]]] = frozenset()
    """Axes and those of `starts` that no run along the axis has taken into account as
    they are now."""

    @property
    def num_doubts(self) -> int:
        """Frames to look at."""
        return len(self.doubts)


@dataclass(frozen=True, slots=True)
class TimelineFrame:
    """The current object on one frame."""

    area: int = 0
    """Pixels."""
    confidence: float | None = 0.0
    """0 to 1; None if the model said nothing of it."""
    kind: FrameKind = ""
    is_locked: bool = False
    doubt: str = ""
    """Why the frame should be looked at, in words, or empty."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The current object along the axis that is followed."""

    axis: str
    """Letter of the axis."""
    current: int
    """Frame on show."""
    frames: tuple[TimelineFrame, ...]
    """One for each frame of the axis."""
