"""The dock widget."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_hqsam2.files import config_folder
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.costs import FILE_NAME, CostBook
from napari_hqsam2.plugin.inference import InferenceThread
from napari_hqsam2.plugin.keys import Keys
from napari_hqsam2.plugin.model_store import ModelStore
from napari_hqsam2.plugin.models import ModelEngine
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.preferences import Preferences
from napari_hqsam2.plugin.recovery import RecoveryFolder
from napari_hqsam2.plugin.resolve import channel_choices
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.plugin.widgets.dispute_line import DisputeLine
from napari_hqsam2.plugin.widgets.help_panel import HelpPanel
from napari_hqsam2.plugin.widgets.layer_combo import CompactCombo, LayerCombo
from napari_hqsam2.plugin.widgets.layout import (
    VerticalScroll,
    quiet_label,
    row,
    separator,
    unfold,
)
from napari_hqsam2.plugin.widgets.lineage_panel import lineage_section
from napari_hqsam2.plugin.widgets.mix_panel import MixPanel
from napari_hqsam2.plugin.widgets.model_panel import ModelPanel
from napari_hqsam2.plugin.widgets.objects_panel import ObjectsPanel
from napari_hqsam2.plugin.widgets.prompt_panel import PromptPanel
from napari_hqsam2.plugin.widgets.recovery_line import RecoveryLine
from napari_hqsam2.plugin.widgets.review_panel import ReviewPanel
from napari_hqsam2.plugin.widgets.run_panel import RunPanel
from napari_hqsam2.plugin.widgets.speed_panel import SpeedPanel
from napari_hqsam2.plugin.widgets.tool_bar import LiveSwitch
from napari_hqsam2.plugin.widgets.tracking_panel import TrackingPanel
from napari_hqsam2.plugin.workers import MainThread, ProgressBar, QtTimer, copy_text

if TYPE_CHECKING:
    import napari

    from napari_hqsam2.plugin.models import Engine

CHANNELS_TIP = """\
Channels shown to the model. Several are red, green and blue, each over the range
of its own values within the contrast limits of the layer; one over these limits"""


class SegmentWidget(QWidget):
    """Everything the plugin shows; one for each viewer, independent of any other.

    Parameters
    ----------
    napari_viewer
        The viewer the widget lives in.
    engine
        Does the segmentation; a `ModelEngine` of its own if None.
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        engine: Engine | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.state = PluginState()
        self._preferences = Preferences(self.state)
        self._main_thread = MainThread()
        self.controller = PluginController(
            self.state,
            NapariViewer(napari_viewer, copy_text, self._main_thread.post),
            InferenceThread(self._main_thread.post),
            engine or ModelEngine(),
            QtTimer,
            CostBook(config_folder() / FILE_NAME),
            RecoveryFolder(),
        )
        self._keys = Keys(napari_viewer, self.controller)
        self._progress = ProgressBar(self.state)
        self.image = LayerCombo()
        self.unsaved = RecoveryLine(self.controller.recovery)
        self.summary = quiet_label()
        self._summary_row = row("", self.summary)
        self.oddity = quiet_label()
        self._oddity_row = row("", self.oddity)
        self.channels = CompactCombo(CHANNELS_TIP)
        self._channel_row = row("Channels", self.channels)
        self.labels = LayerCombo("new layer")
        self.live = LiveSwitch(self.controller)
        self.prompts = PromptPanel(self.controller)
        self.objects = ObjectsPanel(self.controller.objects)
        self.review = ReviewPanel(self.controller.review)
        self.tracking = TrackingPanel(self.controller)
        self.store = ModelStore(
            self.state, InferenceThread(self._main_thread.post), self.controller.teller
        )
        self.mix = MixPanel(self.controller)
        self.model = ModelPanel(self.state, self.store, self.mix)
        self.settings = unfold(
            "Model", "Which model, and where it computes", self.model
        )
        self.speed = SpeedPanel(self.state)
        self.speed_settings = unfold(
            "Speed", "Trade exactness or detail for speed", self.speed
        )
        self.lineage_heading, self.lineage = lineage_section(
            napari_viewer, self.controller
        )
        self.help = HelpPanel()
        self.help_heading = unfold("Keys", "What the keys do", self.help)
        self.run = RunPanel(self.controller)
        self.disputes = DisputeLine(self.controller.objects)
        self._lay_out()
        self._connect()
        self._show_layers()
        self._show_oddity()
        self.destroyed.connect(
            partial(
                _close,
                self.state,
                self.controller,
                self._progress,
                self._keys,
                self.store,
            )
        )

    def choose_image(self, layer: object) -> None:
        """Segment this image layer."""
        self.state.image = layer

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 - named by Qt
        """Free the model when the dock that held the widget is gone."""
        super().changeEvent(event)
        is_moved = event is not None and event.type() == QEvent.Type.ParentChange
        if is_moved and self.parent() is None:
            self.controller.suspend()

    def _lay_out(self) -> None:
        content = QWidget()
        layout = QVBoxLayout(content)
        for widget in (
            row("Image", self.image),
            self._summary_row,
            self._oddity_row,
            self._channel_row,
            self.unsaved,
            row("Labels", self.labels),
            separator(),
            self.prompts,
            row("", self.live),
            self.objects,
            separator(),
            self.tracking,
            self.run,
            self.disputes,
            separator(),
            self.review,
            separator(),
            self.settings,
            self.model,
            self.speed_settings,
            self.speed,
            self.lineage_heading,
            self.lineage,
            self.help_heading,
            self.help,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(VerticalScroll(content))

    def _connect(self) -> None:
        state = self.state
        self.image.chosen.connect(self.choose_image)
        self.channels.activated.connect(
            lambda _: setattr(state, "channels", self.channels.currentData())
        )
        self.labels.chosen.connect(self.controller.choose_labels)
        self.controller.viewer.events.layers_changed.connect(self._show_layers)
        state.events.image.connect(self._show_layers)
        state.events.labels.connect(self._show_layers)
        state.events.channels.connect(self._show_layers)
        state.events.oddity.connect(self._show_oddity)

    def _show_oddity(self) -> None:
        oddity = self.state.oddity
        self.oddity.setText(f"⚠ This frame {oddity}." if oddity else "")
        self._oddity_row.setVisible(bool(oddity))

    def _show_layers(self) -> None:
        viewer, state = self.controller.viewer, self.state
        self.image.set_layers(viewer.images(), state.image)
        self.labels.set_layers(viewer.labels(), state.labels)
        self.prompts.show_layers()
        self.tracking.show_axes()
        self.mix.show_layers()
        axes = self.controller.layers.axes
        self.summary.setText("" if axes is None else axes.summary)
        self._summary_row.setVisible(axes is not None)
        choices = channel_choices(axes) if axes else {}
        self.channels.clear()
        for channels, words in choices.items():
            self.channels.addItem(words, channels)
        self.channels.choose_data(state.channels)
        self._channel_row.setVisible(bool(choices))


def _close(
    state: PluginState,
    controller: PluginController,
    progress: ProgressBar,
    keys: Keys,
    store: ModelStore,
) -> None:
    """Leave nothing behind once the widget is gone."""
    keys.close()
    store.close()
    progress.close()
    state.events.disconnect()
    controller.close()
