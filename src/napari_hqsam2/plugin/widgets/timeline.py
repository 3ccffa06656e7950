"""One object along its axis in a strip: area, confidence, prompts, locks and doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QHelpEvent, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_hqsam2.plugin.widgets.colours import AMBER, text_colour
from napari_hqsam2.plugin.widgets.timeline_drawing import (
    FrameArrays,
    find_runs,
    make_curve,
    paint_curve,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPaintEvent, QWheelEvent

    from napari_hqsam2.plugin.rows import Timeline

HEIGHT = 44
"""Of the strip, in pixels of the screen."""
MARGIN = 6
"""Left and right of the frames."""
_PROMPTS = (4, 5)
_CURVE = (11, 24)
_LOCKS = (37, 2)
_DOUBTS = (36, 5)
"""Top and height of each band, in pixels of the screen."""
_KINDS = {
    "prompt": "prompted",
    "mask": "given as a mask",
    "label": "in the labels, not from the model",
}
_NOTCH = 120
"""What Qt calls one step of a wheel."""


def frame_noun(axis: str) -> str:
    """What one frame along an axis is called."""
    return "slice" if axis == "Z" else "frame"


def describe_frame(timeline: Timeline, frame: int) -> str:
    """What there is to say about a frame, a few short lines."""
    shown = timeline.frames[frame]
    head = f"{frame_noun(timeline.axis).capitalize()} {frame}"
    if not shown.kind:
        return f"{head} · not segmented"
    area = f"{shown.area:,} px" if shown.area else "object not there"
    notes = [
        _KINDS.get(shown.kind, ""),
        "accepted" if shown.is_locked else "",
        f"doubtful: {shown.doubt}" if shown.doubt else "",
    ]
    words = " · ".join(filter(None, notes))
    facts = f"{head} · {area}"
    if shown.confidence is not None:
        facts += f" · {shown.confidence:.0%} sure"
    return f"{facts}\n{words[0].upper()}{words[1:]}" if words else facts


class TimelineStrip(QWidget):
    """Shows a timeline; `frame_chosen` tells to which frame the user wants to go.

    A click or drag goes to a frame, the wheel and the arrow keys take one step.
    Everything but the current frame is painted once and kept.
    """

    frame_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._timeline: Timeline | None = None
        self._picture: QPixmap | None = None
        self._turned = 0
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Timeline of the current object")

    def show_timeline(self, timeline: Timeline | None) -> None:
        """Show an object, or nothing."""
        known = self._timeline
        if known is None or timeline is None or known.frames is not timeline.frames:
            self._picture = None
        self._timeline = timeline
        self.update()

    def frame_at(self, x: float) -> int:
        """Frame under a place, in pixels from the left; the nearest one outside."""
        count = self._count
        frame = int((x - MARGIN) / max(1, self.width() - 2 * MARGIN) * count)
        return max(0, min(frame, count - 1))

    def x_of(self, frame: float) -> float:
        """Where a frame begins, in pixels from the left; + 0.5 is its middle."""
        return MARGIN + frame * (self.width() - 2 * MARGIN) / max(1, self._count)

    def sizeHint(self) -> QSize:  # noqa: N802 - named by Qt
        """Any width will do."""
        return QSize(200, HEIGHT)

    def event(self, event: QEvent | None) -> bool:
        """Say what is known of the frame under the pointer."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            frame = self.frame_at(event.pos().x())
            if self._timeline is not None and self._count:
                text = describe_frame(self._timeline, frame)
                QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Paint anew in another theme."""
        self._picture = None
        super().changeEvent(event)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Go to the frame under the pointer."""
        self._on_mouse(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Follow the pointer while the button is down."""
        self._on_mouse(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """Step as far as the wheel turned; down goes forward."""
        if event is None:
            return
        self._turned -= event.angleDelta().y() or event.angleDelta().x()
        steps = int(self._turned / _NOTCH)
        self._turned -= steps * _NOTCH
        self._step(steps)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Step with the arrow keys; leave every other key to the viewer."""
        if event is None:
            return
        last = self._count - 1
        keys = Qt.Key
        steps = {keys.Key_Left: -1, keys.Key_Right: 1}
        steps |= {keys.Key_Home: -last, keys.Key_End: last}
        if event.key() in steps:
            self._step(steps[Qt.Key(event.key())])
        else:
            event.ignore()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the kept picture and the current frame."""
        del event
        timeline = self._timeline
        if timeline is None or not timeline.frames:
            return
        ratio = self.devicePixelRatioF()
        size = self.size() * ratio
        if self._picture is None or self._picture.size() != size:
            self._picture = self._paint_frames(timeline, size, ratio)
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._picture)
        self._paint_current(painter, timeline.current)

    @property
    def _count(self) -> int:
        return 0 if self._timeline is None else len(self._timeline.frames)

    def _on_mouse(self, event: QMouseEvent | None) -> None:
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self._ask_for(self.frame_at(event.position().x()))

    def _step(self, steps: int) -> None:
        if self._timeline is not None:
            frame = self._timeline.current + steps
            self._ask_for(max(0, min(frame, self._count - 1)))

    def _ask_for(self, frame: int) -> None:
        if self._timeline is not None and frame != self._timeline.current:
            self.frame_chosen.emit(frame)

    def _paint_frames(self, timeline: Timeline, size: QSize, ratio: float) -> QPixmap:
        picture = QPixmap(size)
        picture.setDevicePixelRatio(ratio)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(text_colour(self.palette(), 0.06))
        painter.drawRoundedRect(QRectF(self.rect()), 3, 3)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
        base = QRectF(MARGIN, sum(_CURVE) - 1, self.width() - 2 * MARGIN, 1)
        painter.fillRect(base, text_colour(self.palette(), 0.25))
        frames = FrameArrays.of(timeline.frames)
        self._paint_curve(painter, frames, ratio)
        ink = text_colour(self.palette(), 0.85)
        self._paint_ticks(painter, frames.is_prompted, _PROMPTS, ink)
        for start, stop in find_runs(frames.is_locked):
            top, height = _LOCKS
            left, width = self.x_of(start), self.x_of(stop) - self.x_of(start)
            painter.fillRect(QRectF(left, top, max(width, 1.0), height), ink)
        self._paint_ticks(painter, frames.is_doubtful, _DOUBTS, AMBER)
        painter.end()
        return picture

    def _paint_curve(
        self, painter: QPainter, frames: FrameArrays, ratio: float
    ) -> None:
        top, height = _CURVE
        columns = max(1, round((self.width() - 2 * MARGIN) * ratio))
        curve = make_curve(frames, columns)
        pixels = paint_curve(curve, round(height * ratio), round(1.5 * ratio))
        rows = pixels.shape[0]
        image_format = QImage.Format.Format_RGBA8888_Premultiplied
        content = pixels.tobytes()
        image = QImage(content, columns, rows, 4 * columns, image_format)
        image.setDevicePixelRatio(ratio)
        painter.drawImage(QPointF(MARGIN, top), image)

    def _paint_ticks(
        self,
        painter: QPainter,
        flags: NDArray[np.bool_],
        band: tuple[int, int],
        colour: QColor,
    ) -> None:
        """A tick in the middle of each frame, however many share a pixel."""
        top, height = band
        middles = {round(self.x_of(frame + 0.5)) for frame in flags.nonzero()[0]}
        for x in middles:
            painter.fillRect(QRectF(x - 1, top, 2, height), colour)

    def _paint_current(self, painter: QPainter, current: int) -> None:
        palette = self.palette()
        left, right = self.x_of(current), self.x_of(current + 1)
        if right - left > 3:
            span = QRectF(left, 0, right - left, HEIGHT)
            painter.fillRect(span, text_colour(palette, 0.1))
        middle = round((left + right) / 2)
        painter.fillRect(QRectF(middle - 0.5, 0, 1, HEIGHT), text_colour(palette))
        if self.hasFocus():
            painter.setPen(QPen(text_colour(palette, 0.4), 1))
            frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
            painter.drawRoundedRect(frame, 3, 3)
