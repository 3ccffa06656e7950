"""Labels layers come and go; objects, prompts, scores and undo stay."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.recovery import RecoveryFolder
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.session.session import Session

DATA = np.arange(4 * 40 * 60, dtype=np.uint16).reshape(4, 40, 60)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def main(viewer, fake_engine, make_timer, tmp_path):
    """Two objects, the first one followed, the second one hidden."""
    image = {"axis_labels": ("t", "y", "x"), "scale": (1, 2, 2), "translate": (0, 5, 5)}
    viewer.add_image(DATA, name="cells", **image)
    viewer.dims.set_current_step(0, 1)
    main = PluginController(
        PluginState(),
        NapariViewer(viewer),
        SyncInference(),
        fake_engine,
        make_timer,
        recovery=RecoveryFolder(tmp_path / "unsaved"),
    )
    main.add_prompt_layers()
    main.state.points.add([[1, 10, 10]])
    assert main.segment_stack()
    main.state.object_id = 2
    main.state.points.add([[1, 20, 20]])
    assert main.segment_frame()
    main.objects.hide_object(2, True)
    return main


def remove_labels(main):
    viewer, labels = main.viewer._viewer, main.state.labels
    viewer.layers.remove(labels)
    assert main.state.labels is None
    return labels.data.copy()


def names(main):
    return [row.name for row in main.state.objects]


def test_objects_stay_and_the_next_click_brings_them_back(main, viewer, timers):
    first = main.state.labels
    before = remove_labels(main)
    assert names(main) == ["object 1", "object 2"]
    assert "2 objects of the removed layer are kept" in main.state.message.text
    assert len(main.state.points.data) == 2
    viewer.dims.set_current_step(0, 2)
    main.state.points.add([[2, 30, 30]])
    for timer in timers:
        timer.ring()
    labels = main.state.labels
    assert labels in viewer.layers
    assert labels is not first
    np.testing.assert_allclose(labels.scale, [1, 2, 2])
    np.testing.assert_array_equal(labels.data[1], before[1])
    assert labels.data[2, 30, 30] == 2
    np.testing.assert_array_equal(labels.get_color(2)[3], 0)
    assert names(main) == ["object 1", "object 2"]
    main.review.undo()
    np.testing.assert_array_equal(labels.data, before)
    session = main.desk.open.subject.session
    assert len(session.scores(1)) == 4
    np.testing.assert_array_equal(session.labels[1], before[1])


def test_undo_brings_a_layer_too(main, viewer):
    before = remove_labels(main)
    main.review.undo()
    assert main.state.labels in viewer.layers
    np.testing.assert_array_equal(main.state.labels.data, before)
    main.review.undo()
    assert main.state.labels.data[1, 20, 20] == 0
    assert main.state.labels.data[1, 10, 10] == 1


def test_a_run_writes_into_the_new_layer(main):
    remove_labels(main)
    assert main.segment_stack()
    assert (main.state.labels.data[:, 20, 20] == 2).all()
    assert main.state.message.severity == "done"


def test_it_can_be_removed_again_and_saved(main, tmp_path):
    for _ in range(2):
        before = remove_labels(main)
        main.files.save(tmp_path / "mine.session")
    loaded = Session.load(tmp_path / "mine.session", DATA)
    np.testing.assert_array_equal(loaded.labels, before)
    assert loaded.obj_ids == (1, 2)


def test_other_labels_and_back(main, viewer):
    before = remove_labels(main)
    other = viewer.add_labels(
        np.zeros(DATA.shape, int), scale=(1, 2, 2), translate=(0, 5, 5)
    )
    main.choose_labels(other)
    assert names(main) == []
    main.state.points.add([[0, 5, 5]])
    assert main.segment_frame()
    assert other.data.any()
    main.choose_labels(None)
    assert names(main) == ["object 1", "object 2"]
    assert main.segment_frame()
    np.testing.assert_array_equal(main.state.labels.data[1], before[1])


def test_choosing_a_new_layer_begins_afresh_and_loses_nothing(main, timers):
    before = remove_labels(main)
    main.choose_labels(None)
    assert names(main) == []
    assert main.state.unsaved.objects == 2
    main.recovery.restore()
    np.testing.assert_array_equal(main.state.labels.data, before)
    assert names(main) == ["object 1", "object 2"]


@pytest.mark.parametrize("is_saved", [False, True])
def test_what_is_kept_nowhere_is_not_lost_without_a_word(main, is_saved, tmp_path):
    main.state.keeps_work = False
    if is_saved:
        main.files.save(tmp_path / "mine.session")
    before = remove_labels(main)
    main.choose_labels(None)
    if is_saved:
        assert names(main) == []
        loaded = Session.load(tmp_path / "mine.session", DATA)
        np.testing.assert_array_equal(loaded.labels, before)
        return
    for _ in range(2):  # what comes back is asked for again
        assert "2 objects of the removed" in main.state.message.text
        assert "are saved nowhere" in main.state.message.text
        assert names(main) == ["object 1", "object 2"]
        main.review.undo()
        main.review.redo()
        np.testing.assert_array_equal(main.state.labels.data, before)
        remove_labels(main)
        main.choose_labels(None)
    main.choose_labels(None)
    assert names(main) == []
    assert main.state.unsaved is None
    assert main.state.message.severity == "hint"


def test_opening_a_session_leaves_what_is_there_alone(main, tmp_path):
    main.files.save(tmp_path / "mine.session")
    main.objects.rename_object(1, "mother")
    remove_labels(main)
    main.desk.sessions.release()
    main.files.open(tmp_path / "mine.session")
    assert names(main) == ["mother", "object 2"]
    assert main.state.labels is not None
    main.choose_labels(None)
    assert names(main) == ["mother", "object 2"]
    assert main.desk.open.is_loose


def test_data_of_the_same_shape_are_the_labels_from_now_on(main, tmp_path):
    folder = tmp_path / "mine.session"
    main.files.save(folder)
    new = np.roll(main.state.labels.data, 5, axis=2)
    main.state.labels.data = new
    assert names(main) == ["object 1", "object 2"]
    np.testing.assert_array_equal(Session.load(folder, DATA).labels, new)
    main.state.points.add([[3, 33, 50]])
    assert main.segment_frame()
    loaded = Session.load(folder, DATA).labels
    np.testing.assert_array_equal(loaded, main.state.labels.data)


def test_data_of_another_shape_send_the_objects_to_a_new_layer(main, viewer):
    labels = main.state.labels
    before = labels.data.copy()
    labels.data = np.zeros((3, 3, 3), int)
    assert main.state.labels is not labels
    assert main.state.labels in viewer.layers
    assert "data of shape (3, 3, 3)" in main.state.message.text
    np.testing.assert_array_equal(main.state.labels.data, before)
    assert main.segment_stack()
    assert (main.state.labels.data[:, 20, 20] == 2).all()
    assert not labels.data.any()


def test_wider_labels_are_no_other_data(main, viewer, monkeypatch):
    placed = {"scale": (1, 2, 2), "translate": (0, 5, 5)}
    main.choose_labels(viewer.add_labels(np.zeros(DATA.shape, np.uint8), **placed))
    main.state.object_id = 255
    assert main.segment_frame()
    again = []
    monkeypatch.setattr(main.desk.bench, "save_again", again.append)
    main.state.object_id = 300
    assert main.state.labels.selected_label == 255
    main.state.points.add([[3, 33, 50]])
    assert main.segment_frame()
    assert main.state.labels.data.dtype == np.int32
    assert main.state.labels.selected_label == 300
    assert again == []
    remove_labels(main)
    assert main.desk.open.array.dtype == np.int32


def test_new_labels_say_what_they_will_be_made_of(main):
    remove_labels(main)
    main.choose_labels(None)
    assert "from all prompts that are drawn" in main.state.message.text
    assert main.segment_frame()
    assert names(main) == ["object 1", "object 2"]
    main.choose_labels(None)
    assert "from all prompts that are drawn" in main.state.message.text
    points = main.state.points
    points.selected_data = range(len(points.data))
    points.remove_selected()
    main.choose_labels(None)
    assert main.state.message.text.startswith("Click on an object")


def test_what_is_restored_keeps_the_prompts_that_are_drawn(main, viewer):
    remove_labels(main)
    main.choose_labels(None)
    points, num_layers = main.state.points, len(viewer.layers)
    main.recovery.restore()
    assert main.state.points is points
    assert len(points.data) == 2
    assert len(viewer.layers) == num_layers + 1
    assert main.state.message.severity == "done"
    main.state.points.add([[3, 33, 50]])
    assert main.segment_frame()
    assert len(main.desk.open.subject.session.prompts(1)) == 2
