"""Graphs are valid GEFF, read by its own package, and come back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import geff
import networkx as nx
import numpy as np
import pytest
from geff.core_io import read_to_memory
from geff.validate.data import ValidationConfig
from hypothesis import given, settings
from tests.lineage.strategies import tracked_labels

from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.content import FrameNotes, TrackedLabels
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.geff_graphs import read_geff, write_geff
from napari_hqsam2.stack_files import PixelSize

SIZES = {
    "T": PixelSize(5.0, "min"),
    "Y": PixelSize(0.2, "µm"),
    "X": PixelSize(0.2, "µm"),
}
EVERYTHING = ValidationConfig(graph=True, lineage=True, tracklet=True)


@pytest.fixture
def content(dividing, division):
    return TrackedLabels(
        labels=dividing,
        axes="TYX",
        divisions=(division,),
        names={1: "mother"},
        notes={(1, 0): FrameNotes(3.0, 0.75, 1, 0)},
        pixel_sizes=SIZES,
        provenance={"model": "m"},
    )


def test_what_the_package_reads(tmp_path, content):
    path = write_geff(tmp_path / "it.geff", content)
    graph, metadata = geff.read(path, structure_validation=True)
    assert isinstance(graph, nx.DiGraph)
    assert graph.number_of_nodes() == 13
    assert nx.number_weakly_connected_components(graph) == 2
    (end,) = (n for n in graph if graph.out_degree(n) == 2)
    assert graph.nodes[end]["object_id"] == 1
    assert graph.nodes[end]["t"] == 2
    first = next(n for n in graph if graph.nodes[n].get("iou_score"))
    assert graph.nodes[first]["iou_score"] == 0.75
    assert (graph.nodes[first]["y"], graph.nodes[first]["x"]) == (15, 20)
    time, y, _ = metadata.axes
    assert (time.name, time.unit, time.scale, time.scaled_unit) == (
        "t",
        "frame",
        5.0,
        "minute",
    )
    assert (y.unit, y.scaled_unit) == ("pixel", "micrometer")
    assert metadata.extra["napari-hqsam2"]["provenance"] == {"model": "m"}


def test_our_own_reader(tmp_path, content):
    found = read_geff(write_geff(tmp_path / "it.geff", content))
    assert found.letters == "TYX"
    assert found.divisions == content.divisions
    assert found.names == {1: "mother"}
    assert sorted(set(found.obj_ids.tolist())) == [1, 2, 3, 4]
    np.testing.assert_allclose(found.points[found.obj_ids == 1][0], [0, 15, 20])


@given(tracked_labels())
@settings(max_examples=12)
def test_graphs_come_back(content):
    if not content.table.obj_ids:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_geff(Path(folder) / "it.geff", content)
        read_to_memory(path, data_validation=EVERYTHING)
        found = read_geff(path)
    assert found.divisions == content.divisions
    rows = zip(found.obj_ids.tolist(), found.points[:, 0].tolist(), strict=True)
    expected = {(i, t) for i, ts in content.table.presence().items() for t in ts}
    assert set(rows) == expected


def foreign(path, edges, *, unit="pixel", axes="tyx", directed=True, **properties):
    """A graph as another program may write it."""
    graph = nx.DiGraph() if directed else nx.Graph()
    for node in range(6):
        places = {axis: float(node) * 2 for axis in axes}
        extra = {name: values[node] for name, values in properties.items()}
        graph.add_node(node + 10, **{**places, "t": node}, **extra)
    graph.add_edges_from((one + 10, two + 10) for one, two in edges)
    geff.write(
        graph,
        path,
        axis_names=list(axes),
        axis_units=["frame" if axis == "t" else unit for axis in axes],
        axis_types=["time" if axis == "t" else "space" for axis in axes],
    )
    return path


def test_paths_of_other_programs(tmp_path):
    path = foreign(tmp_path / "it.geff", [(0, 1), (1, 2), (1, 3), (3, 5), (2, 4)])
    found = read_geff(path)
    assert found.obj_ids.tolist() == [1, 1, 2, 3, 2, 3]
    assert found.divisions == (Division(2, 1, (2, 3)),)


def test_lengths_become_pixels(tmp_path):
    path = foreign(tmp_path / "it.geff", [(0, 1)], unit="micrometer")
    found = read_geff(path, SIZES)
    np.testing.assert_allclose(found.points[1], [1, 10, 10])
    with pytest.raises(LineageError, match="along y are in micrometers"):
        read_geff(path)


@pytest.mark.parametrize(
    ("edges", "options", "message"),
    [
        ([(0, 2), (1, 2)], {}, "both become object"),
        ([(0, 1)], {"directed": False}, "not directed"),
        ([(0, 1)], {"axes": "ty"}, "has the axes t, y; it needs t, y and x"),
        ([(0, 1)], {"object_id": [0, 0, 1, 1, 1, 1]}, "ids below 1, such as 0"),
    ],
)
def test_graphs_that_are_no_tracks(tmp_path, edges, options, message):
    path = foreign(tmp_path / "it.geff", edges, **options)
    with pytest.raises(LineageError, match=message):
        read_geff(path)


def test_what_is_no_geff(tmp_path, content):
    with pytest.raises(LineageError, match="cannot be read as GEFF"):
        read_geff(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(LineageError, match="not written by an export to GEFF"):
        write_geff(tmp_path, content, overwrite=True)
    path = write_geff(tmp_path / "it.geff", content)
    write_geff(path, content, overwrite=True)


def test_nothing_to_export(tmp_path):
    content = TrackedLabels(labels=np.zeros((2, 3, 4), int), axes="TYX")
    with pytest.raises(LineageError, match="all labels are 0"):
        write_geff(tmp_path / "it.geff", content)
