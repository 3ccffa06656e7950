"""Sessions of the inference thread: one per image, one of them with the model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_hqsam2.errors import ReadCancelledError, SessionError
from napari_hqsam2.plugin.models import Waiting
from napari_hqsam2.plugin.views import Report, Reporter
from napari_hqsam2.predictors.intensity import narrowed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hqsam2.plugin.inference import Ticket
    from napari_hqsam2.plugin.keeping import Keeping, WorkKeeper
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.plugin.orders import Order, Subject
    from napari_hqsam2.plugin.recovery import KeptWork
    from napari_hqsam2.session.session import Session


class OpenSessions:
    """Makes and opens the sessions that orders are about, and gives one the model.

    Parameters
    ----------
    engine
        Where sessions and models come from.
    keeper
        Keeps what nobody has saved.
    """

    def __init__(self, engine: Engine, keeper: WorkKeeper) -> None:
        self._engine = engine
        self._keeper = keeper
        self._open: Subject | None = None

    def close(self, *, keep_model: bool = False) -> None:
        """Let go of everything, of the model only if nobody else uses it."""
        if self._open is not None:
            self._keep_rest(self._open)
        self.release(keep_model=keep_model)
        self._keeper.close()
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
            self._keep_rest(subject)
            subject.session.close()
            self._keeper.let_go(subject)
            subject.session = subject.reporter = None

    def _keep_rest(self, subject: Subject) -> None:
        """Keep what is to be kept and was not yet, there being other things to do."""
        with suppress(ReadCancelledError):
            while self._keeper.keep(subject, is_wanted=subject.keeps_work).has_more:
                pass

    def keep(self, order: Order) -> Keeping:
        """Keep the work on the subject, as far as nobody has saved it."""
        order.subject.keeps_work = order.keeps_work
        return self._keeper.keep(order.subject, is_wanted=order.keeps_work)

    def of(self, order: Order) -> Session:
        """The session of the subject, made when it is first needed."""
        subject = order.subject
        subject.keeps_work = order.keeps_work
        if self._open is not None and self._open is not subject:
            before = self._open
            if before.session is not None:
                before.session.close()
                before.needs_model = True
        self._open = subject
        session = subject.session
        if session is None:
            session = self._new(subject, order.options)
            if order.stain_limits is not None:
                options = _with_stains(session, order)
                session.close()
                session = self._new(subject, options)
            _take_over(subject, session)
        return session

    def _new(self, subject: Subject, options: Mapping[str, Any]) -> Session:
        letters = subject.axes.stack.letters
        return self._engine.new_session(subject.data, letters, subject.labels, options)

    def with_model(self, subject: Subject) -> Session | None:
        """The session of a subject, if it is there and has its model."""
        is_ready = subject is self._open and not subject.needs_model
        return subject.session if is_ready else None

    def open_saved(
        self, order: Order, folder: Path, kept: KeptWork | None = None
    ) -> Session:
        """Let a saved session be the one of the subject.

        Parameters
        ----------
        order
            What is worked on.
        folder
            Of the session.
        kept
            Where it is kept, if nobody had saved it.

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
        if kept is not None:
            self._keeper.adopt(subject, kept)
        return session

    def configure(self, order: Order) -> bool:
        """Let the session have the settings of an order; tell whether any is new."""
        session = self.of(order)
        changed = {
            name: value
            for name, value in _with_stains(session, order).items()
            if getattr(session.settings, name) != value
        }
        if changed:
            session.configure(**changed)
        return bool(changed)

    def make_ready(self, order: Order, ticket: Ticket, *, ask: bool = True) -> bool:
        """Give the session its model; False if cancelled on the way."""
        subject = order.subject
        if subject.needs_model:

            def report(text: str) -> None:
                ticket.tell(order.on_report, text)

            waiting = Waiting(report, ticket.is_cancelled, may_download=ask)
            session = self.of(order)
            if not self._engine.give_model(session, waiting):
                return False
            subject.needs_model = False
        return True

    def report(self, order: Order) -> Report:
        """What has changed in the session, and where the model computes."""
        reporter = order.subject.reporter
        if reporter is None:
            return Report(line=order.line)
        report = reporter.report(order.line, order.position)
        return replace(
            report,
            whereabouts=self._engine.whereabouts(),
            refused=order.subject.take_refused(),
        )


def _with_stains(session: Session, order: Order) -> Mapping[str, Any]:
    """Options of an order, with limits for each of several channels."""
    channels, common = order.options["channels"], order.stain_limits
    if common is None:
        return order.options
    known = order.subject.ranges
    if channels not in known:
        if session.settings.channels != channels:
            session.configure(channels=channels, contrast_limits=None)
        known[channels] = session.channel_ranges()
    limits = tuple(narrowed(own, common) for own in known[channels])
    return {**order.options, "contrast_limits": limits}


def _take_over(subject: Subject, session: Session) -> None:
    """Let a session be the one on an image."""
    subject.reporter = Reporter(session, subject.axes)

    def on_settings() -> None:
        subject.needs_model = True

    session.events.settings.connect(on_settings)
    subject.session = session
