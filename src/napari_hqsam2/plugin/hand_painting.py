"""Frames that are painted by hand are kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.plugin.prompt_mail import ensure_object, is_accepted
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_hqsam2._types import BoolArray
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.prompt_values import Pair
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.session.session import Session

Position = tuple[int, ...]
STEP = "paint"
"""Name of the step of history that accepts what was painted."""


class HandPainting:
    """Accepts the frames of an object that the user has painted or erased.

    Strokes that napari takes back, or makes again, are followed. What is painted
    during a run is accepted when the run is over.

    Parameters
    ----------
    main
        Controller of the widget.
    """

    def __init__(self, main: PluginController) -> None:
        self._main = main
        self._waiting: set[Pair] = set()
        self._is_moved = False
        """Whether strokes were taken back or made again, and not followed yet."""
        self._marks: WeakKeyDictionary[Session, Marks] = WeakKeyDictionary()
        """Used in the thread of the sessions."""
        main.viewer.events.painted.connect(self._on_painted)
        main.state.events.run.connect(self._accept)
        main.state.events.image.connect(self._forget)

    def close(self) -> None:
        """Stop listening."""
        self._main.viewer.events.painted.disconnect(self._on_painted)
        self._main.state.events.run.disconnect(self._accept)
        self._main.state.events.image.disconnect(self._forget)

    def undo(self) -> None:
        """Let napari take back the last stroke, and with it what it has accepted."""
        self._move(self._main.viewer.undo_stroke)

    def redo(self) -> None:
        """Let napari make the stroke again that was taken back last."""
        self._move(self._main.viewer.redo_stroke)

    def _move(self, move: Callable[[Handle], None]) -> None:
        labels = self._main.state.labels
        if labels is not None:
            move(labels)
            self._is_moved = True
            self._accept()

    def _on_painted(
        self, labels: Handle, obj_id: int, planes: tuple[Position, ...]
    ) -> None:
        state = self._main.state
        if labels is state.labels and state.image is not None and obj_id > 0:
            self._waiting.update((obj_id, position) for position in planes)
            self._accept()

    def _forget(self) -> None:
        self._waiting.clear()
        self._is_moved = False

    def _accept(self) -> None:
        main = self._main
        if main.is_busy:
            return
        if self._is_moved:
            self._is_moved = False
            main.edit(lambda session: self._marks_of(session).follow(session))
        if not self._waiting:
            return
        painted = sorted(self._waiting)
        self._waiting.clear()
        try:
            main.desk.begin()
        except HqSam2Error as error:
            main.teller.tell(str(error))
            return
        main.edit(lambda session: self._marks_of(session).add(session, painted))

    def _marks_of(self, session: Session) -> Marks:
        return self._marks.setdefault(session, Marks())


class Marks:
    """Frames of a session that were accepted because they were painted."""

    def __init__(self) -> None:
        self._held: dict[Pair, str] = {}
        """With the digest of what the object was before."""
        self._undone: dict[Pair, str] = {}

    def add(self, session: Session, painted: list[Pair]) -> str:
        """Accept painted frames; of several planes only those that show the object."""
        new = {
            pair: _found(session, pair)
            for pair in painted
            if not is_accepted(session, pair)
            and (len(painted) == 1 or bool(_pixels(session, pair).any()))
        }
        if not new:
            return ""
        _lock(session, new)
        self._held |= new
        self._undone = {p: key for p, key in self._undone.items() if p not in new}
        return "Accepted as painted: no run changes it. K takes that back."

    def follow(self, session: Session) -> str:
        """Give up frames that are as before they were painted; accept them again."""
        held = {p: k for p, k in self._held.items() if is_accepted(session, p)}
        gone = {p: k for p, k in held.items() if _key(session, p) == k}
        back = {p: k for p, k in self._undone.items() if _key(session, p) != k}
        self._held = {p: k for p, k in held.items() if p not in gone} | back
        undone = {p: k for p, k in self._undone.items() if p not in back}
        self._undone = undone | gone
        if gone:
            _take_back(session, gone)
            return "What was painted is taken back, and no longer accepted."
        if back:
            _make_again(session, back)
            return "Accepted as painted again."
        return ""


def _take_back(session: Session, pairs: Iterable[Pair]) -> None:
    """Unlock frames: by undo if that does it and no more, so that histories agree."""
    wanted = set(pairs)
    if session.undo_names[:1] == (STEP,):
        before = _locked(session)
        session.undo()
        if before - _locked(session) == wanted:
            return
        session.redo()
    with session.one_step("undo paint"):
        for obj_id, position in sorted(wanted):
            session.unlock(obj_id, position)


def _make_again(session: Session, pairs: Iterable[Pair]) -> None:
    """Lock frames: by redo if that does it and no more."""
    wanted = set(pairs)
    if session.redo_names[:1] == (STEP,):
        before = _locked(session)
        session.redo()
        if _locked(session) - before == wanted:
            return
        session.undo()
    _lock(session, wanted)


def _lock(session: Session, pairs: Iterable[Pair]) -> None:
    with session.one_step(STEP):
        for obj_id, position in sorted(pairs):
            ensure_object(session, obj_id)
            session.lock(obj_id, position)


def _locked(session: Session) -> set[Pair]:
    return {(i, position) for i in session.obj_ids for position in session.locked(i)}


def _pixels(session: Session, pair: Pair) -> BoolArray:
    obj_id, position = pair
    pixels: BoolArray = np.asarray(session.labels[position]) == obj_id
    return pixels


def _key(session: Session, pair: Pair) -> str:
    return PackedMask.of(_pixels(session, pair)).key


def _found(session: Session, pair: Pair) -> str:
    """Digest of what was found of an object on a frame; of nothing if nothing was."""
    obj_id, position = pair
    scores = (s for s in session.scores_on(position) if s.obj_id == obj_id)
    nothing = PackedMask.of(np.zeros_like(_pixels(session, pair))).key
    return next((item.mask_key for item in scores), nothing)
