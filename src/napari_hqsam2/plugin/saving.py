"""A session that saves every change, as the widget tells of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_hqsam2.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hqsam2.session.session import Session


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file or folder cannot be written, and why.

    Raises
    ------
    SessionError
        The block raised OSError.
    """
    try:
        yield
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}."
        raise SessionError(msg) from error


def go_on_saving(session: Session, folder: Path) -> str:
    """Save changes where a session came from; why they are not, or empty."""
    try:
        session.autosave(folder)
    except (OSError, SessionError) as error:
        return f"Changes are not saved: {error}"
    return ""


class SavingNews:
    """What there is to tell of saving, each piece once.

    Parameters
    ----------
    session
        Followed as long as it lives.
    """

    def __init__(self, session: Session) -> None:
        self._news = ""
        session.events.autosave.connect(self._on_autosave)

    def take(self) -> str:
        """What is new; empty if nothing is."""
        news, self._news = self._news, ""
        return news

    def _on_autosave(self, problem: str) -> None:
        self._news = problem or "The session can be saved again, and is."
