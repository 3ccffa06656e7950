"""The labels of a layer as a session sees them: read where they are, written later.

A session works in the inference thread; layers are changed in the viewer's alone. What
was written and is on its way there counts as written for whoever reads.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2._types import BoolArray, LabelArray
    from napari_hqsam2.plugin.snapshots import Handle


@dataclass(frozen=True, slots=True, eq=False)
class LabelWrite:
    """Pixels of one frame that change."""

    position: tuple[int, ...]
    box: tuple[slice, slice]
    """Rows and columns."""
    where: BoolArray
    """(h, w) pixels of the box that change; others belong to whoever paints there."""
    region: LabelArray
    """(h, w) labels of the box."""

    @classmethod
    def between(
        cls,
        position: tuple[int, ...],
        box: tuple[slice, slice],
        before: LabelArray,
        after: LabelArray,
    ) -> LabelWrite:
        """What differs between two (h, w) regions, cut to it."""
        where = before != after
        rows, columns = where.any(axis=1).nonzero()[0], where.any(axis=0).nonzero()[0]
        if not len(rows):
            empty = (slice(0, 0), slice(0, 0))
            return cls(position, empty, where[:0, :0], after[:0, :0])
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        top, left = box[0].start, box[1].start
        tight = (
            slice(top + int(rows[0]), top + int(rows[-1]) + 1),
            slice(left + int(columns[0]), left + int(columns[-1]) + 1),
        )
        return cls(position, tight, where[part], after[part].copy())

    def apply(self, frame: LabelArray) -> None:
        """Change an (H, W) frame."""
        frame[self.box][self.where] = self.region[self.where]


class LabelLayerPort(Protocol):
    """Where the labels are."""

    def label_array(self, labels: Handle) -> Any:
        """Array of a labels layer as it is now; for any thread."""
        ...

    def write_labels(self, labels: Handle, write: LabelWrite) -> None:
        """Change labels and show it; raises StackError if they do not fit."""
        ...


class LabelView:
    """An array-like over a labels layer, for one session in one thread.

    Parameters
    ----------
    viewer
        Where the layer is.
    labels
        The layer.
    tell
        Lets the viewer's thread call something, in order.
    """

    def __init__(
        self, viewer: LabelLayerPort, labels: Handle, tell: Callable[..., None]
    ) -> None:
        self._viewer = viewer
        self._labels = labels
        self._tell = tell
        self._pending: list[LabelWrite] = []
        self._lock = threading.Lock()
        self._problem: Exception | None = None

    def move(self, labels: Handle) -> None:
        """Show the same array in another layer, for one that is gone."""
        self._labels = labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels."""
        return tuple(int(n) for n in np.shape(self._viewer.label_array(self._labels)))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels, which becomes wider when an id needs it."""
        dtype: np.dtype[Any] = np.dtype(self._viewer.label_array(self._labels).dtype)
        return dtype

    def __getitem__(self, position: tuple[int, ...]) -> LabelArray:
        """(H, W) labels of a frame; what was written last is there."""
        self._raise_problem()
        with self._lock:
            pending = [item for item in self._pending if item.position == position]
        frame = self._viewer.label_array(self._labels)[position]
        frame = np.array(frame) if pending else np.asarray(frame)
        for item in pending:
            item.apply(frame)
        return frame

    def __setitem__(
        self, index: tuple[int | slice, ...], region: LabelArray | int
    ) -> None:
        """Send the changed pixels of a box on their way to the layer."""
        leading = len(self.shape) - 2
        position = tuple(int(i) for i in index[:leading] if not isinstance(i, slice))
        frame = self[position]
        rows, columns = (*index[leading:], slice(None), slice(None))[:2]
        box = (_filled(rows, frame.shape[0]), _filled(columns, frame.shape[1]))
        before = frame[box]
        after = np.broadcast_to(np.asarray(region, dtype=frame.dtype), before.shape)
        write = LabelWrite.between(position, box, before, after)
        if not write.where.size:
            return
        with self._lock:
            self._pending.append(write)
        self._tell(self._arrive, write)

    def _arrive(self, write: LabelWrite) -> None:
        """Change the layer; in the viewer's thread."""
        try:
            if self._problem is None:
                self._viewer.write_labels(self._labels, write)
        except (ValueError, TypeError, IndexError) as error:
            self._problem = error
        finally:
            with self._lock:
                self._pending.remove(write)

    def _raise_problem(self) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem


def _filled(part: Any, length: int) -> slice:
    """A slice with numbers."""
    start, stop, _ = part.indices(length)
    return slice(start, stop)
