"""What may be given away for speed: detail, or exactness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_hqsam2.configs.resolution import draft_resolutions, own_resolution
from napari_hqsam2.plugin.widgets.layer_combo import CompactCombo
from napari_hqsam2.plugin.widgets.layout import quiet_label, row

if TYPE_CHECKING:
    from napari_hqsam2.plugin.state import PluginState

DETAIL_TIP = """\
Side of the square in which the model sees a frame.
At half of it tracking takes a quarter of the time, or less, but fine
outlines and objects of a few pixels are lost."""
LOCAL_TIP = """\
On: small objects are looked for in windows around where they were.
Off: every object is looked for on the whole frame, as in SAM 2."""
LOCAL_WORDS = "Small objects: faster with many, nearly the same masks"


class SpeedPanel(QWidget):
    """Resolution of what the model sees, and where objects are looked for.

    Parameters
    ----------
    state
        Shown and changed.
    """

    def __init__(self, state: PluginState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.detail = CompactCombo(DETAIL_TIP)
        self.detail_words = quiet_label()
        self.local = QCheckBox("nearby only")
        self.local.setToolTip(LOCAL_TIP)
        local_words = quiet_label(LOCAL_WORDS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (
            row("Detail", self.detail),
            row("", self.detail_words),
            row("Follow", self.local),
            row("", local_words),
        ):
            layout.addWidget(widget)
        self.detail.activated.connect(
            lambda _: setattr(state, "resolution", self.detail.currentData())
        )
        self.local.clicked.connect(
            lambda is_on: setattr(state, "tracking", "local" if is_on else "exact")
        )
        state.events.model.connect(self._offer_details)
        state.events.tracking.connect(self._show)
        state.events.resolution.connect(self._show)
        self._offer_details()

    def _offer_details(self) -> None:
        """Offer what is below the model's own resolution."""
        model = self._state.model
        self.detail.clear()
        self.detail.addItem(f"Full, {own_resolution(model)} px", None)
        for resolution in draft_resolutions(model):
            self.detail.addItem(f"Draft, {resolution} px", resolution)
        self._show()

    def _show(self) -> None:
        state = self._state
        self.detail.choose_data(state.resolution)
        is_draft = state.resolution is not None
        self.detail_words.setText(
            "Faster, loses detail" if is_draft else "All that the model can see"
        )
        self.local.setChecked(state.tracking == "local")
