"""How one object looks in the list: swatch, name, span, doubts, lock and eye."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPainterPath, QPen
from qtpy.QtWidgets import QLineEdit, QStyle, QStyledItemDelegate

from napari_hqsam2.plugin.widgets.colours import AMBER, ON_AMBER, text_colour

if TYPE_CHECKING:
    from qtpy.QtCore import QModelIndex
    from qtpy.QtGui import QPalette
    from qtpy.QtWidgets import QStyleOptionViewItem, QWidget

    from napari_hqsam2.plugin.rows import ObjectRow

ROW_ROLE = Qt.ItemDataRole.UserRole
ROW_HEIGHT = 26
"""Of one row, in pixels of the screen."""
MAX_COUNT = 99
"""Most doubtful frames that the badge tells."""
_BADGE, _LOCK, _EYE, _SWATCH = 32, 18, 26, 12


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns that are there only if some row needs them."""

    has_doubts: bool = False
    has_locks: bool = False


@dataclass(frozen=True, slots=True)
class RowParts:
    """Where the parts of a row are, in pixels of the list."""

    swatch: QRectF
    text: QRect
    """Room for the name, and the span at its right end."""
    badge: QRect
    lock: QRect
    eye: QRect


def lay_out_row(rect: QRect, columns: Columns) -> RowParts:
    """Divide the rectangle of a row, so that its parts line up with other rows'."""
    top, height = rect.top(), rect.height()
    eye = QRect(rect.right() + 1 - _EYE, top, _EYE, height)
    lock_width = _LOCK if columns.has_locks else 0
    lock = QRect(eye.left() - lock_width, top, lock_width, height)
    badge_width = _BADGE if columns.has_doubts else 0
    badge = QRect(lock.left() - badge_width, top, badge_width, height)
    swatch_top = rect.center().y() + 0.5 - _SWATCH / 2
    swatch = QRectF(rect.left() + 7.0, swatch_top, _SWATCH, _SWATCH)
    left = round(swatch.right()) + 8
    text = QRect(left, top, badge.left() - 4 - left, height)
    return RowParts(swatch, text, badge, lock, eye)


class ObjectDelegate(QStyledItemDelegate):
    """Paints rows and edits names."""

    columns = Columns()
    current = 0
    """The object that is current."""

    def sizeHint(  # noqa: N802 - named by Qt
        self, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QSize:
        """Height of a row; the list gives the width."""
        del option, index
        return QSize(0, ROW_HEIGHT)

    def paint(
        self,
        painter: QPainter | None,
        option: QStyleOptionViewItem,
        index: QModelIndex,
    ) -> None:
        """Paint a row."""
        row: ObjectRow | None = index.data(ROW_ROLE)
        if painter is None or row is None:
            return
        parts = lay_out_row(option.rect, self.columns)
        palette = option.palette
        is_hovered = bool(option.state & QStyle.StateFlag.State_MouseOver)
        is_current = row.obj_id == self.current
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(option.font)
        _paint_background(painter, option.rect, palette, is_current, is_hovered)
        _paint_swatch(painter, parts.swatch, row)
        _paint_text(painter, parts.text, palette, row)
        if row.num_doubts:
            _paint_badge(painter, parts.badge, row.num_doubts)
        if row.num_locked:
            _paint_lock(painter, parts.lock, text_colour(palette, 0.6))
        is_strong = is_hovered or row.is_hidden
        eye = text_colour(palette, 0.75 if is_strong else 0.25)
        _paint_eye(painter, parts.eye, eye, is_open=not row.is_hidden)
        painter.restore()

    def setEditorData(  # noqa: N802 - named by Qt
        self, editor: QWidget | None, index: QModelIndex
    ) -> None:
        """Fill in the name, unless the user is typing another one."""
        if not (isinstance(editor, QLineEdit) and editor.isModified()):
            super().setEditorData(editor, index)

    def updateEditorGeometry(  # noqa: N802 - named by Qt
        self,
        editor: QWidget | None,
        option: QStyleOptionViewItem,
        index: QModelIndex,
    ) -> None:
        """Lay the editor over name and span."""
        del index
        if editor is not None:
            text = lay_out_row(option.rect, self.columns).text
            editor.setGeometry(text.adjusted(-4, 0, 0, 0))


def _paint_background(
    painter: QPainter,
    rect: QRect,
    palette: QPalette,
    is_current: bool,
    is_hovered: bool,
) -> None:
    if not (is_current or is_hovered):
        return
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(text_colour(palette, 0.14 if is_current else 0.06))
    painter.drawRoundedRect(QRectF(rect).adjusted(0, 1, 0, -1), 3, 3)


def _paint_swatch(painter: QPainter, rect: QRectF, row: ObjectRow) -> None:
    colour = QColor.fromRgbF(*row.colour)
    colour.setAlphaF(0.35 if row.is_hidden else 1.0)
    painter.setPen(QPen(QColor(128, 128, 128, 110), 1))
    painter.setBrush(colour)
    painter.drawRoundedRect(rect.adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)


def _paint_text(
    painter: QPainter, rect: QRect, palette: QPalette, row: ObjectRow
) -> None:
    """Name from the left, and the span from the right where that leaves room."""
    middle = Qt.AlignmentFlag.AlignVCenter
    span_width = painter.fontMetrics().horizontalAdvance(row.span) + 8
    if row.span and span_width < rect.width() / 2:
        name_font = painter.font()
        painter.setFont(_smaller(name_font))
        painter.setPen(text_colour(palette, 0.55))
        painter.drawText(rect, middle | Qt.AlignmentFlag.AlignRight, row.span)
        painter.setFont(name_font)
        rect = rect.adjusted(0, 0, -span_width, 0)
    elide = Qt.TextElideMode.ElideRight
    name = painter.fontMetrics().elidedText(row.name, elide, rect.width())
    painter.setPen(text_colour(palette, 0.5 if row.is_hidden else 1.0))
    painter.drawText(rect, middle | Qt.AlignmentFlag.AlignLeft, name)


def _paint_badge(painter: QPainter, rect: QRect, count: int) -> None:
    font = painter.font()
    painter.setFont(_smaller(font, bold=True))
    pill = QRectF(0, 0, 28, 15)
    pill.moveCenter(QRectF(rect).center())
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(AMBER)
    painter.drawRoundedRect(pill, 7.5, 7.5)
    painter.setPen(ON_AMBER)
    text = str(count) if count <= MAX_COUNT else f"{MAX_COUNT}+"
    painter.drawText(pill, Qt.AlignmentFlag.AlignCenter, text)
    painter.setFont(font)


def _paint_lock(painter: QPainter, rect: QRect, colour: QColor) -> None:
    centre = QRectF(rect).center()
    body = QRectF(centre.x() - 4, centre.y() - 0.5, 8, 6)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawRoundedRect(body, 1, 1)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(colour, 1.4))
    shackle = QRectF(centre.x() - 2.6, centre.y() - 5, 5.2, 6)
    path = QPainterPath(QPointF(shackle.left(), body.top()))
    path.lineTo(shackle.left(), shackle.center().y())
    path.arcTo(shackle, 180, -180)
    path.lineTo(shackle.right(), body.top())
    painter.drawPath(path)


def _paint_eye(
    painter: QPainter, rect: QRect, colour: QColor, *, is_open: bool
) -> None:
    centre = QRectF(rect).center()
    x, y = centre.x(), centre.y()
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(colour, 1.3, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    lids = QPainterPath(QPointF(x - 7, y))
    lids.quadTo(x, y - 8, x + 7, y)
    lids.quadTo(x, y + 8, x - 7, y)
    painter.drawPath(lids)
    if is_open:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawEllipse(centre, 2.2, 2.2)
    else:
        painter.drawLine(QPointF(x - 5, y + 5), QPointF(x + 5, y - 5))


def _smaller(font: QFont, *, bold: bool = False) -> QFont:
    """A font for what comes second."""
    small = QFont(font)
    small.setPixelSize(11)
    small.setBold(bold)
    return small
