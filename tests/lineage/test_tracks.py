"""Tracks are what napari takes."""

from __future__ import annotations

import numpy as np
from napari.layers import Tracks

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.measuring import measure
from napari_hqsam2.lineage.tracks import to_tracks


def test_rows_graph_and_features(dividing, division):
    tracks = to_tracks(measure(dividing, StackAxes("TYX", dividing.shape)), [division])
    assert tracks.graph == {2: [1], 3: [1]}
    np.testing.assert_allclose(tracks.data[0], [1, 0, 15, 20])
    assert tracks.data[:, 0].tolist() == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 4
    assert tracks.features["generation"].tolist() == [0] * 3 + [1] * 6 + [0] * 4
    assert tracks.features["root"].tolist() == [1] * 9 + [4] * 4
    assert tracks.features["area"][0] == np.count_nonzero(dividing[0] == 1)
    layer = Tracks(tracks.data, graph=tracks.graph, features=tracks.features)
    np.testing.assert_array_equal(layer.data, tracks.data)


def test_volumes(volume, division):
    tracks = to_tracks(measure(volume, StackAxes("TZYX", volume.shape)), [division])
    assert tracks.data.shape == (13, 5)
    Tracks(tracks.data, graph=tracks.graph)


def test_edges_of_objects_without_pixels_are_left_out(dividing):
    table = measure(dividing, StackAxes("TYX", dividing.shape))
    assert to_tracks(table, [Division(3, 1, (2, 9))]).graph == {2: [1]}


def test_nothing_there():
    table = measure(np.zeros((2, 3, 4), int), StackAxes("TYX", (2, 3, 4)))
    assert to_tracks(table).data.shape == (0, 4)
