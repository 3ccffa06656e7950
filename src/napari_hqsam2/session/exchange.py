"""What a session hands to other programs, and what made it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_hqsam2
from napari_hqsam2.axes import StackAxes
from napari_hqsam2.lineage.content import FrameNotes, TrackedLabels
from napari_hqsam2.lineage.exchange import export_labels
from napari_hqsam2.lineage.measuring import measure
from napari_hqsam2.lineage.tracks import to_tracks
from napari_hqsam2.session.importing import SessionImport
from napari_hqsam2.session.lineage_editing import divisions_of
from napari_hqsam2.session.settings import STORED_SETTINGS
from napari_hqsam2.weights.download import cached_path
from napari_hqsam2.weights.records import known_sha256
from napari_hqsam2.weights.state_dict import parameters_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from napari_hqsam2.lineage.exchange import ExportFormat
    from napari_hqsam2.lineage.tracks import TracksData
    from napari_hqsam2.session.records import PlacedPrompts, Records
    from napari_hqsam2.stack_files import PixelSize


class SessionExchange(SessionImport):
    """Runs, and files from and for others."""

    def provenance(self) -> dict[str, str | None]:
        """What made the labels: software, model, and SHA-256 of its weights.

        The digest is that of the weights file for a model given by name (None as long
        as it is not on disk), and that of names and values of all parameters for one
        that was passed as an object. Stacks that are mixed in are named under "mix".
        """
        mix = self.settings.mix
        mixed = {} if mix is None else {"mix": mix.described}
        return {**self._model_provenance(), **mixed}

    def _model_provenance(self) -> dict[str, str | None]:
        software = f"napari-hqsam2 {napari_hqsam2.__version__}"
        model = self.settings.model
        if isinstance(model, str):
            path = Path(self.settings.checkpoint or cached_path(model))
            digest = known_sha256(path) if path.is_file() else None
            return {"software": software, "model": model, "weights_sha256": digest}
        return {
            "software": software,
            "model": None,
            "parameters_sha256": parameters_sha256(model.state_dict()),
        }

    def export(
        self,
        path: str | PathLike[str],
        to: ExportFormat | None = None,
        *,
        pixel_sizes: Mapping[str, PixelSize] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write labels, divisions and provenance for other programs, all or nothing.

        Parameters
        ----------
        path
            File or folder to write.
        to
            "ctc", "ctc-truth", "geff", "csv", "ome-tiff" or "ome-zarr"; None is as the
            ending says, CTC without one.
        pixel_sizes
            Physical size of an index step by axis letter; None takes those of the file
            that the session was opened with, if any.
        overwrite
            Also replace a folder, if it holds an earlier export of the same kind.

        Raises
        ------
        LineageError
            The format cannot hold it, divisions are impossible, or the folder is in
            use.
        StackError
            Labels or axes do not fit the format.
        """
        with self._turn():
            content = tracked_labels(
                self._records,
                self._store.array,
                self._stack.axes.labels_letters,
                pixel_sizes=pixel_sizes or self._stack.pixel_sizes,
                provenance={**self.provenance(), "settings": self._stored_settings()},
            )
            return export_labels(path, content, to, overwrite=overwrite)

    def tracks(self) -> TracksData:
        """Centroids of all objects through time, and their mothers.

        Returns
        -------
        TracksData
            As napari's Tracks layer takes it: ``viewer.add_tracks(tracks.data,
            graph=tracks.graph, features=tracks.features)``.

        Raises
        ------
        LineageError
            The stack has other axes than T, Z, Y and X.
        """
        with self._turn():
            table = measure(self._store.array, self._label_axes)
            return to_tracks(table, divisions_of(self._records))

    def _stored_settings(self) -> dict[str, Any]:
        return {name: getattr(self.settings, name) for name in STORED_SETTINGS}


def tracked_labels(
    records: Records,
    labels: Any,
    letters: str,
    *,
    pixel_sizes: Mapping[str, PixelSize] | None,
    provenance: Mapping[str, Any],
) -> TrackedLabels:
    """Labels with what the records tell of them.

    Parameters
    ----------
    records
        Of a session.
    labels
        Its labels.
    letters
        Axes of the labels.
    pixel_sizes
        Of the stack; None if they are unknown.
    provenance
        Software, model and settings; prompts are added.
    """
    prompts = [_described(placed) for _, _, placed in records.prompts.items()]
    modes = {i: item.hq_mode for i, _, item in records.objects.items() if item.hq_mode}
    told = {**provenance, "prompts": prompts, "hq_modes": modes or None}
    return TrackedLabels(
        labels=labels,
        axes=letters,
        divisions=divisions_of(records),
        names={obj_id: item.name for obj_id, _, item in records.objects.items()},
        notes=_notes(records, StackAxes(letters, tuple(labels.shape))),
        pixel_sizes=pixel_sizes or {},
        provenance={
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in told.items()
            if value is not None
        },
    )


def _notes(records: Records, axes: StackAxes) -> dict[tuple[int, int], FrameNotes]:
    def time(position: tuple[int, ...]) -> int:
        return position[axes.leading.index("T")] if "T" in axes.leading else 0

    scores: defaultdict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    prompts: defaultdict[tuple[int, int], int] = defaultdict(int)
    locked: defaultdict[tuple[int, int], int] = defaultdict(int)
    for obj_id, position, found in records.scores.items():
        scores[obj_id, time(position)].append((found.object_score, found.iou_score))
    for obj_id, position, placed in records.prompts.items():
        prompts[obj_id, time(position)] += _count(placed)
    for obj_id, position, _ in records.locks.items():
        locked[obj_id, time(position)] += 1
    notes = {}
    for key in scores.keys() | prompts.keys() | locked.keys():
        in_view, iou = _means(scores.get(key, ()))
        notes[key] = FrameNotes(in_view, iou, prompts.get(key, 0), locked.get(key, 0))
    return notes


def _means(scores: Iterable[tuple[float, float]]) -> tuple[float | None, float | None]:
    # where the model gave no numbers there is nothing to tell
    rows = np.array([pair for pair in scores if not np.isnan(pair).any()], np.float64)
    if not len(rows):
        return None, None
    in_view, iou = rows.mean(axis=0).tolist()
    return in_view, iou


def _count(placed: PlacedPrompts) -> int:
    others = (placed.box, placed.mask)
    return len(placed.points) + sum(other is not None for other in others)


def _described(placed: PlacedPrompts) -> dict[str, Any]:
    """Prompts of a frame as plain values; of a mask its digest."""
    box = placed.box
    return {
        "object": placed.obj_id,
        "position": placed.position,
        "points": [[p.y, p.x, p.positive] for p in placed.points],
        "box": box and [box.y0, box.x0, box.y1, box.x1],
        "mask": placed.mask and placed.mask.key,
    }
