"""Orders to the inference thread, what they are about, and what comes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_hqsam2._types import Limits, Overlap
    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.label_view import LabelView
    from napari_hqsam2.plugin.prompt_values import Pair, PairPrompts
    from napari_hqsam2.plugin.recovery import KeptWork
    from napari_hqsam2.plugin.views import Line, Report, Reporter
    from napari_hqsam2.session.model_view import ModelView
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.session import Session
    from napari_hqsam2.session.settings import RunOptions


class Mailbox:
    """Changes of prompts on their way to the session; the newest of a pair counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._changes: dict[Pair, PairPrompts | None] = {}

    def put(self, changes: Mapping[Pair, PairPrompts | None]) -> None:
        """Add changes."""
        with self._lock:
            self._changes.update(changes)

    def take(self) -> dict[Pair, PairPrompts | None]:
        """Take all changes out."""
        with self._lock:
            taken, self._changes = self._changes, {}
        return taken


@dataclass(slots=True, eq=False)
class Subject:
    """An image with labels, and the session on them, which one thread uses."""

    data: Any = field(repr=False)
    axes: NamedAxes
    labels: LabelView
    mail: Mailbox = field(default_factory=Mailbox)
    session: Session | None = None
    reporter: Reporter | None = None
    drawn_masks: set[Pair] = field(default_factory=set)
    """Pairs whose mask prompt was drawn; other masks are not touched by layers."""
    needs_model: bool = True
    kept: KeptWork | None = None
    """Where the work is kept until somebody saves it."""
    keeps_work: bool = False
    """Whether that was wanted last."""
    not_kept_until: float = 0.0
    """When to try again, in seconds of `time.monotonic`."""
    ranges: dict[tuple[int, ...], tuple[Limits, ...]] = field(default_factory=dict)
    """`Session.channel_ranges` by channels."""
    refused: dict[Pair, PairPrompts | None] = field(default_factory=dict)
    """What holds on accepted frames where prompts were drawn, until it is told."""

    @property
    def is_kept(self) -> bool:
        """Whether the work on it is on the disk, saved or kept unsaved."""
        folder = None if self.session is None else self.session.autosave_folder
        return self.kept is not None or folder is not None

    @property
    def is_saved(self) -> bool:
        """Whether somebody has saved the work on it as a session."""
        folder = None if self.session is None else self.session.autosave_folder
        return self.kept is None and folder is not None

    def take_refused(self) -> dict[Pair, PairPrompts | None]:
        """Take out what is in `refused`."""
        taken, self.refused = self.refused, {}
        return taken


@dataclass(frozen=True, slots=True)
class Order:
    """What every task is told."""

    subject: Subject
    options: Mapping[str, Any]
    """Settings of the session as the user has them now."""
    line: Line | None
    """What the timeline shows."""
    position: Position | None
    """The frame on show."""
    on_report: Callable[[str], None]
    """Told, in the viewer's thread, what takes long."""
    overlap: Overlap = "protect"
    """Whether the pixels of other objects are taken, of all but locked ones."""
    keeps_work: bool = True
    """Whether work that nobody has saved is kept."""
    stain_limits: Limits | None = None
    """Intensities within which each of several channels is shown over the range of its
    own values; None if the options say what is shown."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A run along one axis, which another one may go on from."""

    axis: str
    """Its letter."""
    options: RunOptions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task."""

    report: Report
    hint: str = ""
    """What the user may want to know: why a prompt gave nothing, or is not saved."""
    prompts: Mapping[Pair, PairPrompts | None] | None = None
    """Prompts that differ from those drawn, after undo."""
    name: str = ""
    """Of the step that was undone or done again."""
    text: str = ""
    settings: Mapping[str, Any] | None = None
    """Of a session that was opened, as the state names them."""
    mixed: str = ""
    """Layers that such a session was shown as colours, as of `Mix.described`."""
    view: ModelView | None = None
    """What the model sees, if that was asked for and there is a model."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a click would give."""

    mask: PackedMask | None
    """None if nothing can be said."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True)
class RunOutcome(Outcome):
    """What came of a run."""

    num_frames: int = 0
    was_cancelled: bool = False
    provenance: Mapping[str, str | None] = field(default_factory=dict)
    objects: tuple[int, ...] = ()
    """That were followed."""
    lost: tuple[int, ...] = ()
    """Objects of the run that had no pixel on any frame."""
    peak_bytes: int | None = None
    """Most memory above that before the run; None if it is not known."""
