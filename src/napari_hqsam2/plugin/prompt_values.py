"""The prompts of one object on one frame, as values that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from napari_hqsam2.plugin.snapshots import Coordinates
    from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt

Pair: TypeAlias = tuple[int, tuple[int, ...]]
"""An object, and the position of a frame."""


@dataclass(frozen=True, slots=True)
class PairPrompts:
    """All prompts of a pair."""

    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: PackedMask | None = None

    @classmethod
    def of(cls, prompts: FramePrompts) -> PairPrompts:
        """Take over prompts as they were drawn."""
        mask = None if prompts.mask is None else PackedMask.of(prompts.mask)
        return cls(tuple(prompts.points), prompts.box, mask)

    def __bool__(self) -> bool:
        """Whether there is any prompt."""
        return bool(self.points or self.box or self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnItem:
    """One point or shape as it lies in its layer, so that it can be put back."""

    vertices: Coordinates
    """(axes of the layer,) of a point, (V, axes of the layer) of a shape."""
    kind: str
    """Type of a shape, symbol of a point."""
    features: dict[str, Any]
    """Its row of the features."""
