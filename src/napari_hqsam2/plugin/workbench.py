"""Short tasks of the inference thread: answers to prompts, and changes of a session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_hqsam2.errors import PromptError, SessionError
from napari_hqsam2.plugin.orders import Glimpse, Outcome
from napari_hqsam2.plugin.prompt_mail import (
    all_prompts,
    deliver,
    differences,
    ensure_object,
    has_prompts,
)
from napari_hqsam2.plugin.resolve import count_words
from napari_hqsam2.plugin.saving import go_on_saving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.open_sessions import OpenSessions
    from napari_hqsam2.plugin.orders import Order, Subject
    from napari_hqsam2.plugin.prompt_values import Pair
    from napari_hqsam2.plugin.recovery import KeptWork
    from napari_hqsam2.plugin.snapshots import PlaceToClick
    from napari_hqsam2.plugin.state import HqMode
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.session import Session

RESTORED = (
    "model",
    "checkpoint",
    "hq_mode",
    "one_piece",
    "tracking",
    "resolution",
    "crop",
)
"""Settings that a saved session brings along, the model first."""


class Workbench:
    """Carries out orders; all methods belong to one thread.

    Parameters
    ----------
    sessions
        What the orders work on.
    """

    def __init__(self, sessions: OpenSessions) -> None:
        self._sessions = sessions

    def look(self, order: Order) -> Outcome:
        """Report what has changed."""
        return Outcome(self._sessions.report(order))

    def prepare(self, order: Order, position: Position, ticket: Ticket) -> Outcome:
        """Compute the features of a frame before anybody asks for its objects."""
        session = self._sessions.of(order)
        hint = ""
        try:
            if not ticket.is_cancelled() and self._sessions.make_ready(
                order, ticket, ask=False
            ):
                session.prepare(position)
        except (PromptError, SessionError) as error:
            hint = str(error)
        return Outcome(self._sessions.report(order), hint)

    def view(
        self, order: Order, position: Position, obj_id: int, ticket: Ticket
    ) -> Outcome:
        """What the model sees of an object on a frame, or of the frame."""
        session = self._sessions.of(order)
        with session.one_step("settings"):
            self._sessions.configure(order)
        if not self._sessions.make_ready(order, ticket, ask=False):
            return Outcome(self._sessions.report(order))
        known = obj_id if obj_id in session.obj_ids else None
        shown = session.model_view(position, known)
        return Outcome(self._sessions.report(order), view=shown)

    def glimpse(
        self,
        subject: Subject,
        obj_id: int,
        place: PlaceToClick,
        *,
        positive: bool,
        only_prepared: bool,
    ) -> Glimpse:
        """What a click would give, if the model is there; nothing changes.

        `only_prepared` is as of `Session.preview`.
        """
        session, since = self._sessions.with_model(subject), time.monotonic()
        mask = None
        if session is not None:
            try:
                mask = session.preview(
                    obj_id,
                    place.position,
                    place.yx,
                    positive=positive,
                    only_prepared=only_prepared,
                )
            except PromptError:  # such a click gives nothing either, and says why
                mask = None
        return Glimpse(mask, time.monotonic() - since)

    def follow_prompts(
        self, order: Order, position: Position | None, ticket: Ticket
    ) -> Outcome:
        """Take over changed prompts, and segment those of one frame at once."""
        session = self._sessions.of(order)
        with session.one_step("prompts"):
            self._sessions.configure(order)
            changed, hint = deliver(order.subject)
            asked = [o for o, place in changed if place == position]
            prompted = [o for o in asked if has_prompts(session, o, position)]
            if position is not None:
                elsewhere = [pair for pair in changed if pair[1] != position]
                hint = hint or _words_on_others(order.subject, session, elsewhere)
            if position is None or not prompted:
                return Outcome(self._sessions.report(order), hint)
            if self._sessions.make_ready(order, ticket, ask=False):
                hint = self._answer(order, position, prompted) or hint
        return Outcome(self._sessions.report(order), hint)

    def answer_again(
        self, order: Order, position: Position, ticket: Ticket, *, only_if_new: bool
    ) -> Outcome:
        """Segment a frame anew with other settings, if it has prompts.

        Accepted objects stay, and with `only_if_new` all do if no setting differs.
        """
        session = self._sessions.of(order)
        with session.one_step("settings"):
            is_new = self._sessions.configure(order)
            if only_if_new and not is_new:
                return Outcome(self._sessions.report(order))
            deliver(order.subject)
            ids = [
                obj_id
                for obj_id in session.obj_ids
                if has_prompts(session, obj_id, position)
                and position not in session.locked(obj_id)
            ]
            hint = ""
            if ids and self._sessions.make_ready(order, ticket, ask=False):
                hint = self._answer(order, position, ids)
        return Outcome(self._sessions.report(order), hint)

    def change_masks(
        self,
        order: Order,
        obj_id: int,
        hq_mode: HqMode | None,
        position: Position | None,
        ticket: Ticket,
    ) -> Outcome:
        """Make the masks of an object in another way; that of a frame at once.

        It stays if it was accepted, or does not come of prompts there.
        """
        session, hint = self._sessions.of(order), ""
        with session.one_step("masks of object"):
            self._sessions.configure(order)
            deliver(order.subject)
            session.set_hq_mode(obj_id, hq_mode)
            is_prompted = has_prompts(session, obj_id, position)
            if position is not None and is_prompted:
                is_free = position not in session.locked(obj_id)
                if is_free and self._sessions.make_ready(order, ticket, ask=False):
                    hint = self._answer(order, position, [obj_id])
        return Outcome(self._sessions.report(order), hint)

    def edit(
        self,
        order: Order,
        change: Callable[[Session], Any],
        objects: Iterable[int] = (),
    ) -> Outcome:
        """Change something in the session; objects that are labels only are adopted."""
        session = self._sessions.of(order)
        deliver(order.subject)
        before = all_prompts(session)
        for obj_id in objects:
            ensure_object(session, obj_id)
        result = change(session)
        return Outcome(
            self._sessions.report(order),
            prompts=differences(before, all_prompts(session)),
            name=result if isinstance(result, str) else "",
        )

    def open_session(
        self, order: Order, folder: Path, kept: KeptWork | None = None
    ) -> Outcome:
        """Go on with a saved session, or with one that was only `kept`.

        Raises
        ------
        SessionError
            As of `OpenSessions.open_saved`.
        """
        session = self._sessions.open_saved(order, folder, kept)
        number = count_words(len(session.obj_ids), "object")
        return Outcome(
            self._sessions.report(order),
            hint=go_on_saving(session, folder),
            prompts=all_prompts(session),
            name=f"Opened {folder.name}: {number}."
            if kept is None
            else f"Restored {number}.",
            settings={name: getattr(session.settings, name) for name in RESTORED},
            mixed=session.saved_mix,
        )

    def save_again(self, order: Order) -> Outcome:
        """Save the session anew where it saves itself: its labels were replaced."""
        session, hint = order.subject.session, ""
        if session is not None and session.autosave_folder is not None:
            hint = go_on_saving(session, session.autosave_folder)
        return Outcome(self._sessions.report(order), hint)

    def as_python(self, order: Order) -> Outcome:
        """The script that does the same."""
        session = self._sessions.of(order)
        deliver(order.subject)
        return Outcome(self._sessions.report(order), text=session.as_python())

    def _answer(self, order: Order, position: Position, obj_ids: Sequence[int]) -> str:
        """Segment objects of a frame; why some could not be, in words."""
        try:
            self._sessions.of(order).segment(position, obj_ids, overlap=order.overlap)
        except PromptError as error:
            if len(obj_ids) == 1:
                return str(error)
            hints = [self._answer(order, position, [each]) for each in obj_ids]
            return next(filter(None, hints), "")
        return ""


def _words_on_others(subject: Subject, session: Session, pairs: Sequence[Pair]) -> str:
    """What becomes of changed prompts on frames that are not on show, in words."""
    places = {place for obj_id, place in pairs if has_prompts(session, obj_id, place)}
    if not places:
        return ""
    where = f"at {subject.axes.where(min(places))}, which is not on show,"
    if len(places) > 1:
        where = f"on {count_words(len(places), 'frame')} that are not on show"
    return f"Prompts {where} get their masks when you follow through the stack."
