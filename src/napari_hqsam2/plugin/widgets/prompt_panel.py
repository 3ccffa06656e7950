"""Which layers hold the prompts, and what the next prompt will mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QMenu,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hqsam2.plugin.widgets.layer_combo import LayerCombo
from napari_hqsam2.plugin.widgets.layout import (
    quiet_button,
    row,
    show_as_next,
    toggle,
)

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController

MAX_OBJECT_ID = 2**31 - 1
SOURCES = {
    "seeds": "{}: each point an object",
    "tracks": "{}: points that move",
    "masks": "{}: its masks on this frame",
}
"""Words for what becomes of a layer."""


class PromptPanel(QWidget):
    """Prompt layers, current object and polarity.

    Parameters
    ----------
    controller
        Its state is shown and changed.
    """

    def __init__(
        self, controller: PluginController, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._state = controller.state
        self.add_layers = QPushButton("Add prompt layers")
        self.add_layers.setToolTip(
            "Add a Points and a Shapes layer that lie on the image,\n"
            "ready for clicks and rectangles"
        )
        self.points = LayerCombo("none")
        self.shapes = LayerCombo("none")
        self.object_id = QSpinBox()
        self.object_id.setRange(1, MAX_OBJECT_ID)
        self.object_id.setToolTip("Object that new prompts belong to: its label value")
        self.positive = toggle(
            "on object", "New points lie on the object (green); Q changes", "#23874a"
        )
        self.negative = toggle(
            "off object",
            "New points lie on what to leave out (red); Q changes",
            "#b83232",
        )
        self._polarity = QButtonGroup(self)
        self._polarity.addButton(self.positive)
        self._polarity.addButton(self.negative)
        self.take = quiet_button(
            "from a layer",
            "Make prompts of seeds in a Points layer, of Tracks,\n"
            "or of the labels of another segmentation",
        )
        self._sources = QMenu(self)
        self._sources.aboutToShow.connect(self._offer_sources)
        self.take.setMenu(self._sources)
        self._sources_row = row("", self.take)
        self._drawing = QWidget()
        self._lay_out()
        self._connect()
        self.show_layers()
        self._show_next_prompt()

    def show_layers(self) -> None:
        """Show the layers there are, the chosen ones selected."""
        viewer, state = self._controller.viewer, self._state
        self.points.set_layers(viewer.points(), state.points)
        self.shapes.set_layers(viewer.shapes(), state.shapes)
        has_prompts = state.points is not None or state.shapes is not None
        self.add_layers.setVisible(self._controller.layers.lacks_prompt_layers)
        self.add_layers.setEnabled(state.image is not None)
        is_next = state.image is not None and not state.objects
        show_as_next(self.add_layers, is_next=is_next)
        self._drawing.setVisible(has_prompts)
        self._sources_row.setVisible(bool(self._controller.sources.offers()))

    def _lay_out(self) -> None:
        drawing = QVBoxLayout(self._drawing)
        drawing.setContentsMargins(0, 0, 0, 0)
        drawing.addWidget(row("Object", self.object_id))
        drawing.addWidget(row("Clicks", self.positive, self.negative))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row("Points", self.points))
        layout.addWidget(row("Shapes", self.shapes))
        layout.addWidget(self._sources_row)
        layout.addWidget(self.add_layers)
        layout.addWidget(self._drawing)

    def _connect(self) -> None:
        state, controller = self._state, self._controller
        self.add_layers.clicked.connect(lambda _: controller.add_prompt_layers())
        self.points.chosen.connect(lambda layer: setattr(state, "points", layer))
        self.shapes.chosen.connect(lambda layer: setattr(state, "shapes", layer))
        self.object_id.valueChanged.connect(lambda v: setattr(state, "object_id", v))
        self.positive.toggled.connect(lambda on: setattr(state, "positive", on))
        state.events.points.connect(self.show_layers)
        state.events.shapes.connect(self.show_layers)
        state.events.image.connect(self.show_layers)
        state.events.objects.connect(self.show_layers)
        state.events.object_id.connect(self._show_next_prompt)
        state.events.positive.connect(self._show_next_prompt)

    def _offer_sources(self) -> None:
        self._sources.clear()
        sources = self._controller.sources
        for source in sources.offers():
            action = self._sources.addAction(SOURCES[source.kind].format(source.name))
            if action is not None:
                action.triggered.connect(lambda _=False, s=source: sources.take(s))

    def _show_next_prompt(self) -> None:
        self.object_id.setValue(self._state.object_id)
        self.positive.setChecked(self._state.positive)
        self.negative.setChecked(not self._state.positive)
