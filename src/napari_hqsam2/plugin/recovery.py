"""Folders that keep unsaved work, and how it is found again on the same image."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.files import STALE, state_folder
from napari_hqsam2.plugin.state import Unsaved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hqsam2.axes import StackAxes

logger = logging.getLogger(__name__)

MOST = 20
"""Pieces of unsaved work that are kept."""
MOST_BYTES = 4 * 10**9
"""What they may take together."""
MOST_SECONDS = 30 * 24 * 3600.0
"""How long they are kept."""
SESSION_NAME, LOCK_NAME = "work.session", "in-use"
DIGITS = 16
"""Of digests in names."""


class KeptWork:
    """A place for unsaved work that no other viewer touches as long as this has it.

    Parameters
    ----------
    place
        Folder.
    """

    def __init__(self, place: Path) -> None:
        from filelock import FileLock  # noqa: PLC0415 - the dock opens without

        self.place = place
        self._lock = FileLock(place / LOCK_NAME)

    @property
    def folder(self) -> Path:
        """Of the session."""
        return self.place / SESSION_NAME

    def claim(self) -> bool:
        """Keep others out; False if one of them has the place."""
        from filelock import Timeout  # noqa: PLC0415 - as above

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Let others have the place: a viewer that opens the same image, say."""
        self._lock.release()

    def remove(self) -> None:
        """Delete what was kept."""
        self.release()
        shutil.rmtree(self.place, ignore_errors=True)


class RecoveryFolder:
    """All unsaved work of the user.

    Parameters
    ----------
    root
        Where it is kept; a folder of the user's if None.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = state_folder() / "unsaved" if root is None else root

    def new(self, axes: StackAxes, fingerprint: str) -> KeptWork:
        """A place of one's own for work on a stack, once old work has made room.

        Raises
        ------
        OSError
            There cannot be one.
        """
        self.sweep()
        name = f"{_key(axes)}-{fingerprint[:DIGITS]}-{secrets.token_hex(4)}"
        (self.root / name).mkdir(parents=True)
        kept = KeptWork(self.root / name)
        kept.claim()
        return kept

    def has_any(self, axes: StackAxes) -> bool:
        """Whether there may be work on a stack like this; takes no time."""
        return any(True for _ in self.root.glob(f"{_key(axes)}-*"))

    def find(self, axes: StackAxes, fingerprint: str) -> Unsaved | None:
        """The newest work on a stack that nobody has open; None if there is none."""
        places = self.root.glob(f"{_key(axes)}-{fingerprint[:DIGITS]}-*")
        for place in sorted(places, key=_changed, reverse=True):
            kept, objects = KeptWork(place), 0
            try:
                if kept.claim():
                    objects = _count(kept.folder)
            except (HqSam2Error, OSError) as error:
                logger.warning("Unsaved work in %s cannot be read: %s", place, error)
            finally:
                kept.release()
            if objects:
                return Unsaved(place, _changed(place), objects)
        return None

    def claim(self, unsaved: Unsaved) -> KeptWork | None:
        """Take over work; None if it is gone, or somebody else has it open."""
        if not (unsaved.place / SESSION_NAME).is_dir():
            return None
        kept = KeptWork(unsaved.place)
        return kept if kept.claim() else None

    def sweep(self) -> None:
        """Remove work that is too old or too much, and what holds none."""
        now, room = time.time(), MOST_BYTES
        places = sorted(self._places(), key=_changed, reverse=True)
        for number, place in enumerate(places, start=1):
            age = now - _changed(place)
            room -= _size(place)
            is_work = (place / SESSION_NAME).is_dir()
            is_needed = number < MOST and room > 0 and age < MOST_SECONDS
            if (is_work and is_needed) or age < STALE:
                continue
            kept = KeptWork(place)
            if kept.claim():
                kept.remove()

    def _places(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from (place for place in self.root.iterdir() if place.is_dir())


def _key(axes: StackAxes) -> str:
    """What tells of a stack without a look at its pixels."""
    return blake2b(axes.described.encode(), digest_size=DIGITS // 2).hexdigest()


def _count(folder: Path) -> int:
    """Objects of kept work."""
    from napari_hqsam2.session.records import Records  # noqa: PLC0415 - as above
    from napari_hqsam2.session.storage import read_session  # noqa: PLC0415

    records = Records()
    if folder.is_dir():
        read_session(folder).fill(records)
    return len(records.obj_ids)


def _changed(place: Path) -> float:
    """When something was saved there last; when it was made, if nothing was."""
    names = ("journal", "session.json")
    paths = [place, *(place / SESSION_NAME / name for name in names)]
    times = [0.0]
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _size(place: Path) -> int:
    sizes = [0]
    for path in place.rglob("*"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes)
