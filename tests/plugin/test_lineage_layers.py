"""Tracks in a viewer without a window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Tracks

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.lineage.content import TrackedLabels
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.geff_graphs import write_geff
from napari_hqsam2.lineage.measuring import measure
from napari_hqsam2.lineage.tracks import to_tracks
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.label_layers import hide
from napari_hqsam2.plugin.lineage import LineageController
from napari_hqsam2.plugin.lineage_layers import NapariTracks
from napari_hqsam2.plugin.live import NoTimer
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.stack_files import PixelSize


@pytest.fixture
def labels():
    labels = np.zeros((4, 20, 30), np.int32)
    labels[:2, 5:9, 5:9] = 1
    labels[2:, 5:9, 2:5] = 2
    labels[2:, 5:9, 9:12] = 3
    return labels


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def port(viewer):
    return NapariTracks(viewer)


def tracks_of(labels):
    table = measure(labels, StackAxes("TYX", labels.shape))
    return to_tracks(table, [Division(2, 1, (2, 3))])


def shown(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Tracks)]


def test_a_layer_on_the_labels(viewer, port, labels):
    layer = viewer.add_labels(
        labels,
        scale=(2, 0.5, 0.5),
        translate=(0, 3, 4),
        rotate=20,
        units=("s", "um", "um"),
    )
    port.show_tracks(layer, tracks_of(labels))
    (tracks,) = shown(viewer)
    assert viewer.layers.selection.active is layer
    point = tracks.data[0, 1:]
    np.testing.assert_allclose(tracks.data_to_world(point), layer.data_to_world(point))
    assert tracks.graph == {2: [1], 3: [1]}
    assert set(tracks.features) >= {"area", "generation", "root"}


def test_the_same_layer_is_changed(viewer, port, labels):
    layer = viewer.add_labels(labels)
    port.show_tracks(layer, tracks_of(labels))
    (tracks,) = shown(viewer)
    tracks.tail_length = 7
    port.show_tracks(layer, tracks_of(np.where(labels == 3, 0, labels)))
    assert shown(viewer) == [tracks]
    assert tracks.tail_length == 7
    assert tracks.graph == {2: [1]}
    assert len(tracks.features) == len(tracks.data) == 4


def test_tracks_have_the_colours_of_their_labels(viewer, port, labels):
    layer = viewer.add_labels(labels)
    port.show_tracks(layer, tracks_of(labels))
    (tracks,) = shown(viewer)
    np.testing.assert_allclose(tracks.track_colors[0], layer.get_color(1))
    np.testing.assert_allclose(tracks.track_colors[-1], layer.get_color(3))
    hide(layer, {1}, {2, 3})
    port.show_tracks(layer, tracks_of(labels))
    assert tracks.track_colors[0, 3] == 0
    np.testing.assert_allclose(tracks.track_colors[-1], layer.get_color(3))


def test_without_objects_there_is_no_layer(viewer, port, labels):
    layer = viewer.add_labels(labels)
    port.show_tracks(layer, tracks_of(labels))
    port.show_tracks(layer, tracks_of(labels * 0))
    assert shown(viewer) == []
    port.remove_tracks()


def test_a_layer_that_the_user_removed_comes_back(viewer, port, labels):
    layer = viewer.add_labels(labels)
    port.show_tracks(layer, tracks_of(labels))
    viewer.layers.remove(shown(viewer)[0])
    port.show_tracks(layer, tracks_of(labels))
    assert len(shown(viewer)) == 1


def test_every_labels_layer_has_its_own(viewer, port, labels):
    one, two = viewer.add_labels(labels), viewer.add_labels(labels * 2, scale=(1, 3, 3))
    port.show_tracks(one, tracks_of(labels))
    port.show_tracks(two, tracks_of(labels * 2))
    first, second = shown(viewer)
    assert second.scale.tolist() == [1, 3, 3]
    port.show_tracks(one, tracks_of(labels[:3]))
    assert len(first.data) < len(second.data)
    viewer.layers.remove(two)
    port.remove_tracks()
    assert shown(viewer) == [second], "it is nobody's any more"


def test_strokes_of_the_brush(viewer, port, labels):
    told = []
    port.painted.connect(lambda layer, places: told.append((layer, places)))
    layer = viewer.add_labels(np.stack([labels] * 2))
    viewer.dims.current_step = (1, 2, 0, 0)
    layer.paint((1, 2, 10, 10), 7)
    assert told == [(layer, ((1, 2),))]
    layer.n_edit_dimensions = 3
    layer.paint((1, 2, 10, 10), 8)
    assert told[1] == (layer, ((1, 0), (1, 1), (1, 2), (1, 3)))
    port.close()
    layer.paint((1, 2, 10, 10), 9)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (None, {}),
        (
            ("second", "micrometer", "micrometer"),
            {
                "T": PixelSize(2.0, "s"),
                "Y": PixelSize(0.5, "µm"),
                "X": PixelSize(0.5, "µm"),
            },
        ),
    ],
)
def test_pixel_sizes(viewer, port, labels, units, expected):
    layer = viewer.add_labels(labels, scale=(2, 0.5, 0.5), units=units)
    assert port.pixel_sizes(layer) == expected


def test_points_of_a_graph_are_drawn(viewer, port, labels, fake_engine, tmp_path):
    content = TrackedLabels(
        labels=labels, axes="TYX", divisions=(Division(2, 1, (2, 3)),)
    )
    path = write_geff(tmp_path / "it.geff", content)
    image = viewer.add_image(np.zeros(labels.shape, np.uint8), scale=(1, 2, 2))
    main = PluginController(
        PluginState(), NapariViewer(viewer), SyncInference(), fake_engine
    )
    lineage = LineageController(main, port, NoTimer)
    assert main.state.image is image
    lineage.import_tracks(path)
    points = main.state.points
    assert points.data[:2].tolist() == [[0, 6.5, 6.5], [1, 6.5, 6.5]]
    assert points.features["object_id"].tolist() == [1, 1, 2, 2, 3, 3]
    assert set(points.features["label"]) == {"positive"}
    (session,) = fake_engine.sessions
    steps = session.undo_names
    assert main.segment_stack()
    assert session.undo_names == ("follow", *steps), "the points were known"
    assert sorted(np.unique(main.state.labels.data)) == [0, 1, 2, 3]
    main.review.undo()
    main.review.undo()
    assert len(points.data) == 0
    main.review.redo()
    assert len(points.data) == 6
