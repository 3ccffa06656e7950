"""The two verbs, how far the run is, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_hqsam2.plugin.resolve import duration_words
from napari_hqsam2.plugin.widgets.layout import LinesLabel, show_as_next

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController

COLOURS = {"hint": "", "done": "color: #23a055", "problem": "color: #e0803a"}


class RunPanel(QWidget):
    """Segment this frame, segment through the stack, progress, cancel and messages.

    Parameters
    ----------
    controller
        Does what the buttons say; its state is shown.
    """

    def __init__(
        self, controller: PluginController, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._state = controller.state
        self.frame = QPushButton("Segment this frame")
        self.frame.setToolTip("Segment the prompted objects on the frame on show only")
        self.stack = QPushButton("Follow through the stack")
        self.stack.setToolTip(
            "Segment the prompted objects and follow them along the axis"
        )
        self.progress = QProgressBar()
        self.progress.setTextVisible(True)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; frames that are finished stay")
        self.message = LinesLabel()
        self.message.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self.message.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )
        self._running = QWidget()
        running = QHBoxLayout(self._running)
        running.setContentsMargins(0, 0, 0, 0)
        running.addWidget(self.progress, 1)
        running.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.frame, self.stack, self._running, self.message):
            layout.addWidget(widget)
        self.frame.clicked.connect(lambda _: controller.segment_frame())
        self.stack.clicked.connect(lambda _: controller.segment_stack())
        self.cancel.clicked.connect(lambda _: controller.cancel())
        for event in (self._state.events.run, self._state.events.message):
            event.connect(self._show)
        events = self._state.events
        for event in (events.axis, events.image, events.objects, events.points):
            event.connect(self._show)
        self._show()

    def _show(self) -> None:
        state, run = self._state, self._state.run
        can_start = not run.is_busy and state.image is not None
        has_layers = state.points is not None or state.shapes is not None
        can_start = can_start and (has_layers or bool(state.objects))
        self.frame.setEnabled(can_start)
        self.stack.setEnabled(can_start)
        self.frame.setText("Segment this frame" if state.axis else "Segment the image")
        self.stack.setVisible(state.axis is not None)
        show_as_next(self.stack, is_next=can_start and bool(state.objects))
        self._running.setVisible(run.is_busy)
        self.cancel.setEnabled(run.phase != "cancelling")
        self.progress.setRange(0, 0 if run.phase == "starting" else run.total)
        self.progress.setValue(run.done)
        words = f"{run.done} of {run.total}"
        if run.seconds_left is not None:
            words = f"{words} · {duration_words(run.seconds_left)}"
        self.progress.setFormat(words)
        self.message.setText(state.message.text)
        self.message.setStyleSheet(COLOURS[state.message.severity])
