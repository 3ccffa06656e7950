"""Where the current object needs a look, and what was done so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_hqsam2.plugin.widgets.layout import (
    beside,
    quiet_button,
    quiet_label,
    toggle,
)
from napari_hqsam2.plugin.widgets.timeline import TimelineStrip, describe_frame

if TYPE_CHECKING:
    from napari_hqsam2.plugin.rows import Timeline
    from napari_hqsam2.plugin.widgets.ports import ReviewPort

TWO_LINES = 30
"""Height of the words, in pixels: what is below stays where it is."""


class ReviewPanel(QWidget):
    """Timeline of the current object, steps through its doubtful frames, and undo.

    Parameters
    ----------
    controller
        Does what the user asks for; `timeline`, `undo_name` and `redo_name` of its
        state are shown.
    """

    def __init__(self, controller: ReviewPort, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = controller.state
        self._controller = controller
        self.timeline = TimelineStrip()
        self.words = quiet_label()
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.words.least = TWO_LINES
        self.previous = QPushButton("◂")
        self.previous.setFixedWidth(28)
        self.previous.setToolTip("Previous doubtful frame (Shift+J)")
        self.previous.setAccessibleName("Previous doubtful frame")
        self.next = QPushButton("Next doubtful ▸")
        self.lock = toggle(
            "Accept",
            "Accept this frame (K): it is kept as it is, and the object is followed\n"
            "from it",
            "#23874a",
        )
        self.undo = quiet_button("Undo")
        self.redo = quiet_button("Redo")
        self.copy = quiet_button(
            "Copy as Python", "Copy a script that does what was done here"
        )
        self._frames = QWidget()
        self._lay_out()
        self._connect()
        self._show_timeline()
        self._show_doubts()
        self._show_steps()

    def _lay_out(self) -> None:
        frames = QVBoxLayout(self._frames)
        frames.setContentsMargins(0, 0, 0, 0)
        frames.setSpacing(4)
        frames.addWidget(self.timeline)
        frames.addWidget(self.words)
        frames.addWidget(beside((self.previous, 0), (self.next, 1), (self.lock, 1)))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._frames)
        layout.addWidget(beside((self.undo, 1), (self.redo, 1), (self.copy, 2)))

    def _connect(self) -> None:
        controller, events = self._controller, self._state.events
        self.timeline.frame_chosen.connect(controller.go_to_frame)
        self.previous.clicked.connect(lambda _: controller.previous_doubt())
        self.next.clicked.connect(lambda _: controller.next_doubt())
        self.lock.clicked.connect(self._on_lock_clicked)
        self.undo.clicked.connect(lambda _: controller.undo())
        self.redo.clicked.connect(lambda _: controller.redo())
        self.copy.clicked.connect(lambda _: controller.copy_as_python())
        events.timeline.connect(self._show_timeline)
        events.objects.connect(self._show_doubts)
        events.object_id.connect(self._show_doubts)
        events.undo_name.connect(self._show_steps)
        events.redo_name.connect(self._show_steps)

    def _on_lock_clicked(self, is_locked: bool) -> None:
        self._controller.lock_here(is_locked)
        self._show_timeline()

    def _show_timeline(self) -> None:
        timeline = self._state.timeline
        self._frames.setVisible(timeline is not None)
        self.timeline.show_timeline(timeline)
        if timeline is not None:
            self._show_frame(timeline)

    def _show_frame(self, timeline: Timeline) -> None:
        shown = timeline.frames[timeline.current]
        self.words.setText(describe_frame(timeline, timeline.current))
        self.lock.setEnabled(shown.kind != "")
        self.lock.setChecked(shown.is_locked)
        self.lock.setText("Accepted" if shown.is_locked else "Accept")

    def _show_doubts(self) -> None:
        state = self._state
        numbers = {row.obj_id: row.num_doubts for row in state.objects}
        total, own = sum(numbers.values()), numbers.get(state.object_id, 0)
        self.previous.setEnabled(total > 0)
        self.next.setEnabled(total > 0)
        self.next.setToolTip(
            f"Next doubtful frame (J), then those of other objects; {total} in all, "
            f"{own} of this one"
            if total
            else "There are no doubtful frames"
        )

    def _show_steps(self) -> None:
        for button, verb, name in (
            (self.undo, "Undo", self._state.undo_name),
            (self.redo, "Redo", self._state.redo_name),
        ):
            button.setEnabled(bool(name))
            button.setToolTip(
                f"{verb}: {name}" if name else f"Nothing to {verb.lower()}"
            )
