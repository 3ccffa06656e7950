"""The keys, in a few lines that fit the panel."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_hqsam2.plugin.widgets.layout import quiet_label

KEYS = (
    ("N", "new object"),
    ("G", "the object under the pointer becomes the current one"),
    ("Shift+G", "the object under the pointer becomes a part of the current one"),
    ("Q", "next clicks on or off the object; flips points chosen with the arrow tool"),
    ("J, Shift+J", "next, previous doubtful frame"),
    ("K", "accept this frame, or take that back"),
    ("H", "masks of the object: high quality, its head alone, plain SAM 2"),
    ("W", "what the model sees"),
    ("Ctrl+Z", "undo on the prompt layers; on the Labels layer, of strokes"),
)
"""Keys and what they do."""
WORDS = (
    "Boxes, polygons, lassos and paths go into the Shapes layer, clicks into the "
    "Points layer. What you paint with the brush of the Labels layer is accepted: "
    "no run changes it."
)


class HelpPanel(QWidget):
    """Keys, and which layer is for what."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        layout.setColumnStretch(1, 1)
        for line, (key, words) in enumerate(KEYS):
            name = QLabel(key)
            name.setAlignment(Qt.AlignmentFlag.AlignTop)
            layout.addWidget(name, line, 0)
            told = quiet_label(words)
            told.setAlignment(Qt.AlignmentFlag.AlignTop)
            layout.addWidget(told, line, 1)
        layout.addWidget(quiet_label(WORDS), len(KEYS), 0, 1, 2)
