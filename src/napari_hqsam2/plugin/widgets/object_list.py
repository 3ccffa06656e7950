"""A list of objects that stays quick with thousands of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtGui import QAction  # type: ignore[attr-defined]
from qtpy.QtWidgets import QAbstractItemView, QFrame, QListView, QMenu, QWidget

from napari_hqsam2.plugin.resolve import count_words
from napari_hqsam2.plugin.state import CUTS, HQ_MODES
from napari_hqsam2.plugin.widgets.object_delegate import (
    ROW_HEIGHT,
    ROW_ROLE,
    Columns,
    ObjectDelegate,
    lay_out_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QPoint
    from qtpy.QtGui import QKeyEvent, QMouseEvent

    from napari_hqsam2.plugin.rows import ObjectRow
    from napari_hqsam2.plugin.state import Cut, HqMode

MAX_ROWS = 8
"""Rows that the list shows without scrolling."""
_KEYS = {
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
}
_BACK = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: 0}
"""Rows that a key goes back from where a deleted object was."""
_Index = QModelIndex | QPersistentModelIndex


def describe_object(row: ObjectRow) -> str:
    """What there is to say about an object, a few short lines."""
    lines = [f"{row.name} · label {row.obj_id}"]
    if row.span:
        lines.append(f"{row.span} · {count_words(row.num_frames, 'frame')}")
    counts = zip(row.prompts, ("point", "box", "mask"), strict=True)
    if given := ", ".join(count_words(n, word) for n, word in counts if n):
        lines.append(given)
    if row.confidence is not None:
        lines.append(f"{row.confidence:.0%} sure on average")
    if row.hq_mode is not None:
        lines.append(f"masks: {HQ_MODES[row.hq_mode]}")
    if row.num_doubts:
        lines.append(f"{count_words(row.num_doubts, 'doubtful frame')} to look at")
    if row.num_locked:
        lines.append(f"{count_words(row.num_locked, 'frame')} accepted")
    return "\n".join(lines)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many values two sequences begin with in common."""
    shorter = min(len(first), len(second))
    return next((i for i in range(shorter) if first[i] != second[i]), shorter)


class ObjectModel(QAbstractListModel):
    """The rows; `renamed` tells of an object and the name that was typed for it."""

    renamed = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[ObjectRow, ...] = ()

    def show_rows(self, rows: tuple[ObjectRow, ...]) -> None:
        """Change to these rows, leaving alone what is the same."""
        before = [row.obj_id for row in self._rows]
        after = [row.obj_id for row in rows]
        start = _common(before, after)
        end = _common(before[start:][::-1], after[start:][::-1])
        if removed := len(before) - start - end:
            self.beginRemoveRows(QModelIndex(), start, start + removed - 1)
            self._rows = self._rows[:start] + self._rows[start + removed :]
            self.endRemoveRows()
        if added := len(after) - start - end:
            self.beginInsertRows(QModelIndex(), start, start + added - 1)
            kept = self._rows
            self._rows = kept[:start] + rows[start : start + added] + kept[start:]
            self.endInsertRows()
        pairs = enumerate(zip(self._rows, rows, strict=True))
        changed = [number for number, (old, new) in pairs if old != new]
        self._rows = rows
        if changed:
            self.dataChanged.emit(self.index(changed[0]), self.index(changed[-1]))

    def index_of(self, obj_id: int) -> QModelIndex:
        """Where an object is; an invalid index if it is not in the list."""
        found = (i for i, row in enumerate(self._rows) if row.obj_id == obj_id)
        number = next(found, None)
        return QModelIndex() if number is None else self.index(number)

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008, N802
        """Number of objects."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Name, tool tip, or under `ROW_ROLE` the whole row."""
        row = self._rows[index.row()]
        if role in {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole}:
            return row.name
        if role in {
            Qt.ItemDataRole.ToolTipRole,
            Qt.ItemDataRole.AccessibleDescriptionRole,
        }:
            return describe_object(row)
        return row if role == ROW_ROLE else None

    def setData(  # noqa: N802 - named by Qt
        self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole
    ) -> bool:
        """Tell of a new name; it is shown once the rows have it."""
        row, name = self._rows[index.row()], str(value).strip()
        if role != Qt.ItemDataRole.EditRole or name in {"", row.name}:
            return False
        self.renamed.emit(row.obj_id, name)
        return True

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """Rows can be chosen and renamed."""
        del index
        flag = Qt.ItemFlag
        return flag.ItemIsEnabled | flag.ItemIsSelectable | flag.ItemIsEditable


class ObjectList(QListView):
    """Shows objects, one of them current.

    Signals: `chosen` (object that the user made current), `renamed` (object, name),
    `hiding` (object, whether to hide it), `hq_chosen` (object, how to make its masks;
    None is as those of all), `deleted` (object), `cut` (object, how) and `joined`
    (object, the one that is to be a part of it). Keys that the list has no use for go
    on to the viewer, so that its shortcuts work from here too.
    """

    chosen = Signal(int)
    renamed = Signal(int, str)
    hiding = Signal(int, bool)
    deleted = Signal(int)
    cut = Signal(int, str)
    joined = Signal(int, int)
    hq_chosen = Signal(int, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_showing = False
        self._last_row = 0
        """Where the current object was last seen in the list."""
        self._objects = ObjectModel(self)
        self._objects.renamed.connect(self.renamed.emit)
        self._delegate = ObjectDelegate(self)
        self.setModel(self._objects)
        self.setItemDelegate(self._delegate)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setMouseTracking(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet("QListView { background: transparent; padding: 0px; }")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.setAccessibleName("Objects")
        self.masks = QMenu("Masks", self)
        self.masks.aboutToShow.connect(self._offer_masks)
        self.masks.triggered.connect(self._choose_masks)
        self.cuts = QMenu("Cut here", self)
        for cut, words in CUTS.items():
            action = QAction(words, self.cuts)
            action.triggered.connect(partial(self._cut, cut))
            self.cuts.addAction(action)
        self.joins = QMenu("Join with", self)
        self.joins.setStyleSheet("QMenu { menu-scrollable: 1; }")
        self.joins.aboutToShow.connect(self._offer_joins)
        self.joins.triggered.connect(self._join)
        self._add_actions()

    def show_objects(self, rows: tuple[ObjectRow, ...], current: int) -> None:
        """Show these objects with one of them current, without a signal."""
        self._is_showing = True
        if self.currentIndex().isValid():
            self._last_row = self.currentIndex().row()
        self._objects.show_rows(rows)
        self._delegate.current = current
        self._delegate.columns = Columns(
            has_doubts=any(row.num_doubts for row in rows),
            has_locks=any(row.num_locked for row in rows),
        )
        self.setFixedHeight(ROW_HEIGHT * max(1, min(len(rows), MAX_ROWS)) + 2)
        self.joins.setEnabled(len(rows) > 1)
        index = self._objects.index_of(current)
        if index != self.currentIndex():
            self.setCurrentIndex(index)
        self._is_showing = False
        if (viewport := self.viewport()) is not None:
            viewport.update()

    def currentChanged(  # noqa: N802 - named by Qt
        self, current: QModelIndex, previous: QModelIndex
    ) -> None:
        """Tell which object the user made current."""
        super().currentChanged(current, previous)
        row = current.data(ROW_ROLE)
        is_news = row is not None and row.obj_id != self._delegate.current
        if is_news and not self._is_showing:
            self.chosen.emit(row.obj_id)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Hide or show with the eye; anywhere else makes the row current."""
        if event is None or self._press_eye(event):
            return
        super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Rename, but not from the eye, whose second click counts as a click."""
        if event is None or self._press_eye(event):
            return
        super().mouseDoubleClickEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Move through the rows, rename, delete; leave other keys to the viewer."""
        if event is None:
            return
        slots = {
            Qt.Key.Key_F2: self._rename,
            Qt.Key.Key_Delete: self._delete,
            Qt.Key.Key_Backspace: self._delete,
        }
        if event.key() in _BACK and not self.currentIndex().isValid():
            self._go_on(_BACK[Qt.Key(event.key())])
        elif event.key() in _KEYS:
            super().keyPressEvent(event)
        elif event.key() in slots:
            slots[Qt.Key(event.key())]()
        else:
            event.ignore()

    def _go_on(self, back: int) -> None:
        """Enter the list where it was left, as by deleting the current object."""
        last = self._objects.rowCount() - 1
        row = max(0, min(self._last_row - back, last))
        self.setCurrentIndex(self._objects.index(row))

    def _add_actions(self) -> None:
        for text, slot in (
            ("Rename\tF2", self._rename),
            ("Hide or show", self._hide),
        ):
            self._add_action(text, slot)
        self.addAction(self.masks.menuAction())
        self.addAction(self.cuts.menuAction())
        self.addAction(self.joins.menuAction())
        self._add_action("Delete\tDel", self._delete)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)

    def _add_action(self, text: str, slot: Callable[[], None]) -> None:
        action = QAction(text, self)
        action.triggered.connect(slot)
        self.addAction(action)

    def _offer_masks(self) -> None:
        """Offer the ways to make the masks of the current object, its own marked."""
        self.masks.clear()
        row = self._current_row()
        if row is None:
            return
        self._offer_mode(None, "As those of all objects", row)
        for mode, words in HQ_MODES.items():
            self._offer_mode(mode, words, row)

    def _offer_mode(self, mode: HqMode | None, words: str, row: ObjectRow) -> None:
        action = QAction(words, self.masks)
        action.setCheckable(True)
        action.setChecked(mode == row.hq_mode)
        action.setData(mode)
        self.masks.addAction(action)

    def _choose_masks(self, action: QAction) -> None:
        if (row := self._current_row()) is not None:
            self.hq_chosen.emit(row.obj_id, action.data())

    def _current_row(self) -> ObjectRow | None:
        row: ObjectRow | None = self.currentIndex().data(ROW_ROLE)
        return row

    def _rename(self) -> None:
        if self.currentIndex().isValid():
            self.edit(self.currentIndex())

    def _hide(self) -> None:
        if (row := self._current_row()) is not None:
            self.hiding.emit(row.obj_id, not row.is_hidden)

    def _delete(self) -> None:
        if (row := self._current_row()) is not None:
            self.deleted.emit(row.obj_id)

    def _cut(self, cut: Cut, _: bool = False) -> None:
        if (row := self._current_row()) is not None:
            self.cut.emit(row.obj_id, cut)

    def _offer_joins(self) -> None:
        """Offer all other objects, with the frames that they are on."""
        self.joins.clear()
        current = self._current_row()
        for index in range(self._objects.rowCount()):
            row: ObjectRow = self._objects.index(index).data(ROW_ROLE)
            if current is not None and row.obj_id != current.obj_id:
                name = row.name.replace("&", "&&")
                action = QAction(f"{name}\t{row.span}", self.joins)
                action.setData(row.obj_id)
                self.joins.addAction(action)

    def _join(self, action: QAction) -> None:
        if (row := self._current_row()) is not None:
            self.joined.emit(row.obj_id, action.data())

    def _press_eye(self, event: QMouseEvent) -> bool:
        point = event.position().toPoint()
        row = self._eye_at(point)
        if row is None or event.button() != Qt.MouseButton.LeftButton:
            return False
        self.hiding.emit(row.obj_id, not row.is_hidden)
        return True

    def _eye_at(self, point: QPoint) -> ObjectRow | None:
        index = self.indexAt(point)
        parts = lay_out_row(self.visualRect(index), self._delegate.columns)
        row: ObjectRow | None = index.data(ROW_ROLE)
        return row if parts.eye.contains(point) else None
