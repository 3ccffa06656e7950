"""Weights files of one's own that were used before, remembered by their paths."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.files import atomic_path, config_folder

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

FILE_NAME = "weights.json"
MOST = 50
"""Files that are remembered; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A weights file of one's own."""

    path: str
    model: str
    """Name of the model that it is for."""


def own_files() -> tuple[OwnFile, ...]:
    """Remembered files, the newest first; they may be gone from the disk."""
    path = config_folder() / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return tuple(OwnFile(str(x["path"]), str(x["model"])) for x in content)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        logger.warning("%s is not read: %s", path, error)
        return ()


def remember(path: Path, model: str) -> None:
    """Put a file first on the list.

    Parameters
    ----------
    path
        The weights file.
    model
        Name of the model that it is for.
    """
    new = OwnFile(str(path.expanduser().absolute()), model)
    others = [item for item in own_files() if item.path != new.path]
    _write([new, *others][:MOST])


def forget(path: Path) -> bool:
    """Take a file off the list, and leave it where it is; tell whether it was on it."""
    gone, listed = str(path.expanduser().absolute()), own_files()
    left = [item for item in listed if item.path != gone]
    if len(left) == len(listed):
        return False
    _write(left)
    return True


def _write(items: list[OwnFile]) -> None:
    path = config_folder() / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            text = json.dumps([asdict(item) for item in items], indent=1)
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        logger.warning("Weights cannot be remembered in %s: %s", path, error)
