"""Which model, and where it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QCheckBox,
    QVBoxLayout,
    QWidget,
)

from napari_hqsam2.plugin.state import CROPS, HQ_MODES
from napari_hqsam2.plugin.widgets.layer_combo import CompactCombo
from napari_hqsam2.plugin.widgets.layout import quiet_label, row
from napari_hqsam2.plugin.widgets.store_row import StoreRow
from napari_hqsam2.plugin.widgets.weights_row import WeightsRow
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from napari_hqsam2._types import CropMode
    from napari_hqsam2.plugin.model_store import ModelStore
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.weights.registry import CheckpointSpec

DEVICES = {
    "auto": "Best available",
    "cuda": "NVIDIA GPU (CUDA)",
    "mps": "Apple GPU (MPS)",
    "cpu": "Processor (CPU)",
}
OVERLAPS = {
    "protect": "Keep others",
    "overwrite": "Paint over them",
    "ask": "Keep them and ask",
}
HQ_TIP = """\
How the masks of all objects are made but those
that have a way of their own (H)"""
OVERLAP_TIP = """\
What becomes of pixels that another object has already.
Accepted frames are never painted over."""

CROPS_TIP = """\
Small objects, and objects of large frames, can be looked at
in windows of the frame that follow them: more detail, more time"""

ONE_PIECE_TIP = """\
Keep the largest piece of each mask only,
for objects that are in one piece on every frame"""

HOVER_TIP = """\
With Live and the tool that adds points: show under the pointer
the mask that a click there would give"""

VIEW_TIP = """\
Show the picture that the model is given of this frame (W):
with its contrast, its channels, its detail, and its window"""


KEEP_TIP = """\
Keep what nobody has saved, for a month at most: after a crash, or
when the viewer was closed, it is offered again on the same image"""


class ModelPanel(QWidget):
    """Model, device, and how masks are made and drawn.

    Parameters
    ----------
    state
        Shown and changed.
    store
        Downloads and removes weights.
    mix
        Which layers the model sees; shown with the rest.
    """

    def __init__(
        self,
        state: PluginState,
        store: ModelStore,
        mix: QWidget,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._mix = mix
        self.model = CompactCombo()
        for spec in registry.REGISTRY.values():
            if spec.packaged or spec.url:
                self.model.addItem(_title(spec), spec.name)
        self.store = StoreRow(state, store)
        self.weights = WeightsRow(state)
        self.device = CompactCombo()
        for name, title in DEVICES.items():
            self.device.addItem(title, name)
        self.whereabouts = quiet_label()
        self._where = row("", self.whereabouts)
        self.hq_mode = CompactCombo(HQ_TIP)
        for name, title in HQ_MODES.items():
            self.hq_mode.addItem(title, name)
        self.overlap = CompactCombo(OVERLAP_TIP)
        for name, title in OVERLAPS.items():
            self.overlap.addItem(title, name)
        self.crop = CompactCombo(CROPS_TIP)
        for crop in CROPS:
            self.crop.addItem(_crop_title(crop), crop)
        self.one_piece = QCheckBox("in one piece")
        self.one_piece.setToolTip(ONE_PIECE_TIP)
        self.hover = QCheckBox("preview before a click")
        self.hover.setToolTip(HOVER_TIP)
        self.shows_view = QCheckBox("what the model sees")
        self.shows_view.setToolTip(VIEW_TIP)
        self.keeps_work = QCheckBox("keep unsaved work")
        self.keeps_work.setToolTip(KEEP_TIP)
        self._lay_out()
        self._connect()
        self._show()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for line in (
            row("Model", self.model),
            self.store,
            self.weights,
            row("Device", self.device),
            self._where,
            row("Masks", self.hq_mode),
            row("View", self.crop),
            row("Overlap", self.overlap),
            row("", self.one_piece),
            row("", self.hover),
            row("", self.shows_view),
            row("", self.keeps_work),
            self._mix,
        ):
            layout.addWidget(line)

    def _connect(self) -> None:
        state, events = self._state, self._state.events
        self.shows_view.toggled.connect(lambda on: setattr(state, "shows_view", on))
        self.hover.toggled.connect(lambda on: setattr(state, "hover", on))
        self.keeps_work.toggled.connect(lambda on: setattr(state, "keeps_work", on))
        self.one_piece.toggled.connect(lambda on: setattr(state, "one_piece", on))
        for combo, name in self._combos():
            combo.activated.connect(
                lambda _, c=combo, n=name: setattr(state, n, c.currentData())
            )
            getattr(events, name).connect(self._show)
        for event in (events.shows_view, events.one_piece, events.hover):
            event.connect(self._show)
        events.keeps_work.connect(self._show)
        events.whereabouts.connect(self._show)

    def _combos(self) -> tuple[tuple[CompactCombo, str], ...]:
        return (
            (self.model, "model"),
            (self.device, "device"),
            (self.hq_mode, "hq_mode"),
            (self.crop, "crop"),
            (self.overlap, "overlap"),
        )

    def _show(self) -> None:
        for combo, name in self._combos():
            combo.choose_data(getattr(self._state, name))
        self.whereabouts.setText(self._state.whereabouts)
        self._where.setVisible(bool(self._state.whereabouts))
        self.one_piece.setChecked(self._state.one_piece)
        self.hover.setChecked(self._state.hover)
        self.shows_view.setChecked(self._state.shows_view)
        self.keeps_work.setChecked(self._state.keeps_work)


def _crop_title(crop: CropMode) -> str:
    titles = {"auto": "Closer if small", "off": "Whole frames"}
    return titles.get(str(crop), f"{crop} px windows")


def _title(spec: CheckpointSpec) -> str:
    if spec.packaged:
        return f"{spec.name} (built in)"
    return f"{spec.name} ({spec.size / 1e6:.0f} MB)" if spec.size else spec.name
