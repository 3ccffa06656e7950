"""Sessions that are saved, and gone on with, in a viewer without a window."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.mixed_layers import find_mixed
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.snapshots import LayerChoice
from napari_hqsam2.plugin.state import PluginState


@pytest.fixture
def start(fake_engine, make_timer):
    """Opens a viewer on the same image, as on another day."""

    def start(axes=("t", "y", "x")):
        viewer = ViewerModel()
        data = np.arange(4 * 40 * 60, dtype=np.uint16).reshape(4, 40, 60)
        viewer.add_image(data, name="cells", axis_labels=axes)
        viewer.dims.set_current_step(0, 1)
        return PluginController(
            PluginState(),
            NapariViewer(viewer),
            SyncInference(),
            fake_engine,
            make_timer,
        )

    return start


@pytest.fixture
def saved(start, tmp_path):
    """A folder with an object that has points, one with a box, and an accepted one."""
    main = start()
    main.add_prompt_layers()
    main.state.hq_mode = "off"
    main.state.points.add([[1, 10, 10], [2, 12, 10]])
    main.objects.new_object()
    main.flip_polarity()
    main.state.points.add([[1, 20, 20]])
    main.state.shapes.add(
        np.array([[[1, 25, 30], [1, 25, 40], [1, 35, 40], [1, 35, 30]]])
    )
    assert main.segment_stack()
    main.objects.rename_object(2, "sister")
    main.review.lock_here(True)
    folder = tmp_path / "day one.session"
    main.files.save(folder)
    assert "Saved to" in main.state.message.text
    return main, folder


def test_everything_is_there_on_another_day(saved, start):
    first, folder = saved
    main = start()
    main.files.open(folder)
    state = main.state
    assert "Opened day one.session: 2 objects" in state.message.text
    assert [row.name for row in state.objects] == ["object 1", "sister"]
    assert [row.num_locked for row in state.objects] == [0, 1]
    assert state.hq_mode == "off"
    np.testing.assert_array_equal(state.labels.data, first.state.labels.data)
    np.testing.assert_array_equal(state.points.data, first.state.points.data)
    for column in ("object_id", "label"):
        new, old = state.points.features[column], first.state.points.features[column]
        assert list(new) == list(old)
    np.testing.assert_allclose(state.shapes.data[0][:, 1:].min(axis=0), [25, 30])
    assert list(state.shapes.features["object_id"]) == [2]
    assert list(state.shapes.features["label"]) == ["positive"]


def test_opened_prompts_are_not_taken_for_new_ones(saved, start):
    _, folder = saved
    main = start()
    main.files.open(folder)
    item = main.desk.open
    assert not main.desk.read_prompts(item)
    main.state.points.add([[3, 5, 5]])
    assert main.segment_frame()
    assert item.subject.session.prompts(2)[0].box is not None
    assert main.state.undo_name == "segment frame"


def test_what_cannot_be_opened_is_said(saved, start, tmp_path):
    _, folder = saved
    main = start()
    main.files.open(tmp_path)
    assert "There is no saved session" in main.state.message.text
    turned = start(("z", "y", "x"))
    turned.files.open(folder)
    assert "saved for axes TYX" in turned.state.message.text
    for refused in (main, turned):
        assert [x.name for x in refused.viewer.labels()] == []
        assert refused.state.labels is None
        assert refused.desk.open is None


def test_prompts_of_something_else_are_put_aside(saved, tmp_path):
    main, folder = saved
    state = main.state
    old_points, old_shapes = state.points, state.shapes
    main.files.save(tmp_path / "other.session")
    old_points.add([[3, 5, 5]])
    main.files.open(folder)
    assert state.message.severity == "done"
    assert state.points is not old_points
    assert [len(old_points.data), len(state.points.data)] == [4, 3]
    shown = [x.visible for x in (old_points, old_shapes, state.points)]
    assert shown == [False, False, True]
    assert len(state.shapes.data) == 1
    state.points.add([[3, 30, 30]])
    assert main.segment_frame()
    assert len(main.desk.open.subject.session.prompts(1)) == 3


def test_a_box_that_is_drawn_already_is_not_drawn_twice(saved, tmp_path):
    main, folder = saved
    shapes = main.state.shapes
    main.files.save(tmp_path / "other.session")
    main.files.open(folder)
    assert main.state.shapes is shapes
    assert len(shapes.data) == 1
    assert main.state.message.severity == "done"


def test_layers_stay_chosen_when_nothing_can_be_opened(saved, tmp_path):
    main, _ = saved
    state = main.state
    before = (state.points, state.shapes, state.labels)
    main.files.open(tmp_path)
    assert "There is no saved session" in state.message.text
    assert (state.points, state.shapes, state.labels) == before
    assert [choice.handle for choice in main.viewer.labels()] == [state.labels]
    assert [row.name for row in state.objects] == ["object 1", "sister"]


def test_what_is_done_later_is_saved_too(saved, start):
    first, folder = saved
    first.objects.rename_object(2, "daughter")
    first.desk.sessions.release()
    second = start()
    second.files.open(folder)
    assert [row.name for row in second.state.objects] == ["object 1", "daughter"]
    assert second.state.message.severity == "done"
    second.objects.rename_object(1, "mother")
    third = start()
    third.files.open(folder)
    assert [row.name for row in third.state.objects] == ["mother", "daughter"]
    assert "Changes are not saved: Another session" in third.state.message.text
    assert third.state.message.severity == "problem"


def test_a_folder_that_cannot_be_written_any_more_is_told_once(saved, monkeypatch):
    main, _ = saved
    told = []
    monkeypatch.setattr(main.viewer, "notify", lambda text, **_: told.append(text))
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(28, "No space left on device")

        patch.setattr("os.fsync", full)
        main.objects.rename_object(1, "unsaved")
        main.objects.rename_object(1, "still unsaved")
    assert len(told) == 1
    assert "No space left" in told[0]
    assert "kept in memory" in told[0]
    assert main.state.objects[0].name == "still unsaved"


def add_membranes(main, name="membranes"):
    data, viewer = main.state.image.data + 1, main.viewer._viewer
    return viewer.add_image(data, name=name, axis_labels=("t", "y", "x"))


def test_layers_that_were_mixed_are_mixed_again(start, tmp_path):
    main, folder = start(), tmp_path / "mixed.session"
    membranes, cells = add_membranes(main), main.state.image
    main.add_prompt_layers()
    main.state.mix = (membranes, None, cells)
    main.state.points.add([[1, 10, 10]])
    assert main.segment_stack()
    main.files.save(folder)
    main.close()

    again = start()
    other = add_membranes(again)
    again.files.open(folder)
    assert again.state.mix == (other, None, again.state.image)
    assert again.state.message.severity == "done"
    assert again.state.undo_name == ""
    again.close()

    alone = start()
    add_membranes(alone, "nuclei")
    alone.files.open(folder)
    assert alone.state.mix is None
    assert (
        "'membranes' mixed in, which is not in the viewer" in alone.state.message.text
    )
    assert alone.state.message.severity == "problem"


@pytest.mark.parametrize(
    ("described", "found"),
    [
        ("", (None, ())),
        ("red: a, blue: b, c", ((1, None, 2), ())),
        ("green: a", ((None, 1, None), ())),
        ("red: d, green: a, blue: another stack", (None, ("d", "another stack"))),
    ],
)
def test_names_of_mixed_layers_are_read(described, found):
    assert find_mixed(described, [LayerChoice(1, "a"), LayerChoice(2, "b, c")]) == found
