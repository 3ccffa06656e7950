"""What can be in dispute between objects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispute:
    """Pixels on one frame that an object would take from another label."""

    position: tuple[int, ...]
    """Index of the frame along every leading axis."""
    obj_id: int
    """Object that would take them."""
    holder: int
    """Label that has them."""
    area: int
    """Number of pixels."""
