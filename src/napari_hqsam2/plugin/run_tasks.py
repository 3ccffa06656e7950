"""Runs in the inference thread: what takes long, and can be cancelled."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari_hqsam2.plugin.orders import RunOutcome
from napari_hqsam2.plugin.prompt_mail import (
    deliver,
    deliver_all,
    ensure_object,
    has_prompts,
)
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.plugin.open_sessions import OpenSessions
    from napari_hqsam2.plugin.orders import Leg, Order
    from napari_hqsam2.plugin.views import Report
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.running import PropagationStep
    from napari_hqsam2.session.session import Session

REPORT_EVERY = 0.5
"""Seconds between two reports during a run."""
COVERED = 0.5
"""Proposals of which more than this part has a label already are left out."""


class RunTasks:
    """Carries out runs; all methods belong to one thread.

    Parameters
    ----------
    sessions
        What the runs work on.
    engine
        Proposes objects.
    """

    def __init__(self, sessions: OpenSessions, engine: Engine) -> None:
        self._sessions = sessions
        self._engine = engine

    def segment(self, order: Order, position: Position, ticket: Ticket) -> RunOutcome:
        """Segment all prompted objects of a frame.

        Raises
        ------
        PromptError
            There is no prompt, or one that cannot be used.
        """
        session = self._sessions.of(order)
        with session.one_step("segment frame"):
            self._sessions.configure(order)
            deliver_all(order.subject)
            if not self._sessions.make_ready(order, ticket):
                return RunOutcome(self._sessions.report(order), was_cancelled=True)
            scores = session.segment(position, overlap=order.overlap)
        ids = tuple(item.obj_id for item in scores)
        lost = tuple(item.obj_id for item in scores if not item.area)
        return RunOutcome(
            self._sessions.report(order),
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
        session, done, told_at = self._sessions.of(order), 0, time.monotonic()
        found: dict[int, bool] = {}
        with session.one_step("follow"):
            self._sessions.configure(order)
            deliver_all(order.subject)
            if not self._sessions.make_ready(order, ticket):
                return RunOutcome(self._sessions.report(order), was_cancelled=True)
            self._sessions.keep(order)
            memory = self._engine.watch_memory()
            with closing(_steps(session, order, legs, ticket)) as run:
                for step in run:
                    done = step.done
                    memory.look()
                    for item in step.scores:
                        had = found.get(item.obj_id, False)
                        found[item.obj_id] = had or bool(item.area)
                    report = None
                    if time.monotonic() > told_at + REPORT_EVERY:
                        report = self._sessions.report(order)
                        told_at = time.monotonic()
                    ticket.tell(on_step, step, report)
                    if ticket.is_cancelled():
                        break
        return RunOutcome(
            self._sessions.report(order),
            num_frames=done,
            was_cancelled=ticket.is_cancelled(),
            provenance=session.provenance(),
            objects=tuple(sorted(found)),
            lost=tuple(
                sorted(obj_id for obj_id, is_found in found.items() if not is_found)
            ),
            peak_bytes=memory.peak_bytes,
        )

    def find_all(
        self,
        order: Order,
        position: Position,
        first_id: int,
        on_part: Callable[[int, int], None],
        ticket: Ticket,
    ) -> RunOutcome:
        """Make an object of everything that the model finds on a frame.

        Parts of it that were looked through are told, of how many.
        """
        session, subject = self._sessions.of(order), order.subject
        with session.one_step("find all"):
            self._sessions.configure(order)
            deliver(subject)
            if not self._sessions.make_ready(order, ticket):
                return RunOutcome(self._sessions.report(order), was_cancelled=True)
            where = subject.axes.where(position)
            ticket.tell(order.on_report, f"Looking for objects on {where}")
            found = self._engine.propose(
                subject.data,
                subject.axes.stack.letters,
                session,
                position,
                partial(ticket.tell, on_part),
                ticket.is_cancelled,
            )
            if ticket.is_cancelled():
                return RunOutcome(self._sessions.report(order), was_cancelled=True)
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
                session.add_mask(obj_id, position, mask, score=item.iou_score)
            if ids:
                session.segment(position, ids)
        return RunOutcome(self._sessions.report(order), num_frames=1, objects=ids)

    def take_masks(
        self,
        order: Order,
        position: Position,
        masks: Mapping[int, PackedMask],
        ticket: Ticket,
    ) -> RunOutcome:
        """Make masks the prompts of objects that have none on a frame."""
        session = self._sessions.of(order)
        with session.one_step("take masks"):
            self._sessions.configure(order)
            deliver(order.subject)
            if not self._sessions.make_ready(order, ticket):
                return RunOutcome(self._sessions.report(order), was_cancelled=True)
            ids = tuple(i for i in masks if not has_prompts(session, i, position))
            for obj_id in ids:
                ensure_object(session, obj_id)
                session.add_mask(obj_id, position, masks[obj_id])
            if ids:
                session.segment(position, ids, overlap=order.overlap)
        return RunOutcome(self._sessions.report(order), num_frames=1, objects=ids)


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
