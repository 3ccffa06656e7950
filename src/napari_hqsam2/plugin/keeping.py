"""Keeps what nobody has saved, from the first object on; in the inference thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.errors import HqSam2Error, ReadCancelledError

if TYPE_CHECKING:
    from napari_hqsam2.plugin.orders import Subject
    from napari_hqsam2.plugin.recovery import KeptWork, RecoveryFolder
    from napari_hqsam2.session.session import Session

RETRY = 60.0
"""Seconds before work that could not be kept is kept after all."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How far the work on an image is kept."""

    has_more: bool = False
    """Whether there are labels left to be saved."""
    problem: str = ""
    """Why it is not kept."""


class WorkKeeper:
    """Lets sessions save themselves into folders of their own, until somebody does.

    Parameters
    ----------
    folder
        Where; None keeps nothing.
    """

    def __init__(self, folder: RecoveryFolder | None) -> None:
        self._folder = folder
        self._kept: set[Subject] = set()

    def keep(self, subject: Subject, *, is_wanted: bool) -> Keeping:
        """Keep the work on an image, if there is any; what was saved is not kept.

        Raises
        ------
        ReadCancelledError
            Something else is to be done first.
        """
        session, folder = subject.session, self._folder
        if session is None or folder is None:
            return Keeping()
        kept = subject.kept
        is_saved = session.autosave_folder not in (None, kept and kept.folder)
        if kept is not None and (is_saved or not is_wanted):
            self._end(subject, session, kept)
        if is_saved or not is_wanted:
            return Keeping()
        if subject.kept is None and session.obj_ids:
            if time.monotonic() < subject.not_kept_until:
                return Keeping()
            problem = self._begin(subject, session, folder)
            if problem:
                subject.not_kept_until = time.monotonic() + RETRY
                return Keeping(problem=problem)
        return Keeping(subject.kept is not None and session.save_some())

    def adopt(self, subject: Subject, kept: KeptWork) -> None:
        """Keep on keeping work that has been restored."""
        subject.kept = kept
        self._kept.add(subject)

    def let_go(self, subject: Subject) -> None:
        """Leave the work on an image for another day; its session is closed."""
        kept, session = subject.kept, subject.session
        if kept is None:
            return
        if session is not None and not session.obj_ids:
            session.autosave(None)
            kept.remove()
        else:
            kept.release()
        subject.kept = None
        self._kept.discard(subject)

    def close(self) -> None:
        """Leave all work for another day."""
        for subject in tuple(self._kept):
            self.let_go(subject)

    def _begin(self, subject: Subject, session: Session, folder: RecoveryFolder) -> str:
        """Let a session save itself; why it cannot, or empty."""
        kept = None
        try:
            kept = folder.new(subject.axes.stack, session.fingerprint)
            session.autosave(kept.folder, gradually=True)
        except (HqSam2Error, OSError) as error:
            if kept is not None:
                kept.remove()
            if isinstance(error, ReadCancelledError):
                raise
            return (
                f"Unsaved work cannot be kept in {folder.root}: "
                f"{str(error).rstrip('.')}. Save it elsewhere (Save as ▸ Session)."
            )
        self.adopt(subject, kept)
        return ""

    def _end(self, subject: Subject, session: Session, kept: KeptWork) -> None:
        """Remove what is saved elsewhere, or not to be kept."""
        if session.autosave_folder == kept.folder:
            session.autosave(None)
        kept.remove()
        subject.kept = None
        self._kept.discard(subject)
