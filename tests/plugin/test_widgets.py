"""The dock widget, driven as a user would, on viewers without a window."""

import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.plugin import sample_data
from napari_hqsam2.plugin.costs import cost_key
from napari_hqsam2.plugin.state import RunStatus
from napari_hqsam2.plugin.widgets.help_panel import KEYS
from napari_hqsam2.plugin.widgets.main_widget import SegmentWidget
from napari_hqsam2.weights import inventory, own_files
from napari_hqsam2.weights.cache import CACHE_VARIABLE
from napari_hqsam2.weights.transfer import DownloadCancelledError


@pytest.fixture
def opened(qtbot, fake_engine):
    """The widget on a viewer without a window, which opens much faster."""
    viewer = ViewerModel()
    widget = SegmentWidget(viewer, engine=fake_engine)
    qtbot.addWidget(widget)
    viewer.add_layer(Layer.create(*sample_data.nuclei_timelapse()[0]))
    viewer.dims.set_current_step(0, 10)
    return viewer, widget


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def finish(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.state.run.is_busy, timeout=20_000)


def test_every_state_tells_the_next_step(opened, qtbot):
    _, widget = opened
    assert "Add prompt layers" in widget.run.message.text()
    assert widget.summary.text() == "T 32 · Y 130 · X 130"
    assert not widget.run.stack.isEnabled()
    click(qtbot, widget.prompts.add_layers)
    assert "Click on an object" in widget.run.message.text()
    assert not widget.prompts.add_layers.isVisibleTo(widget)
    widget.state.points.add([[10, 50, 50]])
    assert "follow through the stack" in widget.run.message.text()
    assert widget.run.stack.isEnabled()


def test_odd_frames_have_a_line(opened):
    _, widget = opened
    assert not widget.oddity.isVisibleTo(widget)
    widget.state.oddity = "has the value 0 everywhere: the model sees one plain colour"
    assert widget.oddity.isVisibleTo(widget)
    assert widget.oddity.text().startswith("⚠ This frame has the value 0")


def test_from_click_to_labelled_stack(opened, qtbot, fake_engine):
    viewer, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[10, 50, 50]])
    click(qtbot, widget.objects.new_object)
    widget.state.points.add([[10, 90, 90]])
    click(qtbot, widget.run.stack)
    assert widget.state.run.is_busy
    finish(qtbot, widget)
    labels = widget.state.labels
    assert labels in viewer.layers
    assert (labels.data[:, 50, 50] == 1).all()
    assert (labels.data[:, 90, 90] == 2).all()
    assert widget.labels.currentText() == labels.name
    assert "Done: 2 objects through T" in widget.run.message.text()
    assert fake_engine.threads
    assert threading.get_ident() not in fake_engine.threads


def test_polarity_is_chosen_by_the_toggle(opened, qtbot):
    viewer, widget = opened
    click(qtbot, widget.prompts.add_layers)
    points = widget.state.points
    assert viewer.layers.selection.active is points
    assert points.mode == "add"
    click(qtbot, widget.prompts.negative)
    points.add([[10, 20, 20]])
    assert list(points.features["label"]) == ["negative"]
    assert widget.prompts.negative.isChecked()


def test_boxes_become_objects_of_their_own(opened, qtbot):
    _, widget = opened
    click(qtbot, widget.prompts.add_layers)
    shapes = widget.state.shapes
    corners = np.array([(10, 5, 5), (10, 5, 15), (10, 15, 15), (10, 15, 5)], float)
    shapes.add_rectangles(corners)
    shapes.add_rectangles(corners + np.array([0, 40, 40]))
    assert list(shapes.features["object_id"]) == [1, 2]
    assert widget.prompts.object_id.value() == 2


def test_this_frame_only(opened, qtbot):
    _, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[10, 50, 50]])
    click(qtbot, widget.run.frame)
    finish(qtbot, widget)
    labels = widget.state.labels
    assert labels.data.any(axis=(1, 2)).nonzero()[0].tolist() == [10]
    click(qtbot, widget.review.undo)
    qtbot.waitUntil(lambda: not labels.data.any(), timeout=5_000)


def test_range_slider_speaks_and_limits(opened, qtbot):
    _, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[10, 50, 50]])
    widget.tracking.frames.setValue((8, 12))
    assert widget.tracking.words.text() == "through T, frames 8 to 12"
    assert widget.state.frames == (8, 13)
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    filled = widget.state.labels.data.any(axis=(1, 2)).nonzero()[0]
    assert filled.tolist() == [8, 9, 10, 11, 12]
    widget.tracking.frames.setValue((0, 31))
    assert widget.state.frames is None


def test_cancel_keeps_what_is_done(opened, qtbot, fake_engine):
    _, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[0, 50, 50]])
    fake_engine.before_frame = lambda _: threading.Event().wait(0.02)
    click(qtbot, widget.run.stack)
    qtbot.waitUntil(lambda: widget.state.run.done >= 3, timeout=20_000)
    assert widget.run.cancel.isVisibleTo(widget)
    click(qtbot, widget.run.cancel)
    finish(qtbot, widget)
    done = widget.state.labels.data.any(axis=(1, 2)).sum()
    assert 3 <= done < 32
    assert "Cancelled" in widget.run.message.text()
    assert widget.run.stack.isEnabled()


@pytest.mark.parametrize(
    "error", [CheckpointError("the weights are gone"), RuntimeError("out of memory")]
)
def test_errors_in_the_worker_are_told_and_the_widget_lives(
    opened, qtbot, fake_engine, error
):
    _, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[0, 50, 50]])
    fake_engine.error, fake_engine.fail_at = error, 1
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    assert str(error) in widget.run.message.text()
    assert widget.run.stack.isEnabled()
    fake_engine.error = None
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    assert "Done" in widget.run.message.text()


def test_event_loop_stays_alive_during_a_run(opened, qtbot, fake_engine):
    _, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[0, 50, 50]])
    fake_engine.go_on = threading.Event()
    click(qtbot, widget.run.stack)
    turns = []
    qtbot.waitUntil(lambda: turns.append(1) or len(turns) > 20, timeout=5_000)
    assert widget.state.run.phase == "starting"
    fake_engine.go_on.set()
    finish(qtbot, widget)


@pytest.mark.parametrize("which", ["image", "labels", "points"])
def test_layers_may_go_during_a_run(opened, qtbot, fake_engine, which):
    viewer, widget = opened
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[0, 50, 50]])
    fake_engine.before_frame = lambda _: threading.Event().wait(0.02)
    click(qtbot, widget.run.stack)
    qtbot.waitUntil(lambda: widget.state.run.done >= 2, timeout=20_000)
    viewer.layers.remove(getattr(widget.state, which))
    finish(qtbot, widget)
    expected = "Done" if which == "points" else "removed"
    assert expected in widget.run.message.text()


def test_layers_may_be_renamed_and_moved(opened, qtbot):
    viewer, widget = opened
    image = widget.state.image
    image.name = "renamed"
    assert widget.image.currentText() == "renamed"
    viewer.add_image(np.zeros((4, 20, 30)), name="other", contrast_limits=(0, 1))
    viewer.layers.move(0, 2)
    assert widget.image.currentText() == "renamed"
    assert widget.image.count() == 2


def test_prompts_are_taken_from_a_layer_by_its_menu(opened, qtbot):
    viewer, widget = opened
    assert not widget.prompts.take.isVisibleTo(widget)
    click(qtbot, widget.prompts.add_layers)
    viewer.add_points([[10, 50, 50], [10, 90, 90]], name="seeds")
    viewer.add_tracks([[1, 0, 5, 5], [1, 1, 5, 6]], name="tracks")
    assert widget.prompts.take.isVisibleTo(widget)
    menu = widget.prompts.take.menu()
    menu.aboutToShow.emit()
    words = [action.text() for action in menu.actions()]
    assert words == ["tracks: points that move", "seeds: each point an object"]
    menu.actions()[1].trigger()
    state = widget.state
    qtbot.waitUntil(lambda: len(state.objects) == 2, timeout=10_000)
    assert list(state.points.features["object_id"]) == [1, 2]


def test_masks_of_other_labels_can_be_followed_at_once(opened, qtbot):
    viewer, widget = opened
    data = np.zeros((32, 130, 130), dtype=np.uint8)
    data[10, 40:50, 40:50] = 3
    viewer.add_labels(data, name="by another tool")
    menu = widget.prompts.take.menu()
    menu.aboutToShow.emit()
    menu.actions()[0].trigger()
    finish(qtbot, widget)
    qtbot.waitUntil(lambda: len(widget.state.objects) == 1, timeout=10_000)
    assert widget.state.points is None
    assert not widget.prompts.add_layers.styleSheet()
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    assert (widget.state.labels.data == 3).any(axis=(1, 2)).all()


def test_volumes_over_time_are_followed_along_two_axes(opened, qtbot, fake_engine):
    viewer, widget = opened
    stack = viewer.add_image(
        np.zeros((3, 4, 20, 30)), contrast_limits=(0, 1), axis_labels=tuple("tzyx")
    )
    widget.choose_image(stack)
    axis, state = widget.tracking.axis, widget.state
    assert entries(axis) == [
        "T (3 frames)",
        "Z (4 slices)",
        "T, then Z",
        "Z, then T",
    ]
    axis.setCurrentIndex(3)
    axis.activated.emit(3)
    assert (state.axis, state.then_axis) == ("Z", "T")
    assert widget.tracking.words.text() == "through Z, slices 0 to 3, then through T"
    axis.setCurrentIndex(1)
    axis.activated.emit(1)
    through = "through Z, slices 0 to 3"
    assert widget.tracking.words.text() == f"{through}, at each T with prompts"
    widget.prompts.add_layers.click()
    state.points.add([[2, 1, 5, 5]])
    words = f"{through}, at T = 2\n4 slices, 1 object"
    qtbot.waitUntil(lambda: widget.tracking.words.text() == words, timeout=5_000)
    state.points.add([[0, 3, 5, 5]])
    words = f"{through}, at T = 0 and 2\n8 slices, 1 object"
    qtbot.waitUntil(lambda: widget.tracking.words.text() == words, timeout=5_000)
    click(qtbot, widget.run.stack)
    finish(qtbot, widget)
    words = f"{words}, about 1 s"
    qtbot.waitUntil(lambda: widget.tracking.words.text() == words, timeout=5_000)
    state.device = "cpu"
    assert "about" not in widget.tracking.words.text()
    state.device = "auto"
    again = SegmentWidget(viewer, engine=fake_engine)
    qtbot.addWidget(again)
    assert again.controller.costs.expect(cost_key(state, (20, 30)), 1) is not None
    axis.setCurrentIndex(1)
    axis.activated.emit(1)
    assert state.then_axis is None
    assert axis.currentText() == "Z (4 slices)"


def test_the_next_step_stands_out(opened, qtbot):
    _, widget = opened
    assert widget.prompts.add_layers.styleSheet()
    assert not widget.run.stack.styleSheet()
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[10, 50, 50]])
    qtbot.waitUntil(lambda: bool(widget.state.objects), timeout=10_000)
    assert widget.run.stack.styleSheet()
    widget.state.run = RunStatus("running", 3, 30, 95.0)
    assert not widget.run.stack.styleSheet()
    assert widget.run.progress.format() == "3 of 30 · about 95 s"
    widget.state.run = RunStatus()


def test_keys_are_told_in_the_panel(opened, qtbot):
    _, widget = opened
    click(qtbot, widget.help_heading)
    assert widget.help.isVisibleTo(widget)
    told = {key for names, _ in KEYS for key in names.split(", ")}
    letters = {key.replace("Shift-", "Shift+") for key in widget._keys._everywhere}
    assert told - {"Ctrl+Z"} == letters


def test_choosing_another_image_changes_axes_and_range(opened):
    viewer, widget = opened
    volume = viewer.add_layer(Layer.create(*sample_data.nuclei_volume()[0]))
    index = widget.image.findText(volume.name)
    widget.image.setCurrentIndex(index)
    widget.image.activated.emit(index)
    assert widget.state.image is volume
    assert widget.tracking.words.text() == "through Z, slices 0 to 23"
    assert widget.tracking.axis.currentText() == "Z (24 slices)"


def test_single_images_have_no_range(opened):
    viewer, widget = opened
    cells = viewer.add_layer(Layer.create(*sample_data.cells_two_channels()[0]))
    widget.choose_image(cells)
    assert not widget.tracking.isVisibleTo(widget)
    assert not widget.run.stack.isVisibleTo(widget)
    assert widget.run.frame.text() == "Segment the image"
    assert widget.channels.isVisibleTo(widget)
    assert widget.channels.currentText() == "both together"


def test_unsupported_images_are_refused_with_the_reason(opened, qtbot):
    viewer, widget = opened
    deep = viewer.add_image(np.zeros((2, 2, 2, 2, 8, 8)), contrast_limits=(0, 1))
    widget.choose_image(deep)
    assert "6 axes without names" in widget.run.message.text()
    assert not widget.run.stack.isVisibleTo(widget)
    click(qtbot, widget.objects.new_object)
    shapes = viewer.add_shapes(ndim=2)
    shapes.add_rectangles(np.array([(1, 1), (1, 5), (5, 5), (5, 1)], dtype=float))
    assert widget.state.shapes is shapes


def test_model_settings_unfold(opened, qtbot):
    _, widget = opened
    assert not widget.model.isVisibleTo(widget)
    click(qtbot, widget.settings)
    assert widget.model.isVisibleTo(widget)
    assert "(built in)" in widget.model.model.currentText()
    index = widget.model.device.findData("cpu")
    widget.model.device.setCurrentIndex(index)
    widget.model.device.activated.emit(index)
    assert widget.state.device == "cpu"


def test_layers_are_mixed_by_a_switch_and_three_choices(opened, qtbot):
    viewer, widget = opened
    widget.show()
    click(qtbot, widget.settings)
    panel, state, image = widget.mix, widget.state, widget.state.image
    assert not panel.isVisible()
    other = viewer.add_image(
        np.zeros_like(image.data), name="other", affine=image.affine, scale=image.scale
    )
    widget.choose_image(image)
    assert panel.isVisible()
    assert not panel.combos[0].isVisible()
    click(qtbot, panel.is_on)
    assert state.mix == (image, other, None)
    assert [combo.currentText() for combo in panel.combos] == [
        image.name,
        "other",
        "—",
    ]
    assert panel.combos[2].isVisible()
    panel.combos[2].chosen.emit(other)
    panel.combos[1].chosen.emit(None)
    assert state.mix == (image, None, other)
    panel.combos[0].chosen.emit(None)
    panel.combos[2].chosen.emit(None)
    assert state.mix is None
    assert not panel.is_on.isChecked()
    click(qtbot, panel.is_on)
    viewer.layers.remove(other)
    assert state.mix is None
    assert not panel.isVisible()


def test_the_model_row_downloads_and_removes(opened, qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    _, widget = opened
    widget.show()
    row = widget.model.store

    def wait_for(words):
        qtbot.waitUntil(lambda: row.words.text() == words, timeout=10_000)

    click(qtbot, widget.settings)
    wait_for("Built in, 16 MB, verified")
    assert not row.button.isVisible()
    choose(widget.model.model, "sam2.1_hiera_tiny")
    wait_for("156 MB to download")

    def download(name, *, progress, cancel):
        while not cancel():
            progress(50_000_000, 156_008_466)
        raise DownloadCancelledError("cancelled; what has arrived is kept")

    monkeypatch.setattr(inventory, "download_model", download)
    assert row.button.text() == "Download"
    click(qtbot, row.button)
    wait_for("Downloading: 32 % of 156 MB")
    assert row.button.text() == "Cancel"
    file = tmp_path / "cache" / "sam2.1_hiera_tiny.pt"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(bytes(3_000_000))
    click(qtbot, row.button)
    wait_for("3 MB here, not checked yet")
    assert "what has arrived is kept" in widget.run.message.text()
    click(qtbot, row.button)
    assert row.button.text() == "Free 3 MB?"
    row.leaveEvent(None)
    assert row.button.text() == "Remove"
    click(qtbot, row.button)
    assert file.exists()
    click(qtbot, row.button)
    wait_for("156 MB to download")
    assert not file.exists()


def test_own_weights_are_offered_again(opened, qtbot, tmp_path):
    _, widget = opened
    row, state = widget.model.weights, widget.state
    for name in ("one", "two"):
        path = tmp_path / name / "weights.safetensors"
        path.parent.mkdir()
        path.write_bytes(b"weights")
        own_files.remember(path, state.model)
    own_files.remember(tmp_path / "gone.pt", state.model)
    own_files.remember(tmp_path / "one" / "weights.safetensors", "sam2.1_hiera_tiny")
    texts = [action.text() for action in row.menu().actions() if action.text()]
    assert texts == ["weights.safetensors  (two)", "Another file …"]
    row.menu().actions()[0].trigger()
    assert state.checkpoint == str(tmp_path / "two" / "weights.safetensors")


def test_weights_of_ones_own_are_chosen_by_file(opened, qtbot, monkeypatch):
    _, widget = opened
    row, state = widget.model.weights, widget.state
    click(qtbot, widget.settings)
    assert (row.file.text(), row.back.isVisibleTo(row)) == ("its own", False)
    picked = iter([("", ""), ("/models/mine.safetensors", "")])
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: next(picked))
    click(qtbot, row.file)
    assert state.checkpoint is None
    click(qtbot, row.file)
    assert state.checkpoint == "/models/mine.safetensors"
    assert (row.file.text(), row.back.isVisibleTo(row)) == ("mine.safetensors", True)
    choose(widget.model.model, "sam2.1_hiera_tiny")
    assert state.checkpoint is None
    state.checkpoint = "/models/tiny.pt"
    click(qtbot, row.back)
    assert state.checkpoint is None


def choose(combo, data):
    combo.setCurrentIndex(combo.findData(data))
    combo.activated.emit(combo.currentIndex())


def entries(combo):
    return [combo.itemText(index) for index in range(combo.count())]


def test_speed_settings_unfold_and_reach_the_run(opened, qtbot, fake_engine):
    _, widget = opened
    speed = widget.speed
    assert not speed.isVisibleTo(widget)
    click(qtbot, widget.speed_settings)
    assert speed.isVisibleTo(widget)
    assert entries(speed.detail) == ["Full, 512 px", "Draft, 384 px", "Draft, 256 px"]
    assert (speed.detail.currentIndex(), speed.local.isChecked()) == (0, False)
    assert speed.detail_words.text() == "All that the model can see"
    assert "a quarter of the time" in speed.detail.toolTip()
    choose(speed.detail, 256)
    assert speed.detail_words.text() == "Faster, loses detail"
    assert speed.detail.toolTip().startswith("Draft, 256 px\n")
    speed.local.click()
    click(qtbot, widget.prompts.add_layers)
    widget.state.points.add([[10, 50, 50]])
    click(qtbot, widget.run.frame)
    finish(qtbot, widget)
    settings = fake_engine.sessions[-1].settings
    assert (settings.tracking, settings.resolution) == ("local", 256)
    speed.local.click()
    assert widget.state.tracking == "exact"


def test_speed_settings_show_what_is_chosen_elsewhere_and_widen_nothing(opened):
    _, widget = opened
    widget.state.tracking, widget.state.resolution = "local", 384
    speed = widget.speed
    assert (speed.local.isChecked(), speed.detail.currentData()) == (True, 384)
    usual = widget.model.minimumSizeHint().width()
    assert speed.minimumSizeHint().width() < 1.1 * usual


def test_details_are_those_below_the_model_that_is_chosen(opened):
    _, widget = opened
    detail = widget.speed.detail
    choose(detail, 384)
    choose(widget.model.model, "sam2.1_hiera_tiny")
    assert entries(detail) == ["Full, 1024 px", "Draft, 768 px", "Draft, 512 px"]
    assert (widget.state.resolution, detail.currentText()) == (None, "Full, 1024 px")
    choose(detail, 512)
    choose(widget.model.model, "sam2.1_hiera_large")
    assert (widget.state.resolution, detail.currentText()) == (512, "Draft, 512 px")


def test_tips_stay_with_what_is_chosen(opened):
    _, widget = opened
    assert widget.tracking.direction.toolTip().splitlines() == [
        "both ways",
        "From the first prompt of an object on",
    ]


def test_two_viewers_have_two_independent_widgets(qtbot, fake_engine):
    viewers = [ViewerModel(), ViewerModel()]
    widgets = [SegmentWidget(viewer, engine=fake_engine) for viewer in viewers]
    for widget in widgets:
        qtbot.addWidget(widget)
    viewers[0].add_image(np.zeros((4, 20, 30)), contrast_limits=(0, 1))
    assert [widget.image.count() for widget in widgets] == [1, 0]


def test_deleting_the_widget_during_a_run_frees_everything(fake_engine, qtbot):
    viewer = ViewerModel()
    widget = SegmentWidget(viewer, engine=fake_engine)
    viewer.add_image(np.zeros((40, 20, 30)), contrast_limits=(0, 1))
    widget.controller.layers.add_prompt_layers()
    widget.state.points.add([[0, 5, 5]])
    fake_engine.before_frame = lambda _: threading.Event().wait(0.02)
    click(qtbot, widget.run.stack)
    state = widget.state
    qtbot.waitUntil(lambda: state.run.done >= 2, timeout=20_000)
    widget.deleteLater()
    qtbot.waitUntil(lambda: fake_engine.is_released, timeout=10_000)
    viewer.add_image(np.zeros((4, 20, 30)), contrast_limits=(0, 1))
    viewer.layers.clear()


def test_a_prompt_layer_that_was_removed_can_be_added_again(opened, qtbot):
    viewer, widget = opened
    state, button = widget.state, widget.prompts.add_layers
    click(qtbot, button)
    assert button.isHidden()
    shapes = state.shapes
    viewer.layers.remove(state.points)
    assert not button.isHidden()
    click(qtbot, button)
    assert state.shapes is shapes
    assert viewer.layers.index(state.points) < viewer.layers.index(shapes)
    assert button.isHidden()
    own = viewer.add_points(np.ones((1, 3)))
    state.points, state.shapes = own, None
    assert button.isHidden()
