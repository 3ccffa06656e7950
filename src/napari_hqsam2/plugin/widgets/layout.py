"""Small parts that the panels share, so that rows line up and look alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QWidget,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

LABEL_WIDTH = 72
NEXT_STEP = (
    "QPushButton { background-color: #2f6fb5; color: white; }"
    " QPushButton:hover { background-color: #3a7fc9; }"
)
QUIET = "font-size: 11px; color: #7d828c;"
NO_BREAK = "\N{NO-BREAK SPACE}"
_TOGETHER = re.compile(
    r"(?<=\d) (?!at |and |or |on |in |through |is |are )(?=[^\W\d])"
    r"|(?<=about) (?=\d)|(?<= to) (?=\d)|(?<==) (?=\d)| (?==)"
)
"""Spaces in "about 40 s", "32 frames", "T = 12" and "0 to 31"."""


def row(label: str, *widgets: QWidget) -> QWidget:
    """One line: a label of common width, then widgets that share the rest."""
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    name = QLabel(label)
    name.setFixedWidth(LABEL_WIDTH)
    layout.addWidget(name)
    for widget in widgets:
        layout.addWidget(widget, 1)
    return line


def beside(*parts: tuple[QWidget, int]) -> QWidget:
    """One line of widgets, each with its share of the width that is left.

    A widget, not a bare layout: Qt keeps sizes of layouts in layouts from before
    napari's style was known.
    """
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget, share in parts:
        layout.addWidget(widget, share)
    return line


class LinesLabel(QLabel):
    """A label that breaks lines, but not between a number and what it counts."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setText(text)

    def setText(self, text: str | None) -> None:  # noqa: N802 - named by Qt
        """Show another text."""
        super().setText(_TOGETHER.sub(NO_BREAK, text or ""))

    def text(self) -> str:
        """The text as it was given."""
        return super().text().replace(NO_BREAK, " ")


class QuietLabel(LinesLabel):
    """A label for what one may but need not read.

    It keeps as much height as its lines need: layouts in layouts give it that of one.
    """

    least = 0
    """Height in pixels that it has at least."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setStyleSheet(QUIET)

    def setText(self, text: str | None) -> None:  # noqa: N802 - named by Qt
        """Show another text."""
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Break lines anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(self.least)  # which heightForWidth does not go below
        self.setMinimumHeight(max(self.least, self.heightForWidth(self.width())))


def quiet_label(text: str = "") -> QuietLabel:
    """A `QuietLabel`."""
    return QuietLabel(text)


def separator() -> QFrame:
    """A thin horizontal line."""
    line = QFrame()
    line.setFixedHeight(1)
    line.setStyleSheet("background-color: rgba(128, 128, 128, 90);")
    return line


def quiet_button(text: str, tip: str = "") -> QPushButton:
    """A button that is plain text until the pointer is on it."""
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setStyleSheet(
        "QPushButton, QPushButton:disabled { background: transparent; border: 0px; }"
        " QPushButton:hover, QPushButton:pressed {"
        " background-color: rgba(128, 128, 128, 60); }"
    )
    return button


def toggle(text: str, tip: str, colour: str) -> QPushButton:
    """A button that stays down, in a colour."""
    button = QPushButton(text)
    button.setCheckable(True)
    button.setToolTip(tip)
    button.setStyleSheet(
        f"QPushButton:checked {{ background-color: {colour}; color: white; }}"
    )
    return button


def show_as_next(button: QPushButton, *, is_next: bool) -> None:
    """Let a button stand out as long as it is the next step."""
    style = NEXT_STEP if is_next else ""
    if button.styleSheet() != style:
        button.setStyleSheet(style)


def unfold(text: str, tip: str, widget: QWidget) -> QPushButton:
    """A quiet heading that shows and hides a widget, hidden at first."""
    button = QPushButton(f"▸ {text}")
    button.setCheckable(True)
    button.setToolTip(tip)
    button.setStyleSheet(
        "QPushButton, QPushButton:checked { background: transparent; text-align: left;"
        " padding: 4px 0px; }"
    )
    widget.setVisible(False)

    def show(is_open: bool) -> None:
        widget.setVisible(is_open)
        button.setText(f"{'▾' if is_open else '▸'} {text}")

    button.toggled.connect(show)
    return button


class VerticalScroll(QScrollArea):
    """Scrolls up and down only, and is never narrower than what it holds."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)
        content.installEventFilter(self)
        self._fit()

    def eventFilter(  # noqa: N802 - named by Qt
        self, watched: QObject | None, event: QEvent | None
    ) -> bool:
        """Follow the width of the content."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return bool(super().eventFilter(watched, event))

    def sizeHint(self) -> QSize:  # noqa: N802 - named by Qt
        """As much as the content wants."""
        content = self.widget()
        hint = QSize(super().sizeHint())
        if content is not None:
            hint.setHeight(content.sizeHint().height())
        return hint

    def _fit(self) -> None:
        content, bar = self.widget(), self.verticalScrollBar()
        if content is not None and bar is not None:
            width = content.minimumSizeHint().width() + bar.sizeHint().width()
            width += 2 * self.frameWidth()
            if width != self.minimumWidth():
                self.setMinimumWidth(width)
