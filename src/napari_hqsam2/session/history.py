"""Undo and redo: steps of recorded changes, as many as fit into a number of bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from napari_hqsam2.errors import SessionError
from napari_hqsam2.session.records import Change, Claim, PlacedPrompts

if TYPE_CHECKING:
    from napari_hqsam2.session.label_store import LabelPatch, LabelStore
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import Position, T, Table

DEFAULT_BYTES = 256 * 2**20
"""Room for undo; some thousand frames of tracked cells."""
CHANGE_BYTES = 500
"""What one change of a table takes, masks apart, to the nearest hundred."""


@dataclass(slots=True, eq=False)
class Step:
    """What one call changed."""

    name: str
    """For people: "add points"."""
    script: str
    """The call as Python."""
    labels: LabelStore
    changes: list[Change] = field(default_factory=list)
    patches: list[LabelPatch] = field(default_factory=list)

    def put(
        self, table: Table[T], obj_id: int, position: Position, value: T | None
    ) -> None:
        """Change a value of a table, and remember it."""
        before = table.get(obj_id, position)
        if before == value:
            return
        change = Change(table, obj_id, position, before, value)
        change.apply(is_undo=False)
        self.changes.append(change)

    def add_patch(self, patch: LabelPatch | None) -> None:
        """Remember a change of labels that was made."""
        if patch is not None:
            self.patches.append(patch)

    def add(self, step: Step) -> None:
        """Take over what another call changed after this one."""
        self.changes += step.changes
        self.patches += step.patches
        self.script = "\n".join(filter(None, (self.script, step.script)))

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        masks = sum(map(_mask_bytes, self.changes))
        patches = sum(patch.nbytes + CHANGE_BYTES for patch in self.patches)
        records = len(self.changes) * CHANGE_BYTES + len(self.script)
        return records + masks + patches

    def undo(self) -> None:
        """Take everything back."""
        for patch in reversed(self.patches):
            self.labels.apply(patch, is_undo=True)
        for change in reversed(self.changes):
            change.apply(is_undo=True)

    def redo(self) -> None:
        """Do everything again."""
        for patch in self.patches:
            self.labels.apply(patch, is_undo=False)
        for change in self.changes:
            change.apply(is_undo=False)

    def touched(self, table: Table[T]) -> tuple[int, ...]:
        """Objects of which a table changed."""
        return tuple(sorted({c.obj_id for c in self.changes if c.table is table}))


class History:
    """Steps that were done, and steps that were undone.

    Parameters
    ----------
    limit
        Bytes that all steps together may hold. The newest is held in any case.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self.limit = limit
        self._done: list[tuple[Step, int]] = []
        self._undone: list[tuple[Step, int]] = []
        self._forgotten: list[str] = []

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        return sum(size for _, size in chain(self._done, self._undone))

    @property
    def undo_names(self) -> tuple[str, ...]:
        """Names of the steps that can be undone, the next one first."""
        return tuple(step.name for step, _ in reversed(self._done))

    @property
    def redo_names(self) -> tuple[str, ...]:
        """Names of the steps that can be redone, the next one first."""
        return tuple(step.name for step, _ in reversed(self._undone))

    @property
    def script(self) -> list[str]:
        """Calls of all steps that hold, those too old to be undone included."""
        return [*self._forgotten, *(step.script for step, _ in self._done)]

    def restart(self, script: list[str]) -> None:
        """Forget all steps; `script` is what has led here."""
        self._done.clear()
        self._undone.clear()
        self._forgotten = list(script)

    def push(self, step: Step) -> None:
        """Add a step that was done; what was undone before is gone."""
        self._undone.clear()
        self._done.append((step, step.nbytes))
        size = self.nbytes
        while size > self.limit and len(self._done) > 1:
            old, freed = self._done.pop(0)
            self._forgotten.append(old.script)
            size -= freed

    def undo(self) -> Step:
        """Take back the newest step.

        Raises
        ------
        SessionError
            There is none.
        """
        if not self._done:
            msg = "There is nothing to undo."
            raise SessionError(msg)
        self._done[-1][0].undo()
        self._undone.append(self._done.pop())
        return self._undone[-1][0]

    def redo(self) -> Step:
        """Do the step again that was undone last.

        Raises
        ------
        SessionError
            There is none.
        """
        if not self._undone:
            msg = "There is nothing to redo."
            raise SessionError(msg)
        self._undone[-1][0].redo()
        self._done.append(self._undone.pop())
        return self._done[-1][0]


def _mask_bytes(change: Change) -> int:
    """Bytes of the masks before and after; other values have a size of their own."""
    masks = chain(*map(_masks, (change.before, change.after)))
    return sum(len(mask.bits) for mask in masks if mask is not None)


def _masks(value: Any) -> tuple[PackedMask | None, ...]:
    if isinstance(value, PlacedPrompts):
        return value.mask, value.track.mask if value.track else None
    return (value.mask,) if isinstance(value, Claim) else ()
