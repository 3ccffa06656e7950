"""What is here of the chosen model: one line, and one thing to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_hqsam2.plugin.widgets.layout import LABEL_WIDTH, quiet_button, quiet_label

if TYPE_CHECKING:
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QShowEvent

    from napari_hqsam2.plugin.model_store import ModelStore
    from napari_hqsam2.plugin.state import PluginState

TITLES = {"": "", "download": "Download", "cancel": "Cancel", "remove": "Remove"}
TIPS = {
    "": "",
    "download": "Fetch the weights now, to be used offline later",
    "cancel": "Stop; the next download goes on from what has arrived",
    "remove": "Delete the downloaded weights, which frees {freed}",
}


class StoreRow(QWidget):
    """Shows `state.weights`; removing asks once more on the button itself.

    Parameters
    ----------
    state
        Shown.
    store
        Does what is asked for.
    """

    def __init__(
        self, state: PluginState, store: ModelStore, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._store = store
        self._is_asking = False
        self.words = quiet_label()
        self.button = quiet_button("")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(LABEL_WIDTH + layout.spacing(), 0, 0, 0)
        layout.addWidget(self.words, 1)
        layout.addWidget(self.button)
        self.button.clicked.connect(lambda _: self._on_clicked())
        state.events.weights.connect(self._show)
        self._show()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - named by Qt
        """Look at the files when somebody looks at the row."""
        super().showEvent(event)
        self._store.refresh()

    def leaveEvent(self, event: QEvent | None) -> None:  # noqa: N802 - named by Qt
        """Take back the question whether to remove."""
        if event is not None:
            super().leaveEvent(event)
        self._show()

    def _on_clicked(self) -> None:
        action = self._state.weights.action
        if action == "download":
            self._store.download()
        elif action == "cancel":
            self._store.cancel()
        elif self._is_asking:
            self._store.remove()
        else:
            self._is_asking = True
            self.button.setText(f"Free {self._state.weights.freed}?")

    def _show(self) -> None:
        status = self._state.weights
        self._is_asking = False
        self.words.setText(status.words)
        self.button.setText(TITLES[status.action])
        self.button.setToolTip(TIPS[status.action].format(freed=status.freed))
        self.button.setVisible(bool(status.action))
