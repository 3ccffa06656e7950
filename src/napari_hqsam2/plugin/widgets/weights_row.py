"""A weights file of one's own for the chosen model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_hqsam2.plugin.widgets.layout import row

if TYPE_CHECKING:
    from napari_hqsam2.plugin.state import PluginState

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
        self.file.clicked.connect(lambda _: self._choose())
        self.back.clicked.connect(lambda _: setattr(state, "checkpoint", None))
        state.events.checkpoint.connect(self._show)
        self._show()

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
