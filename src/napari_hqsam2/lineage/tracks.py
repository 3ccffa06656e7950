"""Tracks as napari's Tracks layer takes them; arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.lineage.divisions import Lineage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.lineage.measuring import ObjectTable


@dataclass(frozen=True, slots=True, eq=False)
class TracksData:
    """Arguments of a Tracks layer, in the data coordinates of the labels."""

    data: npt.NDArray[np.float64]
    """(N, 2 + D) id, t, (z,) y, x; sorted by id, then by time."""
    graph: dict[int, list[int]]
    """Mother of each daughter, in a list; of objects that have rows."""
    features: dict[str, npt.NDArray[Any]]
    """(N,) "area", "generation" (0 without a mother) and "root", the eldest
    ancestor."""


def to_tracks(table: ObjectTable, divisions: Sequence[Division] = ()) -> TracksData:
    """Tracks of all objects; one that was away for a while stays one track."""
    lineage = Lineage(table.spans(), tuple(divisions))
    ids = np.concatenate([objects.ids for objects in table.frames])
    times = np.repeat(
        np.arange(len(table.frames)), [len(objects.ids) for objects in table.frames]
    )
    centroids = np.concatenate([objects.centroids for objects in table.frames])
    areas = np.concatenate([objects.areas for objects in table.frames])
    order = np.lexsort((times, ids))
    lines = {obj_id: lineage.ancestors(obj_id) for obj_id in lineage.spans}
    known = lineage.mothers.items()
    present = lineage.spans.keys()
    ids = ids[order]
    return TracksData(
        np.column_stack([ids, times[order], centroids[order]]).astype(np.float64),
        {d: [m] for d, m in sorted(known) if d in present and m in present},
        {
            "area": areas[order],
            "generation": np.array([len(lines[i]) for i in ids.tolist()], np.int64),
            "root": np.array([[i, *lines[i]][-1] for i in ids.tolist()], np.int64),
        },
    )
