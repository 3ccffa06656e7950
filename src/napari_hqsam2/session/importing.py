"""Tracks of other programs, as objects of a session."""

from __future__ import annotations

from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.exchange import open_labels
from napari_hqsam2.lineage.geff_graphs import is_geff, read_geff
from napari_hqsam2.lineage.tables import divisions_from, read_csv
from napari_hqsam2.session.running import SessionRuns
from napari_hqsam2.session.script import call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from napari_hqsam2.lineage.content import TrackedLabels
    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.lineage.geff_graphs import TrackGraph
    from napari_hqsam2.lineage.tables import ObjectRow


class SessionImport(SessionRuns):
    """Runs, and what was made elsewhere."""

    def import_tracks(self, path: str | PathLike[str]) -> tuple[int, ...]:
        """Go on with what another program, or an export, has made; one step.

        Parameters
        ----------
        path
            Label stack of any kind that `iter_stack` reads, or CTC folder: its labels
            become those of the session, which must be empty, and its objects.
            GEFF: without labels in the session, every point becomes a positive point
            of its object; with labels, only divisions and names are taken.
            CSV table of an export: divisions and names for the labels in the session.

        Returns
        -------
        tuple of int
            Ids of the new objects.

        Raises
        ------
        LineageError
            The file cannot be read or does not fit the labels, or the session has
            labels already.
        StackError
            Labels have another shape than the stack, or cannot be read.
        PromptError
            A point lies outside the stack.
        """
        path, before = Path(path), set(self.obj_ids)
        with self.one_step("import"):
            if is_geff(path):
                self._take_graph(read_geff(path, self._stack.pixel_sizes))
            elif path.suffix.lower() == ".csv":
                rows = self._of_labels(read_csv(path))
                names = {row.object_id: row.name for row in rows}
                self._take_edges(divisions_from(rows), names)
            else:
                with open_labels(path) as content:
                    self._take_labels(content, path)
                self._take_edges(content.divisions, {})
        return tuple(sorted(set(self.obj_ids) - before))

    def _has_labels(self) -> bool:
        return any(self._store.frame(p).any() for p in self._store.positions())

    def _of_labels(self, rows: tuple[ObjectRow, ...]) -> tuple[ObjectRow, ...]:
        if not self._has_labels():
            msg = (
                "The table tells of objects, but the session has no labels for them. "
                "Import the labels first."
            )
            raise LineageError(msg)
        return rows

    def _take_labels(self, content: TrackedLabels, path: Path) -> None:
        axes, labels, letters = self._label_axes, content.labels, content.axes
        if tuple(labels.shape) != axes.shape or letters != axes.letters:
            msg = (
                f"The labels of {path.name} have axes {letters} and shape "
                f"{tuple(labels.shape)}; this stack needs {axes.letters} and "
                f"{axes.shape}."
            )
            raise LineageError(msg)
        if self._has_labels():
            msg = (
                "The session has labels already. Import labels into a new session, so "
                "that none is lost."
            )
            raise LineageError(msg)
        whole = (0, 0, *axes.hw)
        script = call("import_tracks", fspath(path.absolute()))
        with self._step("import labels", script) as step:
            for position in self._store.positions():
                frame = np.asarray(labels[position])
                self._store.check_room([int(frame.max())])
                step.add_patch(self._store.write(position, whole, frame))

    def _take_edges(
        self, divisions: Iterable[Division], names: Mapping[int, str]
    ) -> None:
        rows = [(each.mother, each.daughters, each.frame) for each in divisions]
        self.adopt_labels(rows)
        for item in self.objects():
            if names.get(item.obj_id, item.name) != item.name:
                self.rename(item.obj_id, names[item.obj_id])

    def _take_graph(self, graph: TrackGraph) -> None:
        if self._has_labels():
            self._take_edges(graph.divisions, graph.names)
            return
        letters = self._stack.axes.leading + "YX"
        if graph.letters != letters:
            msg = (
                f"The graph has positions along {graph.letters}; this stack needs "
                f"{letters}."
            )
            raise LineageError(msg)
        points = graph.points.copy()
        points[:, :-2] = np.rint(points[:, :-2])
        for obj_id in np.unique(graph.obj_ids).tolist():
            self.new_object(obj_id=obj_id, name=graph.names.get(obj_id))
            self.add_points(obj_id, points[graph.obj_ids == obj_id])
        for division in graph.divisions:
            self.set_division(division.mother, division.daughters, division.frame)
