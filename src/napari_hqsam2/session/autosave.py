"""A session that writes every change into its folder as it is made."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from napari_hqsam2.errors import SessionError
from napari_hqsam2.session.journal import JOURNAL_NAME, JournalFile
from napari_hqsam2.session.plain import StoredPixels, to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_hqsam2.session.label_store import LabelStore
    from napari_hqsam2.session.records import Position, Records

FULL = 256 * 2**20
"""Bytes of a journal after which the session is saved anew."""
POSIX = os.name == "posix"
"""Whether a file that is locked can be read: what tells who has the lock."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 300.0
"""Seconds before a folder that could not be written to is tried again."""


class FolderLock:
    """Keeps two sessions from writing into one folder; given back if a process dies.

    Parameters
    ----------
    folder
        Of the session; the lock is a file beside it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder.with_name(f".{folder.name}.lock")
        self._folder = folder
        self._lock = FileLock(self._path)

    @property
    def is_held(self) -> bool:
        """Whether this session has it."""
        return bool(self._lock.is_locked)

    def acquire(self) -> None:
        """Take the lock; nothing if it is held here already.

        Raises
        ------
        SessionError
            Another session has it.
        """
        if self.is_held:
            return
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            holder = self._path.read_text(encoding="utf-8") if POSIX else ""
            msg = (
                f"Another session{holder} writes into {self._folder}. Close it there, "
                "or choose another folder."
            )
            raise SessionError(msg) from error
        if POSIX:
            told = f" (process {os.getpid()} on {socket.gethostname()})"
            self._path.write_text(told, encoding="utf-8")

    def check(self) -> None:
        """Raise SessionError if another session has the lock; make no file for it."""
        if self._path.exists() and not self.is_held:
            self.acquire()
            self.release()

    def release(self) -> None:
        """Give it back."""
        self._lock.release()


class Autosave:
    """Follows records and labels, and keeps a folder up to date.

    Parameters
    ----------
    folder
        Of the session.
    save
        Writes it into the folder, with labels or without.
    records, labels
        What is followed.
    """

    def __init__(
        self,
        folder: Path,
        save: Callable[[bool], None],
        records: Records,
        labels: LabelStore,
    ) -> None:
        self.folder = folder
        self.problem = ""
        """Why the folder cannot be written to; empty if it can."""
        self._save = save
        self._records, self._labels = records, labels
        self._lock = FolderLock(folder)
        self._journal: JournalFile | None = None
        self._identity: tuple[int, int] | None = None
        self._calls: list[str] = []
        self._was_running = False
        self._wait, self._next_try = FIRST_WAIT, 0.0
        self._later: Iterator[Position] = iter(())
        """Frames whose labels are still to be saved."""

    def start(self, calls: list[str], *, gradually: bool = False) -> None:
        """Save everything, and follow what comes.

        Parameters
        ----------
        calls
            Of the script.
        gradually
            Leave the labels that are there to `catch_up`.

        Raises
        ------
        SessionError
            Another session writes there, or the folder holds something else.
        OSError
            It cannot be written to.
        """
        self._lock.acquire()
        try:
            self._save_all(calls, with_labels=not gradually)
        except BaseException:
            self._lock.release()
            raise
        self.problem = ""
        if gradually:
            self._later = self._labels.positions()
        for table in (*self._records.of_objects, self._records.settings):
            table.changed = set()
        self._labels.written = []

    def stop(self) -> None:
        """Follow no longer; the folder stays as it is."""
        self.pause()
        for table in (*self._records.of_objects, self._records.settings):
            table.changed = None
        self._labels.written = None

    def catch_up(self, seconds: float) -> bool:
        """Let the next `flush` write labels of frames that `start` left for later.

        Returns
        -------
        bool
            Whether there may be more of them, after so many seconds.
        """
        until = time.monotonic() + seconds
        for position in self._later:
            if not self._labels.is_empty(position):
                self._labels.note_frame(position)
            if time.monotonic() > until:
                return True
        return False

    def try_soon(self) -> None:
        """Let the next `flush` not wait for a folder that could not be written to."""
        self._next_try = 0.0

    def pause(self) -> None:
        """Let go of file and lock until there is something to write."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock.is_held:
            self._identity = _identity(self.folder / JOURNAL_NAME)
        self._lock.release()

    def flush(
        self, calls: list[str], header: Callable[[], Any], *, running: bool
    ) -> bool:
        """Write what has changed since; tell whether `problem` is another one now.

        Parameters
        ----------
        calls
            Of the script.
        header
            Gives settings and provenance as they are saved.
        running
            Whether a run is under way.
        """
        record, before = self._record(calls, header), self.problem
        if not (record or before) and running == self._was_running:
            return False
        try:
            if before or self._size() > FULL:
                if running or time.monotonic() < self._next_try:
                    return False
                self._enter()
                self._save_all(calls)
            else:
                self._append({**record, "running": running})
        except (OSError, SessionError) as error:
            self._give_up(error)
        except BaseException as error:
            self._give_up(error)  # the record is lost otherwise
            raise
        else:
            self.problem, self._wait = "", FIRST_WAIT
        self._calls, self._was_running = list(calls), running
        return self.problem != before

    def _record(self, calls: list[str], header: Callable[[], Any]) -> dict[str, Any]:
        """What has changed since the last record, as plain values."""
        record: dict[str, Any] = {}
        puts = []
        for table in self._records.of_objects:
            changed = table.changed or ()
            for obj_id, place in sorted(changed):
                value = to_plain(table.name, table.get(obj_id, place))
                puts.append([table.name, obj_id, place, value])
            table.changed = set()
        written = self._labels.written or ()
        pixels = [StoredPixels.of(p, is_undo=u).to_plain() for p, u in written]
        self._labels.written = []
        if self._records.settings.changed:
            record["header"] = header()
            self._records.settings.changed = set()
        kept = _common(self._calls, calls)
        if kept < len(calls) or kept < len(self._calls):
            record["calls"] = [kept, calls[kept:]]
        given = {"puts": puts, "pixels": pixels}
        return {**record, **{name: value for name, value in given.items() if value}}

    def _append(self, record: dict[str, Any]) -> None:
        if self._journal is None:
            self._enter()
            self._journal = JournalFile(self.folder / JOURNAL_NAME)
        self._journal.append(record)

    def _enter(self) -> None:
        """Take the lock, unless somebody else has written meanwhile."""
        if self._lock.is_held:
            return
        self._lock.acquire()
        found = _identity(self.folder / JOURNAL_NAME)
        if found is not None and found != self._identity:
            self._lock.release()
            msg = (
                f"{self.folder} has been changed by somebody else; save the session in "
                "another folder."
            )
            raise SessionError(msg)

    def _save_all(self, calls: list[str], *, with_labels: bool = True) -> None:
        self._lock.acquire()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._save(with_labels)
        self._later = iter(())
        self._journal = JournalFile(self.folder / JOURNAL_NAME)
        self._calls = list(calls)

    def _size(self) -> int:
        return 0 if self._journal is None else self._journal.size

    def _give_up(self, error: BaseException) -> None:
        """Keep the work in memory, and try again later, everything at once."""
        self.problem = (
            f"The session cannot be saved in {self.folder}: "
            f"{(str(error) or repr(error)).rstrip('.')}. Your work is kept in memory, "
            "and saving is tried again; save it in another folder to be safe."
        )
        self._next_try = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None if there is none."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_size


def _common(one: list[str], other: list[str]) -> int:
    """How many entries two lists begin with alike."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a is not b and a != b:
            return index
    return min(len(one), len(other))
