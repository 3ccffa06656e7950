"""What every call of a session shares: its turn, its step of history, its signals."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import SessionError
from napari_hqsam2.prompts import whole_id
from napari_hqsam2.session.events import SessionEvents
from napari_hqsam2.session.history import History, Step
from napari_hqsam2.session.label_store import LabelStore
from napari_hqsam2.session.packed_masks import mask_key
from napari_hqsam2.session.records import FrameScores, Records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_hqsam2._types import Overlap
    from napari_hqsam2.segmentation.masks import ObjectMask
    from napari_hqsam2.session.label_store import LabelPatch
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.stacks import SessionStack


class SessionCore:
    """Records, labels and history, changed one step at a time.

    Parameters
    ----------
    stack
        What is segmented.
    labels
        As in `LabelStore`.
    history_bytes
        As in `History`.
    """

    def __init__(self, stack: SessionStack, labels: Any, history_bytes: int) -> None:
        self._stack = stack
        self._store = LabelStore(labels, stack.axes)
        self._records = Records()
        self._history = History(history_bytes)
        self._turn_lock = threading.RLock()
        self._is_running = False
        self._depth = 0
        self._group: Step | None = None
        self.events = SessionEvents()

    @property
    def labels(self) -> Any:
        """(leading axes..., H, W) labels: the caller's array, or int32 in memory."""
        return self._store.array

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Ids of all objects, in ascending order."""
        return self._records.obj_ids

    @property
    def can_undo(self) -> bool:
        """Whether `undo` has something to take back."""
        return bool(self._history.undo_names)

    @property
    def can_redo(self) -> bool:
        """Whether `redo` has something to do again."""
        return bool(self._history.redo_names)

    @property
    def undo_names(self) -> tuple[str, ...]:
        """Names of the steps that `undo` would take back, the next one first."""
        return self._history.undo_names

    @property
    def redo_names(self) -> tuple[str, ...]:
        """Names of the steps that `redo` would do again, the next one first."""
        return self._history.redo_names

    @property
    def history_bytes(self) -> int:
        """Bytes that undo and redo hold, about."""
        return self._history.nbytes

    def undo(self) -> str:
        """Take back the newest step: prompts, labels, scores, locks, all of it.

        Pixels that the step did not change stay as they are, whoever painted them.

        Returns
        -------
        str
            Name of the step.

        Raises
        ------
        SessionError
            There is none, or a run is under way.
        """
        with self._turn():
            step = self._history.undo()
            self._settle(step)
            self._tell(step)
        return step.name

    def redo(self) -> str:
        """Do the step again that was undone last; see `undo`."""
        with self._turn():
            step = self._history.redo()
            self._settle(step)
            self._tell(step)
        return step.name

    @contextmanager
    def one_step(self, name: str) -> Iterator[None]:
        """Make one step of history of all calls in a block.

        If the block raises, the calls that have returned hold, as one step.

        Parameters
        ----------
        name
            Of the step, for people: "find all".
        """
        with self._turn():
            if self._group is not None:
                yield
                return
            group = self._group = Step(name, "", self._store)
            try:
                yield
            finally:
                self._group = None
                self._commit(group)
                self.events.history.emit()

    @contextmanager
    def _turn(self, *, of_run: bool = False) -> Iterator[None]:
        """Refuse calls from a second thread, and changes during a run."""
        if not self._turn_lock.acquire(blocking=False):
            msg = (
                "Another thread is using this session. A session belongs to one thread "
                "at a time: wait for the other call to return."
            )
            raise SessionError(msg)
        try:
            if self._is_running and not of_run:
                msg = (
                    "A run is under way. Take all steps of propagate(), or close it "
                    "(`run.close()`), before changing anything."
                )
                raise SessionError(msg)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if of_run or not self._depth:
                    self._keep_up()
        finally:
            self._turn_lock.release()

    def _keep_up(self) -> None:
        """Called when a turn is over, and after each frame of a run."""

    @contextmanager
    def _step(self, name: str, script: str) -> Iterator[Step]:
        """One step of history; if the block raises, nothing has changed."""
        with self._turn():
            step = Step(name, script, self._store)
            try:
                yield step
            except BaseException:
                step.undo()
                self._settle(step)
                raise
            self._commit(step)
            self._tell(step)

    def _settle(self, step: Step) -> None:
        """Follow the records after a step was undone or redone."""

    def _commit(self, step: Step) -> None:
        if not (step.changes or step.patches):
            return
        if self._group is None:
            self._history.push(step)
        else:
            self._group.add(step)

    def _tell(self, step: Step, *, labels: bool = True) -> None:
        """Emit the signals of a step that was done or undone."""
        if not (step.changes or step.patches):
            return
        records, events = self._records, self.events
        locks = step.touched(records.locks)
        prompts = tuple(sorted({*step.touched(records.prompts), *locks}))
        for signal, obj_ids in (
            (events.objects, step.touched(records.objects)),
            (events.prompts, prompts),
            (events.scores, step.touched(records.scores)),
        ):
            if obj_ids:
                signal.emit(obj_ids)
        if step.touched(records.settings):
            events.settings.emit()
        for patch in step.patches if labels else ():
            events.labels.emit(patch.position, patch.box)
        events.history.emit()

    def _chosen(self, objects: Iterable[int] | None) -> tuple[int, ...]:
        """Objects that were asked for, checked; None is all."""
        if objects is None:
            return self.obj_ids
        return tuple(sorted({self._known(obj_id) for obj_id in objects}))

    def _known(self, obj_id: int) -> int:
        obj_id = whole_id(obj_id)
        if self._records.objects.get(obj_id, ()) is None:
            there_are = ", ".join(map(str, self.obj_ids)) or "none yet"
            msg = (
                f"There is no object {obj_id} (objects: {there_are}). Make it first: "
                f"session.new_object(obj_id={obj_id})."
            )
            raise SessionError(msg)
        return obj_id

    def _paint(
        self,
        step: Step,
        position: Position,
        masks: Sequence[ObjectMask],
        overlap: Overlap,
    ) -> LabelPatch | None:
        """Write masks into the labels; those of locked objects are left out.

        So are those of which the model gave no numbers.
        """
        locked = self._records.locked_on(position)
        free = [
            item
            for item in masks
            if item.obj_id not in locked and not math.isnan(item.object_score)
        ]
        patch = self._store.paint(position, free, overlap=overlap, locked=locked)
        step.add_patch(patch)
        return patch

    def _measured(self, item: ObjectMask, position: Position) -> FrameScores:
        """Scores of a mask that was painted; what it came from is not filled in."""
        height, width = item.mask.shape
        if math.isnan(item.object_score):
            # nothing was painted, and nothing taken away
            item, (height, width) = replace(item, top=0, left=0), self._stack.axes.hw
        box = (item.top, item.left, item.top + height, item.left + width)
        pixels = self._store.part(position, box) == item.obj_id
        area, centroid = int(np.count_nonzero(pixels)), None
        if area:
            rows, columns = pixels.sum(axis=1), pixels.sum(axis=0)
            y = float(rows @ np.arange(len(rows))) / area
            x = float(columns @ np.arange(len(columns))) / area
            centroid = (item.top + y, item.left + x)
        return FrameScores(
            obj_id=item.obj_id,
            position=position,
            object_score=item.object_score,
            iou_score=item.iou_score,
            area=area,
            centroid=centroid,
            source="tracked",
            axis="",
            mask_key=mask_key(pixels, item.top, item.left, self._stack.axes.hw),
        )

    def _keep(self, step: Step, scores: FrameScores, **changes: Any) -> FrameScores:
        """Store scores, with some values replaced."""
        scores = replace(scores, **changes)
        step.put(self._records.scores, scores.obj_id, scores.position, scores)
        return scores
