"""Mothers and daughters, tracks, and files of other programs."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QAction  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFileDialog,
    QLineEdit,
    QListWidget,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_hqsam2.lineage.exchange import SUFFIXES
from napari_hqsam2.lineage.suggestions import DivisionSuggestion
from napari_hqsam2.plugin.lineage import LineageController
from napari_hqsam2.plugin.lineage_layers import NapariTracks
from napari_hqsam2.plugin.state import Message
from napari_hqsam2.plugin.widgets.layout import (
    beside,
    quiet_label,
    row,
    toggle,
    unfold,
)
from napari_hqsam2.plugin.workers import QtTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import napari

    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.lineage.exchange import ExportFormat
    from napari_hqsam2.plugin.controller import PluginController

    Verb = tuple[str, Callable[[], None]]
    """Words, and what they do."""

SESSION_SUFFIX = ".session"
LINES = 5
"""Rows of the list that are seen at once."""
FRAME = 6
"""Pixels above and below the rows."""
EXPORTS: dict[ExportFormat, tuple[str, str]] = {
    "ctc": ("CTC folder (results)…", ""),
    "ctc-truth": ("CTC folder (annotations)…", ""),
    "geff": ("GEFF graph…", ".geff"),
    "csv": ("Table, CSV…", ".csv"),
    "ome-tiff": ("Labels, OME-TIFF…", ".ome.tif"),
    "ome-zarr": ("Labels, OME-Zarr…", ".ome.zarr"),
}
"""Words and endings."""


class LineagePanel(QWidget):
    """Tracks, divisions by hand and as suggested, export and import.

    Parameters
    ----------
    lineage
        Does what the user asks for; its state is shown.
    """

    def __init__(
        self, lineage: LineageController, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._lineage = lineage
        self.tracks = toggle(
            "Show tracks",
            "A Tracks layer of all objects, kept in step with the labels",
            "#2f6fb5",
        )
        self.suggest = QPushButton("Suggest divisions")
        self.suggest.setToolTip(
            "Look for objects that end or halve where others start.\n"
            "Nothing changes before you accept."
        )
        self.daughters = QLineEdit()
        self._becomes = row("Becomes", self.daughters)
        self.divide = QPushButton("Divide on this frame")
        self.found = QListWidget()
        self.accept = QPushButton("Accept")
        self.refuse = QPushButton("Reject")
        self.clear = QPushButton("Clear division")
        self.export = QPushButton("Export")
        self.bring = QPushButton("Import")
        self.note = quiet_label("Divisions need an image with time as its first axis.")
        self._timed = QWidget()
        self._entries: list[Division | DivisionSuggestion] = []
        self._lay_out()
        self._describe()
        self._connect()
        self._show_image()

    def _lay_out(self) -> None:
        timed = QVBoxLayout(self._timed)
        timed.setContentsMargins(0, 0, 0, 0)
        timed.setSpacing(4)
        for widget in (
            beside((self.tracks, 1), (self.suggest, 1)),
            self._becomes,
            self.divide,
            self.found,
            beside((self.accept, 1), (self.refuse, 1), (self.clear, 1)),
        ):
            timed.addWidget(widget)
        exports: list[Verb] = [
            (words, partial(self._ask_and_export, to))
            for to, (words, _) in EXPORTS.items()
        ]
        self.export.setMenu(
            self._menu([("Session, to go on with…", self._ask_and_save), *exports])
        )
        ask = self._ask_and_import
        imports: list[Verb] = [
            ("Session…", self._ask_and_open),
            ("File…", partial(ask, is_folder=False)),
            ("Folder…", partial(ask, is_folder=True)),
        ]
        self.bring.setMenu(self._menu(imports))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            self.note,
            self._timed,
            beside((self.export, 1), (self.bring, 1)),
        ):
            layout.addWidget(widget)

    def _menu(self, entries: Iterable[Verb]) -> QMenu:
        menu = QMenu(self)
        for words, do in entries:
            action = QAction(words, menu)
            action.triggered.connect(lambda _=False, do=do: do())
            menu.addAction(action)
        return menu

    def _describe(self) -> None:
        self.daughters.setPlaceholderText("ids, such as 5, 6")
        self.daughters.setToolTip(
            "What the current object becomes on the frame on show. If its own label\n"
            "goes on, that part gets an id of its own: name the others, or none."
        )
        self.export.setText("Save as")
        self.bring.setText("Open")
        self.export.setToolTip(
            "The session with all prompts, to go on with another day;\n"
            "labels, tracks and divisions for other programs"
        )
        self.bring.setToolTip(
            "A saved session; labels, CTC folder, GEFF or table of an export"
        )
        self.found.setStyleSheet("QListWidget::item { padding: 3px; }")
        self.found.setAccessibleName("Divisions and suggestions")

    def _connect(self) -> None:
        lineage, state = self._lineage, self._lineage.state
        main = lineage.main
        self.tracks.clicked.connect(lineage.show_tracks)
        self.suggest.clicked.connect(lambda _: lineage.suggest())
        self.divide.clicked.connect(lambda _: self._divide())
        self.daughters.returnPressed.connect(self._divide)
        self.found.itemClicked.connect(lambda _: self._go())
        self.found.itemSelectionChanged.connect(self._show_verbs)
        self.accept.clicked.connect(lambda _: self._answer(lineage.accept))
        self.refuse.clicked.connect(lambda _: self._answer(lineage.refuse))
        self.clear.clicked.connect(lambda _: self._clear())
        for event in (state.events.divisions, state.events.suggestions):
            event.connect(self._show_found)
        state.events.has_tracks.connect(self._show_tracks)
        for event in (main.state.events.image, main.state.events.objects):
            event.connect(self._show_image)
        main.state.events.object_id.connect(self._show_mother)

    def _show_image(self) -> None:
        has_time = self._lineage.has_time
        self._timed.setVisible(has_time)
        self.note.setVisible(not has_time)
        has_objects = bool(self._lineage.main.state.objects)
        self.export.setEnabled(has_objects)
        self.suggest.setEnabled(has_objects)
        self.tracks.setEnabled(has_objects)
        self._show_mother()
        self._show_found()

    def _show_mother(self) -> None:
        state = self._lineage.main.state
        is_known = any(row.obj_id == state.object_id for row in state.objects)
        self.divide.setEnabled(is_known)
        self.divide.setText(f"Divide object {state.object_id} here")
        self.divide.setToolTip(
            f"Object {state.object_id} becomes others on the frame on show"
            if is_known
            else "Choose an object of the list first"
        )

    def _show_tracks(self) -> None:
        self.tracks.setChecked(self._lineage.state.has_tracks)

    def _show_found(self) -> None:
        state, chosen = self._lineage.state, self.found.currentRow()
        self._entries = [*state.suggestions, *state.divisions]
        self.found.clear()
        for suggestion in state.suggestions:
            words = _words(suggestion.division)
            self.found.addItem(f"? {words}   {suggestion.score:.0%}")
        for division in state.divisions:
            self.found.addItem(f"   {_words(division)}")
        self.found.setCurrentRow(min(max(chosen, 0), len(self._entries) - 1))
        self.found.setVisible(bool(self._entries))
        lines = min(len(self._entries), LINES)
        self.found.setFixedHeight(lines * self.found.sizeHintForRow(0) + FRAME)
        self._show_verbs()

    def _show_verbs(self) -> None:
        chosen = self._chosen
        is_suggestion = isinstance(chosen, DivisionSuggestion)
        self.accept.setVisible(is_suggestion)
        self.refuse.setVisible(is_suggestion)
        self.clear.setVisible(chosen is not None and not is_suggestion)

    @property
    def _chosen(self) -> Division | DivisionSuggestion | None:
        index = self.found.currentRow()
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def _go(self) -> None:
        chosen = self._chosen
        if isinstance(chosen, DivisionSuggestion):
            self._lineage.go_to(chosen.division)
        elif chosen is not None:
            self._lineage.go_to(chosen)

    def _answer(self, verb: Callable[[DivisionSuggestion], None]) -> None:
        chosen = self._chosen
        if isinstance(chosen, DivisionSuggestion):
            verb(chosen)

    def _clear(self) -> None:
        chosen = self._chosen
        if chosen is not None and not isinstance(chosen, DivisionSuggestion):
            self._lineage.clear_division(chosen.mother)

    def _divide(self) -> None:
        frame, state = self._lineage.time, self._lineage.main.state
        numbers = [part for part in re.split(r"[\s,;]+", self.daughters.text()) if part]
        if frame is None or not self.divide.isEnabled():
            return
        if not all(number.isdecimal() for number in numbers):
            state.message = Message(
                f"{self.daughters.text()!r} is no list of objects: write their ids, "
                "such as 5, 6.",
                "problem",
            )
            return
        self._lineage.divide(state.object_id, {int(n) for n in numbers}, frame)
        self.daughters.clear()

    def _ask_and_export(self, to: ExportFormat) -> None:
        words, suffix = EXPORTS[to]
        name, _ = QFileDialog.getSaveFileName(
            self, f"Export: {words}", f"tracks{suffix}"
        )
        is_complete = not suffix or Path(name).suffix.lower() in SUFFIXES
        path = self._whole_name(name, "" if is_complete else suffix)
        if path is not None:
            self._lineage.export(path, to)

    def _ask_and_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the session", f"objects{SESSION_SUFFIX}"
        )
        is_complete = Path(name).suffix == SESSION_SUFFIX
        path = self._whole_name(name, "" if is_complete else SESSION_SUFFIX)
        if path is not None:
            self._lineage.main.files.save(path)

    def _whole_name(self, name: str, suffix: str) -> Path | None:
        """A chosen name with its ending; None if there is none.

        Nothing is replaced under a name that the dialog did not ask about.
        """
        path = Path(name + suffix)
        if name and suffix and path.exists():
            self._lineage.main.state.message = Message(
                f"{path.name} exists already. Choose another name.", "problem"
            )
            return None
        return path if name else None

    def _ask_and_open(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a saved session")
        if name:
            self._lineage.main.files.open(Path(name))

    def _ask_and_import(self, *, is_folder: bool) -> None:
        if is_folder:
            name = QFileDialog.getExistingDirectory(self, "Import CTC, GEFF or Zarr")
        else:
            name, _ = QFileDialog.getOpenFileName(self, "Import labels or a table")
        if name:
            self._lineage.import_tracks(Path(name))


def _words(division: Division) -> str:
    """A division in a line: "T 7: 3 → 5, 6"."""
    daughters = ", ".join(map(str, division.daughters))
    return f"T {division.frame}: {division.mother} → {daughters}"


def lineage_section(
    viewer: napari.viewer.Viewer, main: PluginController
) -> tuple[QPushButton, LineagePanel]:
    """Heading and panel of the lineage section, which closes itself.

    Parameters
    ----------
    viewer
        The viewer of the widget.
    main
        Controller of the widget.
    """
    lineage = LineageController(main, NapariTracks(viewer), QtTimer)
    panel = LineagePanel(lineage)
    panel.destroyed.connect(lineage.close)
    tip = "Sessions to go on with, divisions, tracks, export and import"
    return unfold("Save, lineage, export", tip, panel), panel
