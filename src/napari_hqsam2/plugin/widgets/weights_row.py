"""A weights file of one's own for the chosen model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QPushButton, QWidget

from napari_hqsam2.plugin.widgets.layout import row
from napari_hqsam2.weights.own_files import own_files

if TYPE_CHECKING:
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.weights.own_files import OwnFile

TIP = """\
Take a weights file for this model, such as
one that `napari-hqsam2 train` has written"""


class WeightsRow(QWidget):
    """Shows the weights file and lets another one be chosen.

    Parameters
    ----------
    state
        Its `checkpoint` is shown and changed.
    """

    def __init__(self, state: PluginState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.file = QPushButton()
        self.back = QPushButton("back")
        self.back.setToolTip("Take the model's own weights again")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row("Weights", self.file, self.back))
        self.file.clicked.connect(lambda _: self._open())
        self.back.clicked.connect(lambda _: setattr(state, "checkpoint", None))
        state.events.checkpoint.connect(self._show)
        self._show()

    def menu(self) -> QMenu:
        """Files that were used before with this model, then any other."""
        menu = QMenu(self)
        for item in self._known():
            path = Path(item.path)
            action = menu.addAction(f"{path.name}  ({path.parent.name})")
            if action is not None:
                action.setToolTip(item.path)
                # a lambda, as PyQt and PySide call a partial with other arguments
                action.triggered.connect(lambda _, path=item.path: self._take(path))
        menu.setToolTipsVisible(True)
        menu.addSeparator()
        other = menu.addAction("Another file …")
        if other is not None:
            other.triggered.connect(lambda _: self._choose())
        return menu

    def _known(self) -> list[OwnFile]:
        return [
            item
            for item in own_files()
            if item.model == self._state.model and Path(item.path).is_file()
        ]

    def _open(self) -> None:
        if self._known():
            menu = self.menu()
            menu.aboutToHide.connect(menu.deleteLater)
            menu.popup(self.file.mapToGlobal(self.file.rect().bottomLeft()))
        else:
            self._choose()

    def _take(self, path: str) -> None:
        self._state.checkpoint = path

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Weights for this model", "", "Weights (*.safetensors *.pt)"
        )
        if path:
            self._state.checkpoint = path

    def _show(self) -> None:
        checkpoint = self._state.checkpoint
        self.file.setText(Path(checkpoint).name if checkpoint else "its own")
        self.file.setToolTip("\n".join(filter(None, (checkpoint, TIP))))
        self.back.setVisible(checkpoint is not None)
