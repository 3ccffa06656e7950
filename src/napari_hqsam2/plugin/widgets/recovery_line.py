"""What an earlier viewer left unsaved, and two ways to deal with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_hqsam2.plugin.resolve import count_words
from napari_hqsam2.plugin.widgets.layout import beside, quiet_button, quiet_label
from napari_hqsam2.plugin.widgets.ports import StatePort

if TYPE_CHECKING:
    from qtpy.QtCore import QEvent

    from napari_hqsam2.plugin.state import Unsaved

DAY = 24 * 3600


class RecoveryPort(StatePort, Protocol):
    """Deals with unsaved work."""

    def restore(self) -> None:
        """Go on with the work that was left."""

    def discard(self) -> None:
        """Delete the work that was left."""


def unsaved_words(unsaved: Unsaved, now: float) -> str:
    """When it was left, and how much it is."""
    then, today = time.localtime(unsaved.when), time.localtime(now)
    yesterday = time.localtime(now - DAY)
    day = f"{then.tm_mday} {time.strftime('%B', then)}"
    if then[:3] == today[:3]:
        day = "today"
    elif then[:3] == yesterday[:3]:
        day = "yesterday"
    elif then.tm_year != today.tm_year:
        day = f"{day} {then.tm_year}"
    when = f"{day}, {time.strftime('%H:%M', then)}"
    return f"Unsaved work of {when}: {count_words(unsaved.objects, 'object')}."


class RecoveryLine(QWidget):
    """A line that is there only if unsaved work was found.

    Parameters
    ----------
    offer
        Restores and discards it; `unsaved` of its state is shown.
    """

    def __init__(self, offer: RecoveryPort, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._offer = offer
        self._state = offer.state
        self._is_asking = False
        self.words = quiet_label()
        self.restore = QPushButton("Restore")
        self.restore.setToolTip("Go on with it, in a new Labels layer")
        self.discard = quiet_button("Discard", "Delete it")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words)
        layout.addWidget(beside((self.restore, 1), (self.discard, 1)))
        self.restore.clicked.connect(lambda _: offer.restore())
        self.discard.clicked.connect(lambda _: self._on_discard())
        events = self._state.events
        events.unsaved.connect(self._show)
        events.run.connect(self._show)
        self._show()

    def leaveEvent(self, event: QEvent | None) -> None:  # noqa: N802 - named by Qt
        """Take back the question whether to discard."""
        if event is not None:
            super().leaveEvent(event)
        self._show()

    def _on_discard(self) -> None:
        """Ask once more on the button itself."""
        unsaved = self._state.unsaved
        if self._is_asking:
            self._offer.discard()
        elif unsaved is not None:
            self._is_asking = True
            self.discard.setText(f"Delete {count_words(unsaved.objects, 'object')}?")

    def _show(self) -> None:
        unsaved = self._state.unsaved
        self._is_asking = False
        self.discard.setText("Discard")
        if unsaved is not None:
            self.words.setText(unsaved_words(unsaved, time.time()))
        self.restore.setEnabled(not self._state.run.is_busy)
        self.setVisible(unsaved is not None)
