"""Along which axis, in which direction and over which frames objects are followed."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QSpinBox, QVBoxLayout, QWidget
from superqt import QRangeSlider

from napari_hqsam2.plugin.costs import (
    DECIDES,
    cost_key,
    size_and_cost_words,
)
from napari_hqsam2.plugin.resolve import lines_of_run, range_words
from napari_hqsam2.plugin.run_sizes import run_size
from napari_hqsam2.plugin.widgets.layer_combo import CompactCombo
from napari_hqsam2.plugin.widgets.layout import quiet_label, row, unfold

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController

MAX_EMPTY = 999
DIRECTIONS = {
    "both": "both ways",
    "forward": "forward",
    "backward": "backward",
}

AXIS_TIP = """\
Axis along which objects are followed, at every place where they have prompts.
“Z, then T” goes through Z first, and from each slice of it on through T"""


COST_TIP = """\
What the run goes through; time, and memory at its peak,
as runs with these settings have taken on this machine"""


class TrackingPanel(QWidget):
    """Axis, direction and range; hidden for a single image.

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
        self.axis = CompactCombo(AXIS_TIP)
        self.direction = CompactCombo("From the first prompt of an object on")
        for name, title in DIRECTIONS.items():
            self.direction.addItem(title, name)
        self.objects = CompactCombo("Which objects are followed")
        self.objects.addItem("all objects", False)
        self.objects.addItem("the current object", True)
        self.only_changed = QCheckBox("only what changed")
        self.only_changed.setToolTip(
            "Follow again from new and changed prompts only,\n"
            "up to the next prompted or accepted frame"
        )
        self.stop = QSpinBox()
        self.stop.setRange(0, MAX_EMPTY)
        self.stop.setSpecialValueText("never")
        self.stop.setSuffix(" empty frames")
        self.stop.setToolTip("Give an object up after so many frames without it")
        self.frames = QRangeSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.frames.setToolTip("First and last frame to segment")
        self.words = quiet_label()
        self.words.setToolTip(COST_TIP)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row("Along", self.axis))
        layout.addWidget(row("Direction", self.direction))
        layout.addWidget(row("Range", self.frames))
        layout.addWidget(row("", self.words))
        more = QWidget()
        inner = QVBoxLayout(more)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(row("Follow", self.objects))
        inner.addWidget(row("Stop after", self.stop))
        inner.addWidget(row("", self.only_changed))
        self.more = unfold("More", "Which objects, how far", more)
        layout.addWidget(self.more)
        layout.addWidget(more)
        self._connect()
        self.show_axes()

    def show_axes(self) -> None:
        """Offer the axes of the chosen image."""
        axes = self._controller.layers.axes
        self.axis.clear()
        if axes is not None:
            letters = tuple(axes.stack.leading)
            for letter in letters:
                length = axes.stack.length(letter)
                text = f"{axes.word(letter)} ({length} {axes.counted(letter)})"
                self.axis.addItem(text, (letter, None))
            for letter, then in permutations(letters, 2):
                words = f"{axes.word(letter)}, then {axes.word(then)}"
                self.axis.addItem(words, (letter, then))
        self._show_range()

    def _connect(self) -> None:
        state = self._state
        self.axis.activated.connect(self._on_axis_chosen)
        self.direction.activated.connect(
            lambda _: setattr(state, "direction", self.direction.currentData())
        )
        self.frames.valueChanged.connect(self._on_range_moved)
        self.objects.activated.connect(
            lambda _: setattr(state, "only_current", self.objects.currentData())
        )
        self.only_changed.toggled.connect(lambda on: setattr(state, "only_changed", on))
        self.stop.valueChanged.connect(
            lambda number: setattr(state, "stop_after_empty", number or None)
        )
        for event in (
            state.events.only_current,
            state.events.only_changed,
            state.events.stop_after_empty,
        ):
            event.connect(self._show_more)
        for event in (
            state.events.num_measured,
            *(getattr(state.events, name) for name in DECIDES),
            state.events.objects,
            state.events.only_current,
            state.events.object_id,
            state.events.only_changed,
        ):
            event.connect(self._show_words)
        self._controller.viewer.events.frame_changed.connect(self._on_frame_changed)
        self._show_more()
        state.events.image.connect(self.show_axes)
        state.events.axis.connect(self._show_range)
        state.events.then_axis.connect(self._show_range)
        state.events.frames.connect(self._show_range)
        state.events.direction.connect(self._show_range)

    def _on_axis_chosen(self) -> None:
        state = self._state
        state.frames = None
        state.axis, state.then_axis = self.axis.currentData()

    def _on_frame_changed(self) -> None:
        """Objects are handed on from the frame on show."""
        if self._state.then_axis is not None:
            self._show_words()

    def _on_range_moved(self, values: tuple[int, int]) -> None:
        first, last = (int(value) for value in values)
        is_all = first == self.frames.minimum() and last == self.frames.maximum()
        self._state.frames = None if is_all else (first, last + 1)

    def _show_more(self) -> None:
        state = self._state
        self.objects.choose_data(state.only_current)
        self.only_changed.setChecked(state.only_changed)
        self.stop.setValue(state.stop_after_empty or 0)

    def _show_range(self) -> None:
        axes, state = self._controller.layers.axes, self._state
        is_stack = axes is not None and state.axis in tuple(axes.stack.leading)
        self.setVisible(is_stack)
        if axes is None or state.axis is None or not is_stack:
            return
        self.axis.choose_data((state.axis, state.then_axis))
        self.direction.choose_data(state.direction)
        start, stop = state.frames or (0, axes.stack.length(state.axis))
        was_blocked = self.frames.blockSignals(True)
        self.frames.setRange(0, axes.stack.length(state.axis) - 1)
        self.frames.setValue((start, stop - 1))
        self.frames.blockSignals(was_blocked)
        self._show_words()

    def _show_words(self) -> None:
        """Say which frames are followed and, once that is known, how long it takes."""
        axes, state = self._controller.layers.axes, self._state
        if axes is None or state.axis not in tuple(axes.stack.leading):
            return
        frames = state.frames or (0, axes.stack.length(state.axis))
        followed = [
            row
            for row in state.objects
            if row.obj_id == state.object_id or not state.only_current
        ]
        lines = lines_of_run(axes, state.axis, frames, followed)
        words = [range_words(axes, state.axis, frames, state.then_axis, lines)]
        here = self._controller.position_on_show() if state.then_axis else None
        size = run_size(axes, state, followed, here)
        if size is not None:
            key = cost_key(state, axes.stack.hw)
            cost = self._controller.costs.expect(key, size.objects)
            noun = axes.counted(state.axis).removesuffix("s")
            words.append(size_and_cost_words(size, cost, noun))
        self.words.setText("\n".join(words))
