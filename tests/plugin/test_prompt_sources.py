"""Prompts from seeds, tracks and masks of real layers, in a viewer without a window."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.prompt_sources import inside, split_labels
from napari_hqsam2.plugin.state import PluginState

SCALE = (1.0, 0.5, 0.5)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 40, 60), dtype=np.uint8), name="cells", scale=SCALE)
    viewer.dims.set_current_step(0, 1)
    return viewer


@pytest.fixture
def main(viewer, fake_engine, make_timer):
    port = NapariViewer(viewer)
    return PluginController(
        PluginState(), port, SyncInference(), fake_engine, make_timer
    )


def take(main, layer):
    (source,) = [s for s in main.sources.offers() if s.handle is layer]
    main.sources.take(source)
    return source.kind


def follow(timers):
    for timer in timers:
        timer.ring()


def test_every_seed_becomes_an_object(main, viewer, timers):
    seeds = viewer.add_points([[1, 5, 5], [1, 5, 20], [2, 15, 10]], name="seeds")
    main.add_prompt_layers()
    assert take(main, seeds) == "seeds"
    state = main.state
    assert state.points is not seeds
    assert list(state.points.features["object_id"]) == [1, 2, 3]
    np.testing.assert_allclose(state.points.data[0], [1, 10, 10])
    assert "3 points of 3 objects" in state.message.text
    follow(timers)
    assert state.labels.data[1, 10, 10] == 1
    assert state.labels.data[1, 10, 40] == 2
    assert not state.labels.data[2].any()
    assert [source.handle for source in main.sources.offers()] == [seeds]


def test_seeds_keep_objects_and_polarity_that_they_name(main, viewer):
    features = {"object_id": [7, 7, 9], "label": ["positive", "negative", "positive"]}
    seeds = viewer.add_points(np.ones((3, 3)), name="seeds", features=features)
    main.add_prompt_layers()
    take(main, seeds)
    points = main.state.points
    assert list(points.features["object_id"]) == [7, 7, 9]
    assert list(points.features["label"]) == features["label"]


def test_points_of_the_chosen_layer_become_objects_where_they_are(main, viewer, timers):
    seeds = viewer.add_points([[1, 5, 5], [1, 5, 20]], name="seeds")
    assert main.state.points is seeds
    follow(timers)
    take(main, seeds)
    follow(timers)
    assert main.state.points is seeds
    assert list(seeds.features["object_id"]) == [1, 2]
    assert list(seeds.features["label"]) == ["positive"] * 2
    assert main.sources.offers() == ()
    main.objects.new_object()
    seeds.add([[1, 12, 12]])
    assert list(seeds.features["object_id"]) == [1, 2, 3]
    assert main.state.labels.data[1, 10, 10] == 1
    assert main.state.labels.data[1, 10, 40] == 2


def test_seeds_outside_the_image_are_left_out_and_counted(main, viewer):
    seeds = viewer.add_points([[1, 5, 5], [1, 500, 5], [9, 5, 5]], name="seeds")
    main.add_prompt_layers()
    take(main, seeds)
    assert len(main.state.points.data) == 1
    assert "2 lie outside the image" in main.state.message.text
    far = viewer.add_points([[1, 500, 5]], name="far")
    take(main, far)
    assert "No point of 'far' lies inside" in main.state.message.text


def test_tracks_are_points_that_move(main, viewer, timers):
    rows = [[4, 0, 5, 5], [4, 1, 5, 6], [4, 2, 5, 7], [8, 1, 15, 20]]
    tracks = viewer.add_tracks(rows, name="found elsewhere")
    assert take(main, tracks) == "tracks"
    points, state = main.state.points, main.state
    assert list(points.features["object_id"]) == [4, 4, 4, 8]
    np.testing.assert_allclose(points.data[2], [2, 10, 14])
    follow(timers)
    viewer.dims.set_current_step(0, 2)
    assert main.segment_frame()
    assert state.labels.data[2, 10, 14] == 4
    take(main, tracks)
    assert sorted(set(points.features["object_id"])) == [4, 8, 9, 10]


def test_other_labels_are_masks_of_new_objects(main, viewer, timers):
    data = np.zeros((4, 40, 60), dtype=np.uint16)
    data[1, 3:9, 4:20], data[1, 20:25, 30:40] = 5, 300
    other = viewer.add_labels(data, name="by another tool", scale=SCALE)
    assert take(main, other) == "masks"
    state = main.state
    assert state.labels is not other
    np.testing.assert_array_equal(state.labels.data[1], data[1])
    assert "2 masks" in state.message.text
    assert [row.obj_id for row in state.objects] == [5, 300]
    follow(timers)
    assert main.segment_stack()
    np.testing.assert_array_equal(state.labels.data[1], data[1])
    assert set(np.unique(state.labels.data[3])) == {0, 5, 300}


def test_chosen_labels_are_taken_as_they_are(main, viewer):
    data = np.zeros((4, 40, 60), dtype=np.int32)
    data[1, 3:9, 4:20] = 5
    labels = viewer.add_labels(data, name="mine", scale=SCALE)
    main.state.labels = labels
    before = data.copy()
    take(main, labels)
    assert main.state.labels is labels
    np.testing.assert_array_equal(labels.data, before)
    assert [row.obj_id for row in main.state.objects] == [5]


def test_labels_that_lie_elsewhere_are_refused(main, viewer):
    other = viewer.add_labels(np.ones((4, 40, 60), dtype=np.int32), name="far off")
    take(main, other)
    assert "lies elsewhere" in main.state.message.text
    empty = viewer.add_labels(
        np.zeros((4, 40, 60), dtype=np.int32), name="empty", scale=SCALE
    )
    take(main, empty)
    assert "no label on this frame" in main.state.message.text


def test_layers_of_the_plugin_are_no_source(main):
    main.add_prompt_layers()
    main.desk.begin()
    assert main.sources.offers() == ()


def test_inside_counts_pixels_as_squares(main):
    stack = main.desk.snapshot().axes.stack
    places = np.array(
        [[0, -0.5, 0], [0, -0.6, 0], [3, 39.4, 59.4], [3, 39.5, 0], [np.nan, 1, 1]]
    )
    assert inside(stack, places).tolist() == [True, False, True, False, False]


def test_masks_of_labels_are_their_pixels():
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 5, (12, 17)) * 1000
    found = split_labels(frame)
    assert sorted(found) == [1000, 2000, 3000, 4000]
    for value, mask in found.items():
        np.testing.assert_array_equal(mask.unpacked(), frame == value)
