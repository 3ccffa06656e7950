"""Pixels of labels that no result of a session tells of, read a frame at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_hqsam2.lineage.measuring import plane_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.session import Session


class LabelAreas:
    """Counts pixels once somebody asks for objects that were in the labels before.

    Frames that the session changes are counted again.

    Parameters
    ----------
    session
        Followed as long as it lives; used in its thread.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._frames: dict[Position, dict[int, int]] = {}
        """Pixels by label of the frames that were counted."""
        self._areas: dict[int, dict[Position, int]] = {}
        self._waiting: dict[Position, None] | None = None
        """Frames to count, in order; None if nobody needs any."""
        self._changed: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether all that is needed was counted."""
        return not self._waiting

    def of(self, obj_id: int) -> Mapping[Position, int]:
        """Pixels of a label by frame, as far as they were counted."""
        return self._areas.get(obj_id, {})

    def need(self, positions: Iterable[Position]) -> None:
        """Let these frames, which are all of the stack, be counted."""
        if self._waiting is None:
            self._waiting = dict.fromkeys(positions)
            self._session.events.labels.connect(self.forget)

    def forget(self, position: Position) -> None:
        """Let a frame be counted again, if it was needed."""
        if self._waiting is not None:
            self._waiting[position] = None

    def count(self, until: float) -> set[int]:
        """Count frames until a time of the monotonic clock, one at least.

        Returns
        -------
        set of int
            Labels whose pixels have changed; none before all frames were counted.
        """
        while self._waiting:
            position = next(iter(self._waiting))
            sums = plane_sums(self._session.labels[position], 0)
            del self._waiting[position]
            self._take(position, dict(sums[:, :2].tolist()))
            if time.monotonic() > until:
                break
        if self._waiting:
            return set()
        changed, self._changed = self._changed, set()
        return changed

    def _take(self, position: Position, areas: dict[int, int]) -> None:
        before = self._frames.get(position, {})
        for obj_id in before.keys() - areas.keys():
            del self._areas[obj_id][position]
        for obj_id, area in areas.items():
            self._areas.setdefault(obj_id, {})[position] = area
        self._changed.update(obj_id for obj_id, _ in before.items() ^ areas.items())
        self._frames[position] = areas


def is_of_labels(session: Session, obj_id: int) -> bool:
    """Whether an object may have pixels that no result of the session tells of.

    It may if it was made of labels that were there, or if prompts of it, or its
    accepted frames, lie on such labels.
    """
    known = {item.position for item in session.scores(obj_id)}
    prompts, locked = session.prompts(obj_id), session.locked(obj_id)
    if any(each.track is not None and each.track.scores is None for each in prompts):
        return True
    if any(place not in known for place in locked):
        return True
    return not (known or prompts)
