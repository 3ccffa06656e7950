"""What the user has chosen, as one evented value per viewer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from psygnal import SignalGroupDescriptor

from napari_hqsam2.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_hqsam2._types import Direction

Phase = Literal["idle", "starting", "running", "cancelling"]
HqMode = Literal["add", "only", "off"]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far the present run is."""

    phase: Phase = "idle"
    done: int = 0
    """Frame results so far."""
    total: int = 0
    """Frame results to expect."""

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self.phase != "idle"


@dataclass(frozen=True, slots=True)
class Message:
    """The line under the buttons."""

    text: str = ""
    severity: Literal["hint", "done", "problem"] = "hint"


@dataclass
class PluginState:
    """Choices of one widget or script; `events` tells of every change.

    Layers are opaque handles here; None means "none" (or, for labels, "a new layer").
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    image: Any = None
    points: Any = None
    shapes: Any = None
    labels: Any = None
    model: str = DEFAULT_MODEL
    device: str = "auto"
    hq_mode: HqMode = "add"
    channels: tuple[int, ...] | None = None
    """Channels shown to the model; None where the image has no channel axis."""
    axis: str | None = None
    """Letter of the axis objects are followed along; None for a single frame."""
    direction: Direction = "both"
    frames: tuple[int, int] | None = None
    """Half-open range along the axis; None is all of it."""
    object_id: int = 1
    """Object that new prompts belong to."""
    positive: bool = True
    """Polarity of new points."""
    run: RunStatus = field(default_factory=RunStatus)
    message: Message = field(default_factory=Message)
