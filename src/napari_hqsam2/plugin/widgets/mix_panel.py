"""Several image layers as the colours of what the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_hqsam2.plugin.widgets.layer_combo import LayerCombo
from napari_hqsam2.plugin.widgets.layout import row

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController

TIP = """\
Show several layers to the model in one picture, each in a colour,
with their own contrast limits and gamma. W shows what comes of it"""
COLOURS = ("Red", "Green", "Blue")


class MixPanel(QWidget):
    """A switch and three layers; hidden where no other layer lies on the image.

    Parameters
    ----------
    controller
        Its state is shown and changed.
    """

    def __init__(
        self, controller: PluginController, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._state = controller.state
        self._viewer = controller.viewer
        self.is_on = QCheckBox("mix layers as colours")
        self.is_on.setToolTip(TIP)
        self.combos = [LayerCombo("—") for _ in COLOURS]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row("", self.is_on))
        pairs = zip(COLOURS, self.combos, strict=True)
        self._rows = [row(title, combo) for title, combo in pairs]
        for index, line in enumerate(self._rows):
            layout.addWidget(line)
            self.combos[index].chosen.connect(
                lambda layer, index=index: self._choose(index, layer)
            )
        self.is_on.toggled.connect(self._switch)
        events = self._state.events
        for event in (events.mix, events.image):
            event.connect(self.show_layers)
        self.show_layers()

    def show_layers(self) -> None:
        """Offer the layers that lie on the image."""
        state = self._state
        choices = () if state.image is None else self._viewer.mixable(state.image)
        self.setVisible(len(choices) > 1)
        was_blocked = self.is_on.blockSignals(True)
        self.is_on.setChecked(state.mix is not None)
        self.is_on.blockSignals(was_blocked)
        for combo, layer in zip(self.combos, state.mix or (None,) * 3, strict=True):
            combo.set_layers(choices, layer)
        for line in self._rows:
            line.setVisible(state.mix is not None)

    def _switch(self, is_on: bool) -> None:
        state = self._state
        if not is_on or state.image is None:
            state.mix = None
            return
        layers = [choice.handle for choice in self._viewer.mixable(state.image)]
        red, green, blue = (*layers, None, None, None)[:3]
        state.mix = (red, green, blue)

    def _choose(self, index: int, layer: Any) -> None:
        chosen = list(self._state.mix or (None,) * 3)
        chosen[index] = layer
        red, green, blue = chosen
        self._state.mix = (red, green, blue) if any(chosen) else None
