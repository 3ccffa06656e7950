"""The objects of the image, one of them current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_hqsam2.plugin.widgets.layout import beside, quiet_button, quiet_label
from napari_hqsam2.plugin.widgets.object_list import ObjectList
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from napari_hqsam2.plugin.rows import ObjectRow
    from napari_hqsam2.plugin.widgets.ports import ObjectsPort

EMPTY = (
    "No objects yet. Click on one in the image, or draw a box around it. "
    "“Find all” proposes everything on this frame."
)
NO_LAYERS = "No objects yet. “Find all” proposes everything on this frame."


def next_step(rows: tuple[ObjectRow, ...], current: int, *, can_click: bool) -> str:
    """What to do next with the objects, in words; empty if nothing needs saying."""
    if not rows:
        return EMPTY if can_click else NO_LAYERS
    if all(row.obj_id != current for row in rows):
        return f"The next click or box starts object {current}."
    doubtful = sum(row.num_doubts > 0 for row in rows)
    if doubtful == 1:
        return "1 object has doubtful frames (J)."
    return f"{doubtful} objects have doubtful frames (J)." if doubtful else ""


class ObjectsPanel(QWidget):
    """List of objects, and the two ways to get more of them.

    Parameters
    ----------
    controller
        Does what the user asks for; `objects` and `object_id` of its state are shown.
    """

    def __init__(self, controller: ObjectsPort, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = controller.state
        self.objects = ObjectList()
        self.hint = quiet_label()
        self.new_object = QPushButton("New object")
        self.new_object.setToolTip("Let the next click or box start a new object (N)")
        self.find_all = quiet_button(
            "Find all", "Propose an object for everything on this frame"
        )
        self._lay_out()
        self._connect(controller)
        self._show()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.objects)
        layout.addWidget(self.hint)
        layout.addWidget(beside((self.new_object, 2), (self.find_all, 1)))

    def _connect(self, controller: ObjectsPort) -> None:
        self.objects.chosen.connect(controller.select_object)
        self.objects.renamed.connect(controller.rename_object)
        self.objects.hiding.connect(controller.hide_object)
        self.objects.deleted.connect(controller.delete_object)
        self.objects.cut.connect(controller.cut_object)
        self.objects.joined.connect(controller.join_objects)
        self.objects.hq_chosen.connect(controller.set_hq_mode)
        self.new_object.clicked.connect(lambda _: controller.new_object())
        self.find_all.clicked.connect(lambda _: controller.propose_everything())
        events = self._state.events
        for event in (events.objects, events.object_id, events.image, events.run):
            event.connect(self._show)
        for event in (events.model, events.axis):
            event.connect(self._show)
        for event in (events.points, events.shapes):
            event.connect(self._show)

    def _show(self) -> None:
        state = self._state
        self.objects.show_objects(state.objects, state.object_id)
        self.objects.setVisible(bool(state.objects))
        can_click = state.points is not None or state.shapes is not None
        hint = ""
        if state.image is not None:
            hint = next_step(state.objects, state.object_id, can_click=can_click)
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        self.objects.masks.setEnabled(registry.get(state.model).is_hq)
        self.objects.cuts.setEnabled(state.axis is not None)
        has_image = state.image is not None
        self.new_object.setEnabled(has_image)
        self.find_all.setEnabled(has_image and not state.run.is_busy)
