"""Sessions as folders: JSON for what is known, Zarr for the labels, and a journal.

The journal holds what has happened since (`journal.py`), if the session saves itself.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import SessionError
from napari_hqsam2.files import atomic_folder, restore_folder
from napari_hqsam2.session.checksums import SUMS_NAME, check_files, write_checksums
from napari_hqsam2.session.journal import JOURNAL_NAME, Journal, read_journal
from napari_hqsam2.session.plain import (
    DAMAGE,
    SETTING_TYPES,
    check_types,
    from_plain,
    to_plain,
)
from napari_hqsam2.stack_files import PixelSize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.session.label_store import LabelStore
    from napari_hqsam2.session.records import Position, Records

FORMAT = "napari-hqsam2 session"
VERSION = 2
UNCHECKED = 1
"""Version that had no checksums."""
JSON_NAME, LABELS_NAME = "session.json", "labels.zarr"
CHUNK = 1024
"""Most pixels along a side of a chunk of labels."""


@contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """Raise SessionError where what a folder holds is not what was saved."""
    try:
        yield
    except (OSError, *DAMAGE) as error:
        msg = (
            f"The saved session in {folder} is damaged ({type(error).__name__}: "
            f"{error}). Take a copy of it from elsewhere, or go on with its labels: "
            f"they are in {LABELS_NAME}."
        )
        raise SessionError(msg) from error


class SavedLabels:
    """Saved labels, brought up to date frame by frame as they are read.

    Parameters
    ----------
    saved
        As they were saved.
    journal
        What has happened since.
    """

    def __init__(self, saved: Any, journal: Journal) -> None:
        self._saved = saved
        self._pixels = journal.pixels
        types = {p.dtype for items in self._pixels.values() for p in items}
        self.dtype: np.dtype[Any] = np.result_type(saved.dtype, *types)
        self.shape: tuple[int, ...] = tuple(saved.shape)
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> LabelArray:
        """(H, W) labels of a frame, or what NumPy's indexing gives of several."""
        index = index if isinstance(index, tuple) else (index,)
        leading = self.ndim - 2
        if len(index) < leading or not all(
            isinstance(i, int | np.integer) for i in index[:leading]
        ):
            whole: LabelArray = np.asarray(self)[index]
            return whole
        frame = self._frame(tuple(int(i) for i in index[:leading]))
        part: LabelArray = frame[index[leading:]]
        return part

    def __array__(self, dtype: Any = None, copy: Any = None) -> LabelArray:
        """All of it."""
        del copy
        whole = np.empty(self.shape, self.dtype)
        for position in np.ndindex(*self.shape[:-2]):
            whole[position] = self._frame(position)
        return whole if dtype is None else whole.astype(dtype)

    def _frame(self, position: Position) -> LabelArray:
        frame: LabelArray = np.array(self._saved[position], dtype=self.dtype)
        for item in self._pixels.get(position, ()):
            try:
                item.apply(frame)
            except ValueError as error:
                msg = f"The saved session is damaged: {error} at {position}."
                raise SessionError(msg) from error
        return frame


@dataclass(frozen=True, slots=True)
class SavedSession:
    """What a folder holds."""

    folder: Path
    header: dict[str, Any]
    """Everything in the JSON file but the records."""
    records: dict[str, list[Any]]
    chunked: Any
    """Zarr array of the labels as they were saved; read only."""
    journal: Journal = field(default_factory=Journal)
    """What has happened since."""

    @property
    def labels(self) -> Any:
        """Labels as they were last: an array, or a `SavedLabels`; read only."""
        has_more = bool(self.journal.pixels)
        return SavedLabels(self.chunked, self.journal) if has_more else self.chunked

    @property
    def pixel_sizes(self) -> dict[str, PixelSize]:
        """Physical size of an index step by axis letter, as far as it was known."""
        stored = self.header["stack"].get("pixel_sizes", {})
        return {letter: PixelSize(*size) for letter, size in stored.items()}

    def model_to_go_on_with(
        self, model: str | SAM2VideoPredictor | None
    ) -> str | SAM2VideoPredictor:
        """The model that was given, or else that of the session.

        Raises
        ------
        SessionError
            There is neither.
        """
        name: str | None = self.header["provenance"]["model"]
        if model is None and name is None:
            msg = (
                "The session was made with a model that was passed as an object; pass "
                "it again: Session.load(folder, stack, model=load_model(...))."
            )
            raise SessionError(msg)
        return model or name or ""

    def filled(self) -> Iterator[Position]:
        """Frames whose labels may hold something; all others are empty."""
        path, shape = self.folder / LABELS_NAME, self.labels.shape
        name_of = self.chunked.metadata.encode_chunk_key
        grid = [
            range(-(-side // step))
            for side, step in zip(shape[-2:], self.chunked.chunks[-2:], strict=True)
        ]
        for position in np.ndindex(*shape[:-2]):
            keys = (name_of((*position, *place)) for place in product(*grid))
            is_saved = any((path / key).is_file() for key in keys)
            if is_saved or position in self.journal.pixels:
                yield position

    def fill(self, records: Records) -> None:
        """Put the saved records into empty ones.

        Raises
        ------
        SessionError
            They are not what this version writes.
        """
        with damage_told(self.folder):
            for item in self.records["objects"]:
                tracked = from_plain("objects", item)
                records.objects.put(tracked.obj_id, (), tracked)
            for item in self.records["prompts"]:
                prompts = from_plain("prompts", item)
                records.prompts.put(prompts.obj_id, prompts.position, prompts)
            for obj_id, position in self.records["locks"]:
                place = tuple(map(int, position))
                records.locks.put(int(obj_id), place, value=True)
            for item in self.records["scores"]:
                scores = from_plain("scores", item)
                records.scores.put(scores.obj_id, scores.position, scores)
        self.journal.fill(records)


def write_session(
    folder: Path,
    header: Mapping[str, Any],
    records: Records,
    labels: LabelStore,
    *,
    with_labels: bool = True,
) -> None:
    """Write a folder, all or nothing; an earlier session there is replaced.

    All frames are empty there if it is to be without labels.

    Raises
    ------
    SessionError
        The folder holds something that is not a session.
    """
    folder = folder.absolute()
    if folder.exists() and not _is_replaceable(folder):
        msg = (
            f"{folder} exists and is not a saved session; choose a new folder, so that "
            "nothing in it is lost."
        )
        raise SessionError(msg)
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, **header}
    for table in (records.objects, records.prompts, records.scores):
        content[table.name] = [to_plain(table.name, v) for _, _, v in table.items()]
    content["locks"] = [[obj_id, place] for obj_id, place, _ in records.locks.items()]
    with atomic_folder(folder) as new:
        _write_labels(new / LABELS_NAME, labels, are_empty=not with_labels)
        (new / JSON_NAME).write_text(_as_text(content), encoding="utf-8")
        write_checksums(new, {JOURNAL_NAME})


def read_session(folder: Path) -> SavedSession:
    """Read a folder, once its files are seen to be what was saved.

    Its labels are opened, not decoded.

    Raises
    ------
    SessionError
        There is no session, it is damaged, or from a newer version.
    """
    restore_folder(folder)
    path = folder / JSON_NAME
    if not path.is_file():
        msg = f"There is no saved session in {folder}: it has no {JSON_NAME}."
        raise SessionError(msg)
    with damage_told(folder):
        is_checked = (folder / SUMS_NAME).is_file()
        if is_checked:
            check_files(folder, {JOURNAL_NAME})
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        is_ours = content["format"] == FORMAT and version in (UNCHECKED, VERSION)
    if not is_ours:
        msg = (
            f"{path} is of version {version}; this napari-hqsam2 reads versions up to "
            f"{VERSION}. Use the one that wrote it."
        )
        raise SessionError(msg)
    journal = read_journal(folder / JOURNAL_NAME)
    with damage_told(folder):
        if version != UNCHECKED and not is_checked:
            raise FileNotFoundError(folder / SUMS_NAME)
        records = {name: content.pop(name) for name in _TABLES}
        content.update(journal.header)
        content["script"]["calls"] = journal.calls(content["script"]["calls"])
        saved = zarr.open_array(folder / LABELS_NAME, mode="r")
        _check(content, saved)
    return SavedSession(folder, content, records, saved, journal)


def _check(content: Mapping[str, Any], labels: Any) -> None:
    """Find out now, with one of `DAMAGE`, whether what is read later is there."""
    stack, script = content["stack"], content["script"]
    axes = StackAxes(stack["axes"], tuple(stack["shape"]))
    if tuple(labels.shape) != axes.labels_shape or labels.dtype.kind not in "iu":
        msg = f"labels of shape {labels.shape} and type {labels.dtype}"
        raise ValueError(msg)
    for size in stack.get("pixel_sizes", {}).values():
        PixelSize(*size)
    for text in (*script["comments"], *script["calls"], *script["arguments"].values()):
        if not isinstance(text, str):
            raise TypeError(text)
    if not isinstance(content["provenance"]["model"], str | None):
        raise TypeError(content["provenance"]["model"])
    check_types(content["settings"], SETTING_TYPES)
    check_types(stack, {"fingerprint": str})
    content["settings"].items(), stack["fingerprint"]


_TABLES = ("objects", "prompts", "locks", "scores")


def _as_text(content: Mapping[str, Any]) -> str:
    """JSON with a line for each value of a table.

    Each is encoded by itself, so that other threads run meanwhile.
    """
    encode = partial(json.dumps, separators=(",", ":"), allow_nan=False)
    parts = []
    for name, value in content.items():
        if name in _TABLES:
            listed = ",\n".join(map(encode, value))
            parts.append(f"{encode(name)}:[\n{listed}\n]")
        else:
            parts.append(f"{encode(name)}:{encode(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and (
        (folder / JSON_NAME).is_file() or not any(folder.iterdir())
    )


def _write_labels(path: Path, labels: LabelStore, *, are_empty: bool) -> None:
    shape = tuple(labels.array.shape)
    chunks = (*(1 for _ in shape[:-2]), *(min(CHUNK, side) for side in shape[-2:]))
    array = zarr.create_array(
        store=path, shape=shape, chunks=chunks, dtype=np.dtype(labels.array.dtype)
    )
    for position in () if are_empty else labels.positions():
        frame = labels.frame(position)
        if frame.any():
            array[position] = frame
