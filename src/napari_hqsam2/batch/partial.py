"""A job under way, on the disk: labels that are finished, and where the run stands.

One folder beside the output. ``state.pt`` names all other files and is replaced
atomically, so that a folder is whole at any moment; files that it does not name belong
to nobody. Nothing in it can run code.
"""

from __future__ import annotations

import logging
import pickle  # only to name its error
import secrets
import shutil
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_hqsam2.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_hqsam2._types import AnyArray, BoolArray, LabelArray
    from napari_hqsam2.segmentation.run_states import Plain, RunState

logger = logging.getLogger(__name__)

SAVED_EVERY = 60.0
"""Seconds of work that may be lost."""
MOST_OF_TIME = 0.05
"""Part of the time that saving may take; where it takes more, it is done less often."""
STATE_FILE = "state.pt"
UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    KeyError,
    ValueError,
    RuntimeError,
)
"""What a file may raise that is damaged, or was never ours."""
FAST = 1
"""Level of compression."""


@dataclass(slots=True)
class Partial:
    """What is kept of a job that is not finished.

    Parameters
    ----------
    folder
        Where; made when there is something to keep.
    signature
        Of inputs, settings and the way of computing: what was kept with another one is
        not used.
    """

    folder: Path
    signature: str
    done: int = 0
    """Frames that are finished."""
    run: Plain | None = None
    """Where the run stands, as `RunState.to_plain` says it; None at the beginning."""
    found: dict[int, BoolArray] = field(default_factory=dict)
    """(H, W) masks that prompt the run, where the model found the objects itself."""
    _blocks: list[str] = field(default_factory=list)
    _found_file: str = ""
    _fresh: dict[tuple[int, ...], None] = field(default_factory=dict)
    """Positions with labels that no block holds."""
    _latest: RunState | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    def read(self, labels: LabelArray) -> None:
        """Take up what is there, into `labels` too; nothing if it cannot be used."""
        try:
            state = self._read_state()
            if state is None:
                return
            blocks = [_read_arrays(self.folder / name) for name in state["blocks"]]
            found_file = state["found"]
            found = _read_arrays(self.folder / found_file) if found_file else {}
        except UNREADABLE as error:
            logger.warning(
                "%s cannot be read (%s); the work begins anew.", self.folder, error
            )
            return
        for block in blocks:
            for name, frame in block.items():
                labels[_position(name)] = frame
        self.done, self.run = state["done"], state["run"]
        self.found = {int(name): mask for name, mask in found.items()}
        self._blocks, self._found_file = state["blocks"], found_file

    def _read_state(self) -> dict[str, Any] | None:
        path = self.folder / STATE_FILE
        if not path.is_file():
            return None
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                msg = f"{STATE_FILE} is damaged"
                raise ValueError(msg)
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if state["signature"] == self.signature:
            return state
        logger.warning(
            "%s was begun with other inputs, settings, versions or on another kind of "
            "device; the work begins anew.",
            self.folder,
        )
        return None

    def keep_found(self, found: Mapping[int, BoolArray]) -> None:
        """Keep the objects that the model found on a frame."""
        self.found = dict(found)
        name = f"found-{secrets.token_hex(4)}.npz"
        arrays = {str(obj_id): mask for obj_id, mask in found.items()}
        with self._disk_errors_told():
            _write_arrays(self._place(name), arrays)
            self._found_file = name
            self._write_state()

    def note(
        self, position: tuple[int, ...], state: RunState, labels: LabelArray
    ) -> None:
        """Note that one more frame of `labels` is finished; save if it is time."""
        self._fresh[position] = None
        self._latest = state
        self.done += 1
        waited = time.monotonic() - self._saved_at
        if waited > max(SAVED_EVERY, self._cost / MOST_OF_TIME):
            self.save(labels)

    def save(self, labels: LabelArray) -> None:
        """Keep all that was noted; a disk that fails is told, and the work goes on."""
        if self._latest is None:
            return
        start = time.monotonic()
        with self._disk_errors_told():
            if self._fresh:
                name = f"labels-{secrets.token_hex(4)}.npz"
                frames = {_name(place): labels[place] for place in self._fresh}
                _write_arrays(self._place(name), frames)
                self._blocks.append(name)
                self._fresh.clear()
            self.run = self._latest.to_plain()
            self._write_state()
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start

    def _write_state(self) -> None:
        state = {
            "signature": self.signature,
            "done": self.done,
            "blocks": self._blocks,
            "found": self._found_file,
            "run": self.run,
        }
        with atomic_path(self._place(STATE_FILE)) as temporary:
            torch.save(state, temporary)

    def _place(self, name: str) -> Path:
        self.folder.mkdir(exist_ok=True)
        return self.folder / name

    @contextmanager
    def _disk_errors_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            logger.warning(
                "What is finished cannot be kept in %s (%s). The work goes on; if it "
                "is broken off, it begins again where it was kept last, or anew.",
                self.folder,
                error,
            )

    def remove(self) -> None:
        """Keep nothing any more."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _name(position: tuple[int, ...]) -> str:
    return "-".join(map(str, position))


def _position(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("-")))


def _write_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> None:
    """As NumPy's ``savez_compressed``, but fast and all or nothing."""
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(
            temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=FAST
        ) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def _read_arrays(path: Path) -> dict[str, AnyArray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
