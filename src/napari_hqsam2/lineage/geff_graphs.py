"""Tracks as graphs in GEFF, the Graph Exchange File Format.

One node for each object and frame, one edge to where the object is next, and one to
each daughter. Positions are pixel indices; the axes say how large an index step is.
Format: https://liveimagetrackingtools.org/geff (version 1).
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.storage import LocalStore

from napari_hqsam2.errors import LineageError
from napari_hqsam2.files import atomic_folder
from napari_hqsam2.lineage.content import check_folder
from napari_hqsam2.lineage.divisions import make_division
from napari_hqsam2.stack_files import OME_ZARR_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_hqsam2.lineage.content import TrackedLabels
    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.stack_files import PixelSize

    Integers = npt.NDArray[np.int64]

OBJECT, ROOT = "object_id", "lineage_id"
"""Node properties with the object, and its eldest ancestor."""
UNITS = {short: name for name, short in OME_ZARR_UNITS.items()}
OURS = "napari-hqsam2"
"""Under this name, metadata of our own."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackGraph:
    """Objects as points, from a file."""

    obj_ids: Integers
    """(N,) object of each point."""
    points: npt.NDArray[np.float64]
    """(N, D) positions in pixel indices."""
    letters: str
    """Axes of the positions: "TYX" or "TZYX"."""
    divisions: tuple[Division, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)


def write_geff(
    folder: Path, content: TrackedLabels, *, overwrite: bool = False
) -> Path:
    """Write the graph of all objects, all or nothing.

    Parameters
    ----------
    folder
        To be made, by habit ``.geff``.
    content
        Labels and divisions. Names and provenance lie in the ``extra`` metadata.
    overwrite
        Replace an earlier GEFF.

    Raises
    ------
    LineageError
        Divisions are impossible, there is no object, or the folder is in use.
    """
    from geff.core_io import write_arrays  # noqa: PLC0415 - takes a while to import

    check_folder(folder, "GEFF", is_earlier=is_geff(folder), overwrite=overwrite)
    content.lineage.check()
    if not content.table.obj_ids:
        msg = "There is no object to export: all labels are 0."
        raise LineageError(msg)
    obj_ids, times = _rows(content)
    with atomic_folder(folder) as new:
        write_arrays(
            LocalStore(new),
            node_ids=np.arange(len(obj_ids), dtype=np.uint64),
            node_props={
                name: {"values": values, "missing": missing}
                for name, (values, missing) in _properties(content).items()
            },
            edge_ids=_edges(obj_ids, times, content),
            edge_props={},
            metadata=_metadata(content),
        )
    return folder


def is_geff(folder: Path) -> bool:
    """Whether a folder says that it is a GEFF."""
    path = folder / ".zattrs"
    return path.is_file() and "geff" in json.loads(path.read_text(encoding="utf-8"))


def _rows(content: TrackedLabels) -> tuple[Integers, Integers]:
    """(N,) object and time of each node."""
    frames = content.table.frames
    times = np.repeat(np.arange(len(frames)), [len(each.ids) for each in frames])
    return np.concatenate([each.ids for each in frames]), times


def _properties(content: TrackedLabels) -> dict[str, tuple[Any, Any]]:
    """(N, ...) values of nodes, and where they are missing."""
    obj_ids, times = _rows(content)
    frames, lineage = content.table.frames, content.lineage
    roots = {i: [i, *lineage.ancestors(i)][-1] for i in content.table.obj_ids}
    places = np.concatenate([each.centroids for each in frames])
    pairs = zip(obj_ids.tolist(), times.tolist(), strict=True)
    notes = [content.notes.get(pair) for pair in pairs]
    scores = [note and note.iou_score for note in notes]
    missing = np.array([score is None for score in scores])
    values = {
        "t": times,
        **{axis.lower(): places[:, n] for n, axis in enumerate(content.table.letters)},
        "area": np.concatenate([each.areas for each in frames]),
        OBJECT: obj_ids,
        ROOT: np.array([roots[i] for i in obj_ids.tolist()], np.int64),
    }
    properties: dict[str, tuple[Any, Any]] = {n: (v, None) for n, v in values.items()}
    if not missing.all():
        filled = np.array([score or 0.0 for score in scores], np.float64)
        properties["iou_score"] = (filled, missing)
    return properties


def _edges(obj_ids: Integers, times: Integers, content: TrackedLabels) -> Any:
    """(E, 2) nodes of which the second follows from the first."""
    nodes: dict[int, list[int]] = defaultdict(list)
    for node in np.lexsort((times, obj_ids)).tolist():
        nodes[int(obj_ids[node])].append(node)
    edges = [pair for row in nodes.values() for pair in itertools.pairwise(row)]
    for division in content.divisions:
        last = nodes[division.mother][-1]
        edges += [(last, nodes[daughter][0]) for daughter in division.daughters]
    return np.array(edges, np.uint64).reshape(-1, 2)


def _metadata(content: TrackedLabels) -> Any:
    from geff import GeffMetadata  # noqa: PLC0415 - takes a while to import

    # a daughter without a sister belongs to the tracklet of her mother
    has_single = any(len(division.daughters) == 1 for division in content.divisions)
    tracklet = {} if has_single else {"tracklet": OBJECT}
    names = {str(i): content.names[i] for i in sorted(content.names)}
    return GeffMetadata(
        directed=True,
        axes=[_axis(letter, content) for letter in f"T{content.table.letters}"],
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={**tracklet, "lineage": ROOT},
        extra={OURS: {"names": names, "provenance": dict(content.provenance)}},
    )


def _axis(letter: str, content: TrackedLabels) -> Any:
    size = content.pixel_sizes.get(letter)
    unit = None if size is None else UNITS.get(size.unit)
    is_time = letter == "T"
    length = len(content.table.frames) if is_time else content.stack_axes.length(letter)
    scale = {} if size is None or not unit else {"scale": size.value}
    return {
        "name": letter.lower(),
        "type": "time" if is_time else "space",
        "unit": "frame" if is_time else "pixel",
        "min": 0,
        "max": length - 1,
        **scale,
        **({"scaled_unit": unit} if scale else {}),
    }


def read_geff(
    folder: Path, pixel_sizes: Mapping[str, PixelSize] | None = None
) -> TrackGraph:
    """Read the points and divisions of a graph, of ours or of another program.

    Objects are taken from a node property ``object_id`` or from that of the tracklets,
    else every path without branches is one.

    Parameters
    ----------
    folder
        With a GEFF.
    pixel_sizes
        Of the stack; needed if the positions are lengths instead of pixel indices.

    Raises
    ------
    LineageError
        It is no GEFF, is not directed, has no time and place, merges objects, or its
        lengths cannot be turned into pixels.
    """
    from geff.core_io import read_to_memory  # noqa: PLC0415 - takes a while to import
    from geff.validate.data import ValidationConfig  # noqa: PLC0415

    try:
        graph = read_to_memory(folder, data_validation=ValidationConfig(graph=True))
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        msg = f"{folder} cannot be read as GEFF: {error}"
        raise LineageError(msg) from error
    metadata = graph["metadata"]
    if not metadata.directed:
        msg = f"The graph of {folder.name} is not directed: who is whose mother?"
        raise LineageError(msg)
    properties = {name: each["values"] for name, each in graph["node_props"].items()}
    letters, points = _positions(metadata.axes or [], properties, pixel_sizes or {})
    nodes = {int(node): row for row, node in enumerate(graph["node_ids"])}
    edges = np.array(
        [[nodes[int(one)], nodes[int(two)]] for one, two in graph["edge_ids"]], np.int64
    ).reshape(-1, 2)
    tracklet = (metadata.track_node_props or {}).get("tracklet", "")
    given = properties.get(OBJECT, properties.get(tracklet))
    obj_ids = _paths(edges, len(nodes)) if given is None else given.astype(np.int64)
    _check_ids(obj_ids, folder)
    divisions = _divisions(obj_ids, points[:, 0], edges)
    names = metadata.extra.get(OURS, {}).get("names", {})
    return TrackGraph(
        obj_ids, points, letters, divisions, {int(i): str(n) for i, n in names.items()}
    )


def _positions(
    axes: list[Any], properties: Mapping[str, Any], pixel_sizes: Mapping[str, PixelSize]
) -> tuple[str, npt.NDArray[np.float64]]:
    """Letters, and (N, D) pixel indices."""
    by_letter = {axis.name.upper(): axis for axis in axes}
    letters = "".join(letter for letter in "TZYX" if letter in by_letter)
    if letters not in {"TYX", "TZYX"} or len(by_letter) != len(letters):
        found = ", ".join(axis.name for axis in axes) or "none"
        msg = f"The graph has the axes {found}; it needs t, y and x, and may have z."
        raise LineageError(msg)
    columns = []
    for letter in letters:
        axis, size = by_letter[letter], pixel_sizes.get(letter)
        values = np.asarray(properties[axis.name], np.float64)
        if axis.unit in OME_ZARR_UNITS:
            if size is None or UNITS.get(size.unit) != axis.unit:
                msg = (
                    f"Positions along {axis.name} are in {axis.unit}s. To turn them "
                    "into pixels, the stack must know its pixel size in that unit."
                )
                raise LineageError(msg)
            values = values / size.value
        columns.append(values)
    return letters, np.stack(columns, axis=1)


def _check_ids(obj_ids: Integers, folder: Path) -> None:
    if (obj_ids < 1).any():
        msg = (
            f"The graph of {folder.name} has objects with ids below 1, such as "
            f"{int(obj_ids.min())}. Object ids are label values of 1 or more."
        )
        raise LineageError(msg)


def _paths(edges: Integers, count: int) -> Integers:
    """(N,) number of the path without branches that a node lies on, from 1."""
    outgoing = np.bincount(edges[:, 0], minlength=count)
    incoming = np.bincount(edges[:, 1], minlength=count)
    following = {
        int(one): int(two)
        for one, two in edges
        if outgoing[one] == 1 and incoming[two] == 1
    }
    starts = sorted(set(range(count)) - set(following.values()))
    paths = np.zeros(count, np.int64)
    for number, start in enumerate(starts, 1):
        node: int | None = start
        while node is not None:
            paths[node] = number
            node = following.get(node)
    return paths


def _divisions(obj_ids: Integers, times: Any, edges: Integers) -> tuple[Division, ...]:
    daughters: defaultdict[int, set[int]] = defaultdict(set)
    mothers: dict[int, int] = {}
    for one, two in obj_ids[edges].tolist():
        if one == two:
            continue
        if mothers.setdefault(two, one) != one:
            msg = (
                f"Objects {mothers[two]} and {one} both become object {two}. Objects "
                "that merge are not supported; correct the graph first."
            )
            raise LineageError(msg)
        daughters[one].add(two)
    firsts = {i: int(times[obj_ids == i].min()) for i in mothers}
    return tuple(
        sorted(
            make_division(mother, found, min(firsts[i] for i in found))
            for mother, found in daughters.items()
        )
    )
