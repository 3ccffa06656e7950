"""The lineage section, driven with the mouse."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.suggestions import DivisionSuggestion
from napari_hqsam2.plugin.lineage import LineageState
from napari_hqsam2.plugin.rows import ObjectRow
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.plugin.widgets.lineage_panel import LineagePanel

DIVISION = Division(3, 1, (2, 3))
SUGGESTION = DivisionSuggestion(Division(7, 2, (4, 5)), 0.83)


class FakeFiles:
    def __init__(self, calls):
        self.save = lambda path: calls.append(("save", path))
        self.open = lambda path: calls.append(("open", path))


class FakeMain:
    def __init__(self, calls):
        self.state = PluginState()
        self.files = FakeFiles(calls)


class FakeLineage:
    """Notes what it is asked."""

    def __init__(self):
        self.calls = []
        self.main, self.state = FakeMain(self.calls), LineageState()
        self.has_time, self.time = True, 3

    def __getattr__(self, name):
        return lambda *args: self.calls.append((name, *args))

    def show_tracks(self, is_on):
        self.state.has_tracks = is_on


@pytest.fixture
def lineage():
    lineage = FakeLineage()
    lineage.main.state.objects = tuple(
        ObjectRow(i, f"object {i}", (1.0, 0.0, 0.0), "", 1) for i in (1, 2, 3)
    )
    return lineage


@pytest.fixture
def panel(qtbot, lineage):
    panel = LineagePanel(lineage)
    qtbot.addWidget(panel)
    panel.show()
    return panel


def click(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_the_current_object_divides_on_the_frame_on_show(panel, lineage):
    assert panel.divide.text() == "Divide object 1 here"
    QTest.keyClicks(panel.daughters, "2, 3")
    click(panel.divide)
    assert lineage.calls == [("divide", 1, {2, 3}, 3)]
    assert panel.daughters.text() == ""
    lineage.main.state.object_id = 9
    assert not panel.divide.isEnabled()
    QTest.keyClick(panel.daughters, Qt.Key.Key_Return)
    assert len(lineage.calls) == 1


def test_what_is_no_list_of_ids_is_said(panel, lineage):
    QTest.keyClicks(panel.daughters, "two")
    click(panel.divide)
    assert lineage.calls == []
    assert "'two' is no list of objects" in lineage.main.state.message.text


def test_divisions_and_suggestions(panel, lineage):
    assert not panel.found.isVisible()
    assert not panel.accept.isVisible()
    assert not panel.clear.isVisible()
    lineage.state.divisions = (DIVISION,)
    lineage.state.suggestions = (SUGGESTION,)
    texts = [panel.found.item(n).text() for n in range(panel.found.count())]
    assert texts == ["? T 7: 2 → 4, 5   83%", "   T 3: 1 → 2, 3"]
    click(panel.accept)
    click(panel.refuse)
    assert lineage.calls == [("accept", SUGGESTION), ("refuse", SUGGESTION)]
    panel.found.setCurrentRow(1)
    assert panel.clear.isVisible()
    assert not panel.accept.isVisible()
    click(panel.clear)
    assert lineage.calls[-1] == ("clear_division", 1)


def test_a_click_goes_there(panel, lineage):
    lineage.state.divisions = (DIVISION,)
    where = panel.found.visualItemRect(panel.found.item(0)).center()
    QTest.mouseClick(panel.found.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert lineage.calls == [("go_to", DIVISION)]


def test_tracks_are_off_until_wanted(panel, lineage):
    assert not panel.tracks.isChecked()
    click(panel.tracks)
    assert lineage.state.has_tracks
    lineage.state.has_tracks = False
    assert not panel.tracks.isChecked()


def test_without_time_there_are_files_only(panel, lineage):
    lineage.has_time = False
    lineage.main.state.image = object()
    assert panel.note.isVisible()
    assert not panel.tracks.isVisible()
    assert panel.export.isEnabled()


def test_nothing_to_export(panel, lineage):
    lineage.main.state.objects = ()
    for button in (panel.export, panel.suggest, panel.tracks, panel.divide):
        assert not button.isEnabled()
    assert panel.bring.isEnabled()


@pytest.mark.parametrize(
    ("index", "chosen", "expected"),
    [
        (1, "01_RES", ("01_RES", "ctc")),
        (3, "it", ("it.geff", "geff")),
        (4, "it.csv", ("it.csv", "csv")),
        (5, "it.v2", ("it.v2.ome.tif", "ome-tiff")),
        (6, "", None),
    ],
)
def test_exports(panel, lineage, monkeypatch, index, chosen, expected):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, ""))
    panel.export.menu().actions()[index].trigger()
    wanted = [] if expected is None else [("export", Path(expected[0]), expected[1])]
    assert lineage.calls == wanted


@pytest.mark.parametrize("chosen", ["cells", "cells.session", ""])
def test_sessions_are_saved_first_of_all(panel, lineage, monkeypatch, chosen):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, ""))
    panel.export.menu().actions()[0].trigger()
    wanted = [("save", Path("cells.session"))] if chosen else []
    assert lineage.calls == wanted


@pytest.mark.parametrize(("index", "ending"), [(0, ".session"), (4, ".csv")])
def test_a_name_that_was_completed_replaces_nothing(
    panel, lineage, monkeypatch, tmp_path, index, ending
):
    (tmp_path / f"it{ending}").touch()
    chosen = str(tmp_path / "it")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, ""))
    panel.export.menu().actions()[index].trigger()
    assert lineage.calls == []
    assert f"it{ending} exists already" in lineage.main.state.message.text


def test_imports(panel, lineage, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("it.tif", ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "01_RES")
    for action in panel.bring.menu().actions():
        action.trigger()
    assert lineage.calls == [
        ("open", Path("01_RES")),
        ("import_tracks", Path("it.tif")),
        ("import_tracks", Path("01_RES")),
    ]
