"""What a session knows apart from pixels: objects, prompts, locks and scores.

All values are immutable; a table changes through `Change`s, which can be taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from napari_hqsam2.prompts import FramePrompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.prompts import BoxPrompt, PointPrompt
    from napari_hqsam2.segmentation.options import StackSettings
    from napari_hqsam2.session.packed_masks import PackedMask

Position: TypeAlias = tuple[int, ...]
"""Index of a frame along every leading axis; () for a single image."""
Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; half-open."""
Source: TypeAlias = Literal["prompt", "tracked", "mask"]
"""What a result came from: the model's answer to prompts, a run, or a given mask."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrackedObject:
    """One object."""

    obj_id: int
    """Also its label value."""
    name: str
    is_hidden: bool = False
    """For viewers: not to be shown. Nothing else heeds it."""
    mother: int | None = None
    """Object that it comes from by division."""
    born: int | None = None
    """Frame along T of that division: the first without the mother."""
    hq_mode: HqMode | None = None
    """How its masks are made; None is as in the session."""


@dataclass(frozen=True, slots=True)
class FrameScores:
    """One object on one frame: what the model said, and what can be measured."""

    obj_id: int
    position: Position
    object_score: float
    """Logit that the object is in view: above 0 is yes; infinite for given masks."""
    iou_score: float
    """IoU with the true object as the model predicts it, 0 to 1; 1 for given masks that
    no model has scored."""
    area: int
    """Pixels that carry the object's label."""
    centroid: tuple[float, float] | None
    """Mean (y, x) of these pixels in data space; None if there are none."""
    source: Source
    axis: str
    """Axis along which the object was followed here; empty for prompts and masks."""
    prompts_key: str = ""
    """`PlacedPrompts.key` of the prompts that gave this; empty for other sources."""
    mask_key: str = ""
    """`PackedMask.key` of the pixels."""
    followed: str = ""
    """Axes along which runs have taken this result into account."""
    jump: float | None = None
    """Pixels from the centroid on the frame before, along the axis; None if one of the
    two is not there. Filled by `Session.scores` only."""
    area_ratio: float | None = None
    """Area divided by that on the frame before; None and filled as `jump`."""


@dataclass(frozen=True, slots=True)
class Track:
    """What was on a frame before the first prompt was put there."""

    mask: PackedMask
    scores: FrameScores | None
    """None if the pixels were in the labels that the session was given."""


@dataclass(frozen=True, slots=True)
class PlacedPrompts:
    """All prompts of one object on one frame."""

    obj_id: int
    position: Position
    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: PackedMask | None = None
    track: Track | None = None
    """What the prompts correct; None if the object was not here."""
    mask_score: float | None = None
    """IoU of the mask with the true object, 0 to 1, as the model that made it predicts;
    None for masks of people and of other programs, which hold as they are."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no prompt."""
        return not (self.points or self.box or self.mask)

    @property
    def corrected(self) -> PackedMask | None:
        """Mask that the points improve; None if they say what the object is.

        A box always says what the object is.
        """
        if not self.points or self.box is not None:
            return None
        if self.mask is not None:
            return self.mask
        return None if self.track is None else self.track.mask

    @property
    def is_given(self) -> bool:
        """Whether a mask alone is the object."""
        return self.mask is not None and not self.points and self.box is None

    @property
    def key(self) -> str:
        """Digest of all that the result on this frame is made from."""
        masks = [mask and mask.key for mask in (self.mask, self.corrected)]
        content = repr((self.points, self.box, masks))
        return blake2b(content.encode(), digest_size=8).hexdigest()

    def clicks(self) -> FramePrompts:
        """Points and box alone."""
        return FramePrompts(self.position, self.obj_id, self.points, self.box)


@dataclass(frozen=True, slots=True)
class Claim:
    """A mask of which other labels keep pixels, because nobody has been asked yet."""

    obj_id: int
    position: Position
    mask: PackedMask
    """All of the result, the pixels in dispute included."""
    mask_key: str
    """`FrameScores.mask_key` of the result as it was painted: it holds as long as that
    is still the object's."""


class Table(Generic[T]):
    """Values by object and position."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.changed: set[tuple[int, Position]] | None = None
        """Keys that were put, for somebody who follows; None if nobody does."""
        self._rows: dict[int, dict[Position, T]] = {}

    def get(self, obj_id: int, position: Position) -> T | None:
        """Value, or None."""
        return self._rows.get(obj_id, {}).get(position)

    def of(self, obj_id: int) -> Mapping[Position, T]:
        """All values of an object by position; must not be changed."""
        return self._rows.get(obj_id, {})

    def put(self, obj_id: int, position: Position, value: T | None) -> None:
        """Set a value; None removes it."""
        if self.changed is not None:
            self.changed.add((obj_id, position))
        if value is not None:
            self._rows.setdefault(obj_id, {})[position] = value
            return
        row = self._rows.get(obj_id, {})
        row.pop(position, None)
        if not row:
            self._rows.pop(obj_id, None)

    def items(self) -> list[tuple[int, Position, T]]:
        """All values with their objects and positions, sorted by them."""
        return sorted(
            (
                (obj_id, position, value)
                for obj_id, row in self._rows.items()
                for position, value in row.items()
            ),
            key=lambda item: item[:2],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One value of a table before and after; None where there was none."""

    table: Table[Any]
    obj_id: int
    position: Position
    before: Any
    after: Any

    def apply(self, *, is_undo: bool) -> None:
        """Put the value before or after into its table."""
        value = self.before if is_undo else self.after
        self.table.put(self.obj_id, self.position, value)


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """The tables of a session."""

    objects: Table[TrackedObject] = field(default_factory=lambda: Table("objects"))
    """At position () of each object."""
    prompts: Table[PlacedPrompts] = field(default_factory=lambda: Table("prompts"))
    locks: Table[bool] = field(default_factory=lambda: Table("locks"))
    """True at locked frames."""
    scores: Table[FrameScores] = field(default_factory=lambda: Table("scores"))
    claims: Table[Claim] = field(default_factory=lambda: Table("claims"))
    """Of the newest step with results; not saved."""
    settings: Table[StackSettings] = field(default_factory=lambda: Table("settings"))
    """Of the session: at object 0, which is none, and position ()."""

    @property
    def of_objects(self) -> tuple[Table[Any], ...]:
        """What is known of objects, and saved."""
        return self.objects, *self.on_frames

    @property
    def on_frames(self) -> tuple[Table[Any], ...]:
        """What is known of an object on single frames, and saved."""
        return self.prompts, self.locks, self.scores

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Ids of all objects, in ascending order."""
        return tuple(obj_id for obj_id, _, _ in self.objects.items())

    def locked_on(self, position: Position) -> set[int]:
        """Objects that are locked on a frame."""
        return {i for i in self.obj_ids if self.locks.get(i, position)}
