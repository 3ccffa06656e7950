"""Sessions as folders: JSON for what is known, Zarr for the labels."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_hqsam2.errors import SessionError
from napari_hqsam2.files import atomic_folder
from napari_hqsam2.prompts import BoxPrompt, PointPrompt
from napari_hqsam2.session.packed_masks import PackedMask
from napari_hqsam2.session.records import (
    FrameScores,
    PlacedPrompts,
    Track,
    TrackedObject,
)
from napari_hqsam2.stack_files import PixelSize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hqsam2.session.label_store import LabelStore
    from napari_hqsam2.session.records import Records

FORMAT = "napari-hqsam2 session"
VERSION = 1
JSON_NAME, LABELS_NAME = "session.json", "labels.zarr"
CHUNK = 1024
"""Most pixels along a side of a chunk of labels."""


@dataclass(frozen=True, slots=True)
class SavedSession:
    """What a folder holds."""

    header: dict[str, Any]
    """Everything in the JSON file but the records."""
    records: dict[str, list[Any]]
    labels: Any
    """Zarr array, read only."""

    @property
    def pixel_sizes(self) -> dict[str, PixelSize]:
        """Physical size of an index step by axis letter, as far as it was known."""
        stored = self.header["stack"].get("pixel_sizes", {})
        return {letter: PixelSize(*size) for letter, size in stored.items()}

    def fill(self, records: Records) -> None:
        """Put the saved records into empty ones.

        Raises
        ------
        SessionError
            They are not what this version writes.
        """
        try:
            for item in self.records["objects"]:
                records.objects.put(item["obj_id"], (), TrackedObject(**item))
            for item in self.records["prompts"]:
                prompts = _prompts_from(item)
                records.prompts.put(prompts.obj_id, prompts.position, prompts)
            for obj_id, position in self.records["locks"]:
                records.locks.put(obj_id, tuple(position), value=True)
            for item in self.records["scores"]:
                scores = _scores_from(item)
                records.scores.put(scores.obj_id, scores.position, scores)
        except (KeyError, TypeError, ValueError) as error:
            msg = f"The saved session is damaged: {type(error).__name__}: {error}."
            raise SessionError(msg) from error


def write_session(
    folder: Path, header: Mapping[str, Any], records: Records, labels: LabelStore
) -> None:
    """Write a folder, all or nothing; an earlier session there is replaced.

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
    content = {
        "format": FORMAT,
        "version": VERSION,
        **header,
        "objects": [asdict(item) for _, _, item in records.objects.items()],
        "prompts": [_prompts_to(item) for _, _, item in records.prompts.items()],
        "locks": [[obj_id, position] for obj_id, position, _ in records.locks.items()],
        "scores": [_scores_to(item) for _, _, item in records.scores.items()],
    }
    with atomic_folder(folder) as new:
        _write_labels(new / LABELS_NAME, labels)
        text = json.dumps(content, indent=1, allow_nan=False)
        (new / JSON_NAME).write_text(text, encoding="utf-8")


def read_session(folder: Path) -> SavedSession:
    """Read a folder; its labels are opened, not read.

    Raises
    ------
    SessionError
        There is no session, it is damaged, or from a newer version.
    """
    path = folder / JSON_NAME
    if not path.is_file():
        msg = f"There is no saved session in {folder}: it has no {JSON_NAME}."
        raise SessionError(msg)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_ours = content["format"] == FORMAT and content["version"] == VERSION
        records = {name: content.pop(name) for name in _TABLES}
        labels = zarr.open_array(folder / LABELS_NAME, mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"The saved session in {folder} is damaged: {error}."
        raise SessionError(msg) from error
    if not is_ours:
        msg = (
            f"{path} is of version {content['version']}; this napari-hqsam2 reads "
            f"version {VERSION}. Use the one that wrote it."
        )
        raise SessionError(msg)
    return SavedSession(content, records, labels)


_TABLES = ("objects", "prompts", "locks", "scores")


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and (
        (folder / JSON_NAME).is_file() or not any(folder.iterdir())
    )


def _write_labels(path: Path, labels: LabelStore) -> None:
    shape = tuple(labels.array.shape)
    chunks = (*(1 for _ in shape[:-2]), *(min(CHUNK, side) for side in shape[-2:]))
    array = zarr.create_array(
        store=path, shape=shape, chunks=chunks, dtype=np.dtype(labels.array.dtype)
    )
    for position in labels.positions():
        frame = labels.frame(position)
        if frame.any():
            array[position] = frame


def _prompts_to(item: PlacedPrompts) -> dict[str, Any]:
    track = item.track
    return {
        "obj_id": item.obj_id,
        "position": item.position,
        "points": [[p.y, p.x, p.positive] for p in item.points],
        "box": item.box and [item.box.y0, item.box.x0, item.box.y1, item.box.x1],
        "mask": item.mask and item.mask.text,
        "track": track
        and {
            "mask": track.mask.text,
            "scores": track.scores and _scores_to(track.scores),
        },
    }


def _prompts_from(item: Mapping[str, Any]) -> PlacedPrompts:
    track = item["track"]
    if track is not None:
        scores = track["scores"] and _scores_from(track["scores"])
        track = Track(PackedMask.from_text(track["mask"]), scores)
    return PlacedPrompts(
        item["obj_id"],
        tuple(item["position"]),
        tuple(PointPrompt(*point) for point in item["points"]),
        item["box"] and BoxPrompt(*item["box"]),
        item["mask"] and PackedMask.from_text(item["mask"]),
        track,
    )


def _scores_to(item: FrameScores) -> dict[str, Any]:
    """Values by name; JSON has no infinity, so a given mask's score is null."""
    values = {name: getattr(item, name) for name in _STORED}
    score = item.object_score
    return {**values, "object_score": score if math.isfinite(score) else None}


def _scores_from(values: Mapping[str, Any]) -> FrameScores:
    score, centroid = values["object_score"], values["centroid"]
    changes = {
        "position": tuple(values["position"]),
        "object_score": math.inf if score is None else score,
        "centroid": None if centroid is None else tuple(centroid),
    }
    return FrameScores(**{**values, **changes})


_STORED = tuple(
    field.name
    for field in fields(FrameScores)
    if field.name not in ("jump", "area_ratio")
)
