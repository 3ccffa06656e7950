"""Whether masks follow the prompts at once, and whether the model is thinking."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QElapsedTimer, QRectF, Qt, QTimer
from qtpy.QtGui import QPainter
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QWidget

from napari_hqsam2.plugin.widgets.colours import text_colour

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QPaintEvent, QShowEvent

    from napari_hqsam2.plugin.widgets.ports import StatePort

BREATH = 1800
"""Milliseconds from one breath to the next."""
STEP = 50
"""Milliseconds between two pictures of a breath."""
IDLE, FULL = 0.18, 0.9
"""Opacity of the dot at rest, and at the height of a breath."""


class ThinkingDot(QWidget):
    """A dot that breathes while the model is thinking, and is not painted otherwise."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedSize(14, 14)
        self._is_thinking = False
        self._since = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setInterval(STEP)
        self._timer.timeout.connect(self.update)
        self._show()

    @property
    def is_breathing(self) -> bool:
        """Whether the dot is moving."""
        return self._timer.isActive()

    def show_thinking(self, is_thinking: bool) -> None:
        """Breathe or rest."""
        if is_thinking != self._is_thinking:
            self._is_thinking = is_thinking
            self._since.start()
            self._show()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - named by Qt
        """Breathe on when seen again."""
        super().showEvent(event)
        self._show()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802 - named by Qt
        """Hold still while nobody sees it."""
        super().hideEvent(event)
        self._timer.stop()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the dot; a breath begins at rest, so that short ones hardly show."""
        del event
        strength = IDLE
        if self._is_thinking:
            turn = 2 * math.pi * self._since.elapsed() / BREATH
            strength += (FULL - IDLE) * (1 - math.cos(turn)) / 2
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(text_colour(self.palette(), strength))
        painter.drawEllipse(QRectF(self.rect()).center(), 4.0, 4.0)

    def _show(self) -> None:
        words = "Thinking" if self._is_thinking else "Ready"
        self.setToolTip(words)
        self.setAccessibleName(words)
        if self._is_thinking and self.isVisible():
            self._timer.start()
        else:
            self._timer.stop()
        self.update()


class LiveSwitch(QWidget):
    """Turns live masks on and off, and shows that one is on its way.

    Parameters
    ----------
    controller
        `live` of its state is changed and shown, `is_thinking` is shown.
    """

    def __init__(self, controller: StatePort, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        state = self._state = controller.state
        self.live = QCheckBox("Live")
        self.live.setToolTip("Show the mask at once, with every prompt")
        self.dot = ThinkingDot()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.live)
        layout.addWidget(self.dot)
        layout.addStretch(1)
        self.live.toggled.connect(lambda on: setattr(state, "live", on))
        state.events.live.connect(self._show)
        state.events.is_thinking.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.live.setChecked(self._state.live)
        self.dot.show_thinking(self._state.is_thinking)
