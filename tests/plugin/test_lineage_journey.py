"""Lineage in a real viewer with a window: in, tracks, suggestions, undo, out."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Tracks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_hqsam2.lineage.content import TrackedLabels
from napari_hqsam2.lineage.ctc import read_ctc, write_ctc
from napari_hqsam2.lineage.divisions import Division


@pytest.fixture
def folder(tmp_path):
    """CTC folder: 1 becomes itself and 2 at T=3, 4 stays."""
    labels = np.zeros((6, 60, 80), np.int32)
    labels[:3, 20:32, 30:42] = 1
    labels[3:, 20:30, 20:30] = 1
    labels[3:, 20:30, 42:52] = 2
    labels[:, 50:55, 5:15] = 4
    return write_ctc(tmp_path / "01_RES", TrackedLabels(labels=labels, axes="TYX"))


@pytest.fixture
def opened(make_napari_viewer, fake_engine, monkeypatch):
    monkeypatch.setattr(
        "napari_hqsam2.plugin.widgets.main_widget.ModelEngine", lambda: fake_engine
    )
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((6, 60, 80), np.uint8), name="cells", scale=(1, 2, 2))
    _, widget = viewer.window.add_plugin_dock_widget("napari-hqsam2", "HQ-SAM 2")
    widget.lineage_heading.click()
    return viewer, widget


def test_in_tracks_suggestions_undo_and_out(
    opened, qtbot, folder, tmp_path, monkeypatch
):
    viewer, widget = opened
    panel, state = widget.lineage, widget.state

    def click(button):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def tracks():
        return [layer for layer in viewer.layers if isinstance(layer, Tracks)]

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    panel.bring.menu().actions()[2].trigger()
    qtbot.waitUntil(lambda: len(state.objects) == 3, timeout=20_000)
    assert not tracks()

    click(panel.tracks)
    qtbot.waitUntil(lambda: len(tracks()) == 1, timeout=20_000)
    (layer,) = tracks()
    assert len(layer.data) == 15
    np.testing.assert_allclose(layer.data_to_world([0, 25.5, 35.5]), [0, 51, 71])

    viewer.dims.set_current_step(0, 5)
    state.labels.paint((5, 2, 2), 4)
    qtbot.waitUntil(lambda: layer.data[-1, 2] < 51, timeout=20_000)

    click(panel.suggest)
    qtbot.waitUntil(panel.accept.isVisible, timeout=20_000)
    click(panel.accept)
    qtbot.waitUntil(lambda: layer.graph == {2: [1], 5: [1]}, timeout=20_000)
    assert panel.found.item(0).text() == "   T 3: 1 → 2, 5"

    name = str(tmp_path / "out")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (name, ""))
    panel.export.menu().actions()[1].trigger()
    qtbot.waitUntil(lambda: "Exported" in state.message.text, timeout=20_000)
    assert read_ctc(tmp_path / "out").divisions == (Division(3, 1, (2, 5)),)

    click(widget.review.undo)
    qtbot.waitUntil(lambda: not panel.found.isVisible(), timeout=20_000)
    assert (state.labels.data[4] == 1).any()
    click(panel.tracks)
    qtbot.waitUntil(lambda: not tracks(), timeout=20_000)
