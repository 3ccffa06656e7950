"""What happens in the inference thread: sessions, their model, and tasks on them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_hqsam2.errors import PromptError, SessionError
from napari_hqsam2.plugin.models import Waiting
from napari_hqsam2.plugin.orders import Outcome, RunOutcome
from napari_hqsam2.plugin.prompt_values import PairPrompts
from napari_hqsam2.plugin.saving import go_on_saving
from napari_hqsam2.plugin.views import Report, Reporter
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.plugin.orders import Leg, Order, Subject
    from napari_hqsam2.plugin.prompt_values import Pair
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.running import PropagationStep
    from napari_hqsam2.session.session import Session

REPORT_EVERY = 0.5
"""Seconds between two reports during a run."""
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
COVERED = 0.5
"""Proposals of which more than this part has a label already are left out."""


class Workbench:
    """Carries out orders; all methods belong to one thread.

    Parameters
    ----------
    engine
        Where sessions and models come from.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: Subject | None = None

    def close(self, *, keep_model: bool = False) -> None:
        """Let go of everything, of the model only if nobody else uses it."""
        self.release(keep_model=keep_model)
        self._open = None

    def release(self, *, keep_model: bool = False) -> None:
        """Let go of the model and what it has computed; sessions stay."""
        if self._open is not None and self._open.session is not None:
            self._open.session.close()
            self._open.needs_model = True
        if not keep_model:
            self._engine.release()

    def forget(self, subject: Subject) -> None:
        """Drop the session on an image that is gone."""
        if self._open is subject:
            self._open = None
        if subject.session is not None:
            subject.session.close()
            subject.session = subject.reporter = None

    def look(self, order: Order) -> Outcome:
        """Report what has changed."""
        return Outcome(self._report(order))

    def prepare(self, order: Order, position: Position, ticket: Ticket) -> Outcome:
        """Compute the features of a frame before anybody asks for its objects."""
        session = self._session(order)
        hint = ""
        try:
            if not ticket.is_cancelled() and self._ready(order, ticket, ask=False):
                session.prepare(position)
        except (PromptError, SessionError) as error:
            hint = str(error)
        return Outcome(self._report(order), hint)

    def view(
        self, order: Order, position: Position, obj_id: int, ticket: Ticket
    ) -> Outcome:
        """What the model sees of an object on a frame, or of the frame."""
        session = self._session(order)
        with session.one_step("settings"):
            self._configure(order)
        if not self._ready(order, ticket, ask=False):
            return Outcome(self._report(order))
        known = obj_id if obj_id in session.obj_ids else None
        shown = session.model_view(position, known)
        return Outcome(self._report(order), view=shown)

    def follow_prompts(
        self, order: Order, position: Position | None, ticket: Ticket
    ) -> Outcome:
        """Take over changed prompts, and segment those of one frame at once."""
        session = self._session(order)
        with session.one_step("prompts"):
            self._configure(order)
            changed, hint = self._sync(order.subject)
            asked = [o for o, place in changed if place == position]
            prompted = [o for o in asked if _has_prompts(session, o, position)]
            if position is None or not prompted:
                return Outcome(self._report(order), hint)
            if self._ready(order, ticket, ask=False):
                hint = self._answer(order, position, prompted) or hint
        return Outcome(self._report(order), hint)

    def answer_again(
        self, order: Order, position: Position, ticket: Ticket, *, only_if_new: bool
    ) -> Outcome:
        """Segment a frame anew with other settings, if it has prompts.

        Accepted objects stay, and with `only_if_new` all do if no setting differs.
        """
        session = self._session(order)
        with session.one_step("settings"):
            is_new = self._configure(order)
            if only_if_new and not is_new:
                return Outcome(self._report(order))
            self._sync(order.subject)
            ids = [
                obj_id
                for obj_id in session.obj_ids
                if _has_prompts(session, obj_id, position)
                and position not in session.locked(obj_id)
            ]
            hint = ""
            if ids and self._ready(order, ticket, ask=False):
                hint = self._answer(order, position, ids)
        return Outcome(self._report(order), hint)

    def segment(self, order: Order, position: Position, ticket: Ticket) -> RunOutcome:
        """Segment all prompted objects of a frame.

        Raises
        ------
        PromptError
            There is no prompt, or one that cannot be used.
        """
        session = self._session(order)
        with session.one_step("segment frame"):
            self._configure(order)
            self._sync_or_raise(order.subject)
            if not self._ready(order, ticket):
                return RunOutcome(self._report(order), was_cancelled=True)
            scores = session.segment(position, overlap=order.overlap)
        ids = tuple(item.obj_id for item in scores)
        lost = tuple(item.obj_id for item in scores if not item.area)
        return RunOutcome(
            self._report(order),
            num_frames=1,
            provenance=session.provenance(),
            objects=ids,
            lost=lost,
        )

    def follow(
        self,
        order: Order,
        legs: Sequence[Leg],
        on_step: Callable[[PropagationStep, Report | None], None],
        ticket: Ticket,
    ) -> RunOutcome:
        """Follow objects along axes, one after the other.

        Each frame is told when it is in the labels.

        Raises
        ------
        PromptError, StackError
            As of `Session.propagate`.
        """
        session, done, told_at = self._session(order), 0, time.monotonic()
        found: dict[int, bool] = {}
        with session.one_step("follow"):
            self._configure(order)
            self._sync_or_raise(order.subject)
            if not self._ready(order, ticket):
                return RunOutcome(self._report(order), was_cancelled=True)
            with closing(_steps(session, order, legs, ticket)) as run:
                for step in run:
                    done = step.done
                    for item in step.scores:
                        had = found.get(item.obj_id, False)
                        found[item.obj_id] = had or bool(item.area)
                    report = None
                    if time.monotonic() > told_at + REPORT_EVERY:
                        report = self._report(order)
                        told_at = time.monotonic()
                    ticket.tell(on_step, step, report)
                    if ticket.is_cancelled():
                        break
        return RunOutcome(
            self._report(order),
            num_frames=done,
            was_cancelled=ticket.is_cancelled(),
            provenance=session.provenance(),
            objects=tuple(sorted(found)),
            lost=tuple(
                sorted(obj_id for obj_id, is_found in found.items() if not is_found)
            ),
        )

    def find_all(
        self, order: Order, position: Position, first_id: int, ticket: Ticket
    ) -> RunOutcome:
        """Make an object of everything that the model finds on a frame."""
        session, subject = self._session(order), order.subject
        with session.one_step("find all"):
            self._configure(order)
            self._sync(subject)
            if not self._ready(order, ticket):
                return RunOutcome(self._report(order), was_cancelled=True)
            found = self._engine.propose(
                subject.data,
                subject.axes.stack.letters,
                session,
                position,
                ticket.is_cancelled,
            )
            if ticket.is_cancelled():
                return RunOutcome(self._report(order), was_cancelled=True)
            frame, hw = subject.labels[position], subject.axes.stack.hw
            taken = [
                (frame[item.window] != 0)[item.mask].mean() if item.area else 1.0
                for item in found
            ]
            new = [m for m, part in zip(found, taken, strict=True) if part <= COVERED]
            ids = tuple(range(first_id, first_id + len(new)))
            for obj_id, item in zip(ids, new, strict=True):
                mask = PackedMask.placed(item.mask, item.top, item.left, hw)
                session.new_object(obj_id=obj_id)
                session.add_mask(obj_id, position, mask)
            if ids:
                session.segment(position, ids)
        return RunOutcome(self._report(order), num_frames=1, objects=ids)

    def take_masks(
        self,
        order: Order,
        position: Position,
        masks: Mapping[int, PackedMask],
        ticket: Ticket,
    ) -> RunOutcome:
        """Make masks the prompts of objects that have none on a frame."""
        session = self._session(order)
        with session.one_step("take masks"):
            self._configure(order)
            self._sync(order.subject)
            if not self._ready(order, ticket):
                return RunOutcome(self._report(order), was_cancelled=True)
            ids = tuple(i for i in masks if not _has_prompts(session, i, position))
            for obj_id in ids:
                _ensure(session, obj_id)
                session.add_mask(obj_id, position, masks[obj_id])
            if ids:
                session.segment(position, ids, overlap=order.overlap)
        return RunOutcome(self._report(order), num_frames=1, objects=ids)

    def edit(
        self,
        order: Order,
        change: Callable[[Session], Any],
        objects: Iterable[int] = (),
    ) -> Outcome:
        """Change something in the session; objects that are labels only are adopted."""
        session = self._session(order)
        self._sync(order.subject)
        before = _all_prompts(session)
        for obj_id in objects:
            _ensure(session, obj_id)
        result = change(session)
        return Outcome(
            self._report(order),
            prompts=_differences(before, _all_prompts(session)),
            name=result if isinstance(result, str) else "",
        )

    def open_session(self, order: Order, folder: Path) -> Outcome:
        """Go on with a saved session.

        Raises
        ------
        SessionError
            As of `Session.load`, or the stack has other axes.
        """
        subject, letters = order.subject, order.subject.axes.stack.letters
        session = self._engine.open_session(
            folder, subject.data, subject.labels, order.options
        )
        if session.settings.axes != letters:
            msg = (
                f"The session was saved for axes {session.settings.axes}; the image "
                f"has {letters}. Give its layer the same axis labels, and open again."
            )
            raise SessionError(msg)
        self._open = subject
        _take_over(subject, session)
        return Outcome(
            self._report(order),
            prompts=_all_prompts(session),
            name=go_on_saving(session, folder),
            settings={name: getattr(session.settings, name) for name in RESTORED},
        )

    def as_python(self, order: Order) -> Outcome:
        """The script that does the same."""
        session = self._session(order)
        self._sync(order.subject)
        return Outcome(self._report(order), text=session.as_python())

    def _session(self, order: Order) -> Session:
        """The session of the subject, made when it is first needed."""
        subject = order.subject
        if self._open is not None and self._open is not subject:
            before = self._open
            if before.session is not None:
                before.session.close()
                before.needs_model = True
        self._open = subject
        session = subject.session
        if session is None:
            session = self._engine.new_session(
                subject.data,
                subject.axes.stack.letters,
                subject.labels,
                order.options,
            )
            _take_over(subject, session)
        return session

    def _configure(self, order: Order) -> bool:
        """Let the session have the settings of an order; tell whether any is new."""
        session = self._session(order)
        changed = {
            name: value
            for name, value in order.options.items()
            if getattr(session.settings, name) != value
        }
        if changed:
            session.configure(**changed)
        return bool(changed)

    def _ready(self, order: Order, ticket: Ticket, *, ask: bool = True) -> bool:
        """Give the session its model; False if cancelled on the way."""
        subject = order.subject
        if subject.needs_model:

            def report(text: str) -> None:
                ticket.tell(order.on_report, text)

            waiting = Waiting(report, ticket.is_cancelled, may_download=ask)
            session = self._session(order)
            if not self._engine.give_model(session, waiting):
                return False
            subject.needs_model = False
        return True

    def _sync_or_raise(self, subject: Subject) -> None:
        _, hint = self._sync(subject)
        if hint:
            raise PromptError(hint)

    def _sync(self, subject: Subject) -> tuple[list[Pair], str]:
        """Take over changed prompts; those that cannot be are told in words."""
        session = subject.session
        changes, hint = subject.mail.take(), ""
        if session is None:
            return [], hint
        done: list[Pair] = []
        for pair, wanted in sorted(changes.items(), key=lambda item: item[0]):
            try:
                self._set(session, subject, pair, wanted)
            except (PromptError, SessionError) as error:
                hint = str(error)
            else:
                done.append(pair)
        return done, hint

    def _set(
        self,
        session: Session,
        subject: Subject,
        pair: Pair,
        wanted: PairPrompts | None,
    ) -> None:
        obj_id, position = pair
        if wanted is not None:
            _ensure(session, obj_id)
        elif obj_id not in session.obj_ids:
            return
        mask = None if wanted is None else wanted.mask
        if mask is None and pair not in subject.drawn_masks:
            mask = _mask_of(session, pair)
        if wanted is not None and wanted.mask is not None:
            subject.drawn_masks.add(pair)
        else:
            subject.drawn_masks.discard(pair)
        session.set_prompts(
            obj_id,
            position,
            points=() if wanted is None else wanted.points,
            box=None if wanted is None else wanted.box,
            mask=mask,
        )

    def _answer(self, order: Order, position: Position, obj_ids: Sequence[int]) -> str:
        """Segment objects of a frame; why some could not be, in words."""
        try:
            self._session(order).segment(position, obj_ids, overlap=order.overlap)
        except PromptError as error:
            if len(obj_ids) == 1:
                return str(error)
            hints = [self._answer(order, position, [each]) for each in obj_ids]
            return next(filter(None, hints), "")
        return ""

    def _report(self, order: Order) -> Report:
        reporter = order.subject.reporter
        if reporter is None:
            return Report(line=order.line)
        report = reporter.report(order.line, order.position)
        return replace(report, whereabouts=self._engine.whereabouts())


def _take_over(subject: Subject, session: Session) -> None:
    """Let a session be the one on an image."""
    subject.reporter = Reporter(session, subject.axes)

    def on_settings() -> None:
        subject.needs_model = True

    session.events.settings.connect(on_settings)
    subject.session = session


def _steps(
    session: Session, order: Order, legs: Sequence[Leg], ticket: Ticket
) -> Generator[PropagationStep, None, None]:
    """Steps of all legs, counted through."""
    before = 0
    for leg in legs:
        options = leg.options.copy()
        options["cancel"] = ticket.is_cancelled
        options["overlap"] = order.overlap
        last = before
        with closing(session.propagate(leg.axis, **options)) as run:
            for step in run:
                last = before + step.done
                yield replace(step, done=last, total=before + step.total)
        before = last


def _ensure(session: Session, obj_id: int) -> None:
    if obj_id not in session.obj_ids:
        session.new_object(obj_id=obj_id)


def _has_prompts(session: Session, obj_id: int, position: Position | None) -> bool:
    is_known = obj_id in session.obj_ids
    return is_known and any(p.position == position for p in session.prompts(obj_id))


def _mask_of(session: Session, pair: Pair) -> PackedMask | None:
    obj_id, position = pair
    placed = (p for p in session.prompts(obj_id) if p.position == position)
    return next((item.mask for item in placed), None)


def _all_prompts(session: Session) -> dict[Pair, PairPrompts]:
    return {
        (obj_id, item.position): PairPrompts(item.points, item.box, item.mask)
        for obj_id in session.obj_ids
        for item in session.prompts(obj_id)
    }


def _differences(
    before: Mapping[Pair, PairPrompts], after: Mapping[Pair, PairPrompts]
) -> dict[Pair, PairPrompts | None]:
    """Pairs that differ, as they are after."""
    pairs = before.keys() | after.keys()
    return {p: after.get(p) for p in pairs if before.get(p) != after.get(p)}
