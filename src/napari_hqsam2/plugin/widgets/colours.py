"""Colours that sit well on every theme, as they are made from the one in use."""

from __future__ import annotations

from qtpy.QtGui import QColor, QPalette

AMBER = QColor(230, 159, 0)
"""Asks for a look; orange of the palette for colour-blind readers by Okabe and Ito."""
ON_AMBER = QColor(30, 24, 0)
"""Text on amber."""


def text_colour(palette: QPalette, strength: float = 1.0) -> QColor:
    """Colour of text, the more transparent the smaller the strength (0 to 1)."""
    colour = QColor(palette.color(QPalette.ColorRole.WindowText))
    colour.setAlphaF(strength)
    return colour
