"""What the user has chosen, as one evented value per viewer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from psygnal import SignalGroupDescriptor

from napari_hqsam2.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2._types import CropMode, Direction, Overlap
    from napari_hqsam2.plugin.rows import ObjectRow, Timeline
    from napari_hqsam2.predictors.tracking_config import TrackingMode
    from napari_hqsam2.session.disputes import Dispute

Phase = Literal["idle", "starting", "running", "cancelling"]
HqMode = Literal["add", "only", "off"]
HQ_MODES: dict[HqMode, str] = {
    "add": "High quality",
    "only": "High-quality head alone",
    "off": "Plain SAM 2",
}
"""Ways to make masks, with words."""
Cut = Literal["before", "after", "split"]
CUTS: dict[Cut, str] = {
    "before": "Remove up to this frame",
    "after": "Remove from this frame on",
    "split": "New object from this frame on",
}
"""Ways to cut an object at the frame on show, with words."""
CROPS: tuple[CropMode, ...] = ("auto", "off", 128, 256, 512, 1024)
"""Windows that the widget offers."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far the present run is."""

    phase: Phase = "idle"
    done: int = 0
    """Frame results so far."""
    total: int = 0
    """Frame results to expect."""
    seconds_left: float | None = None
    """About how long the rest will take; None as long as that is not known."""

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self.phase != "idle"


@dataclass(frozen=True, slots=True)
class Message:
    """The line under the buttons."""

    text: str = ""
    severity: Literal["hint", "done", "problem"] = "hint"


@dataclass(frozen=True, slots=True)
class WeightsStatus:
    """What is on this machine of the chosen model, and what can be done about it."""

    words: str = ""
    action: Literal["", "download", "cancel", "remove"] = ""
    freed: str = ""
    """Words for the bytes that "remove" frees."""


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Work that a viewer left."""

    place: Path
    when: float
    """Of the last change, in seconds since 1970."""
    objects: int


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
    checkpoint: str | None = None
    """Path of a weights file of one's own for the model; None is the model's."""
    device: str = "auto"
    hq_mode: HqMode = "add"
    """How the masks of objects are made that have no way of their own."""
    one_piece: bool = False
    """Whether only the largest piece of each mask is kept."""
    tracking: TrackingMode = "exact"
    resolution: int | None = None
    """Side in pixels of the square that the model sees; None is its own."""
    crop: CropMode = "auto"
    """Whether small objects are looked at in windows that follow them, or their side in
    pixels."""
    overlap: Overlap = "protect"
    """Whether new masks leave the pixels of other objects alone, take them, or leave
    them and ask."""
    channels: tuple[int, ...] | None = None
    """Channels shown to the model; None where the image has no channel axis."""
    mix: tuple[Any, Any, Any] | None = None
    """Image layers shown to the model as red, green and blue; None shows the image
    alone."""
    axis: str | None = None
    """Letter of the axis objects are followed along; None for a single frame."""
    then_axis: str | None = None
    """Letter of the axis along which objects are handed on after that; None ends."""
    direction: Direction = "both"
    frames: tuple[int, int] | None = None
    """Half-open range along the axis; None is all of it."""
    only_current: bool = False
    """Whether the current object alone is followed, instead of all."""
    only_changed: bool = False
    """Whether only what changed prompts and locks affect is followed again."""
    stop_after_empty: int | None = None
    """Frames in a row without an object that end its run; None is any number."""
    live: bool = True
    """Whether the frame on show is segmented with every change of its prompts."""
    hover: bool = True
    """Whether the mask that a click would give is shown under the pointer."""
    keeps_work: bool = True
    """Whether work that nobody has saved is kept for the next time."""
    shows_view: bool = False
    """Whether what the model sees of the frame is shown in a layer."""
    object_id: int = 1
    """Object that new prompts belong to."""
    positive: bool = True
    """Polarity of new points."""
    weights: WeightsStatus = field(default_factory=WeightsStatus)
    """What is here of the model, as `ModelStore` finds it."""
    oddity: str = ""
    """What is odd about the frame on show: "has the value 0 everywhere: ..."."""
    whereabouts: str = ""
    """Where the model computes, and the memory there; empty before it is loaded."""
    is_thinking: bool = False
    """Whether an answer to prompts is on its way."""
    objects: tuple[ObjectRow, ...] = ()
    """Objects of the image, sorted by id."""
    timeline: Timeline | None = None
    """The current object along the axis; None if it has not been segmented."""
    disputes: tuple[Dispute, ...] = ()
    """Pixels that the newest masks would take from other objects."""
    unsaved: Unsaved | None = None
    """Work on the image that an earlier viewer left."""
    undo_name: str = ""
    """What can be undone, or empty."""
    redo_name: str = ""
    num_measured: int = 0
    """Runs whose time was measured since the widget was made."""
    run: RunStatus = field(default_factory=RunStatus)
    message: Message = field(default_factory=Message)
