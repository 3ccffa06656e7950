"""A combo box of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

    from napari_hqsam2.plugin.snapshots import LayerChoice


class CompactCombo(QComboBox):
    """A combo box that long entries do not widen.

    Parameters
    ----------
    tip
        What the choice is about; shown with the entry that is chosen.
    """

    def __init__(self, tip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tip = tip
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def choose_data(self, data: Any) -> None:
        """Select the entry with this data, if there is one, without a signal."""
        found = [i for i in range(self.count()) if self.itemData(i) == data]
        was_blocked = self.blockSignals(True)
        self.setCurrentIndex(found[0] if found else -1)
        self.blockSignals(was_blocked)
        self._explain()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint an entry that is too long with an ellipsis."""
        del event
        option, style = QStyleOptionComboBox(), self.style()
        self.initStyleOption(option)
        if style is not None:
            kind, part = QStyle.ComplexControl, QStyle.SubControl
            room = style.subControlRect(
                kind.CC_ComboBox, option, part.SC_ComboBoxEditField, self
            )
            option.currentText = self.fontMetrics().elidedText(
                option.currentText, Qt.TextElideMode.ElideRight, room.width() - 2
            )
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def _explain(self) -> None:
        self.setToolTip("\n".join(filter(None, (self.currentText(), self._tip))))


class LayerCombo(CompactCombo):
    """Offers layers; emits the chosen handle, or None."""

    chosen = Signal(object)

    def __init__(
        self, none_text: str | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent=parent)
        self._none_text = none_text
        self._handles: list[Any] = []
        self.activated.connect(self._on_activated)

    def set_layers(self, choices: tuple[LayerChoice, ...], current: Any) -> None:
        """Offer these layers and select one of them, without a signal."""
        first = [] if self._none_text is None else [(None, self._none_text)]
        entries = first + [(choice.handle, choice.name) for choice in choices]
        self._handles = [handle for handle, _ in entries]
        was_blocked = self.blockSignals(True)
        self.clear()
        self.addItems([name for _, name in entries])
        found = [i for i, handle in enumerate(self._handles) if handle is current]
        self.setCurrentIndex(found[0] if found else -1)
        self.blockSignals(was_blocked)
        self._explain()

    def _on_activated(self, index: int) -> None:
        self.chosen.emit(self._handles[index])
