"""Which pixels the newest masks left to other objects, and one way to take them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_hqsam2.plugin.resolve import count_words
from napari_hqsam2.plugin.widgets.layout import beside, quiet_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hqsam2.plugin.widgets.ports import ObjectsPort
    from napari_hqsam2.session.disputes import Dispute

NAMED = 3
"""As many objects are told one by one."""


def dispute_words(disputes: Sequence[Dispute], names: Mapping[int, str]) -> str:
    """Whose pixels would go to whom, and how many; empty without disputes.

    Parameters
    ----------
    disputes
        Pixels in dispute.
    names
        Of objects by id; labels that are no object are called by their value.
    """
    if not disputes:
        return ""
    areas: Counter[int] = Counter()
    for dispute in disputes:
        areas[dispute.holder] += dispute.area
    first, *others = areas.most_common()
    parts = [f"{count_words(first[1], 'pixel')} of {_name(first[0], names)}"]
    parts += [f"{area:,} of {_name(i, names)}" for i, area in others[: NAMED - 1]]
    rest = others[NAMED - 1 :]
    if rest:
        total = sum(area for _, area in rest)
        parts.append(f"{total:,} of {count_words(len(rest), 'other')}")
    places = {dispute.position for dispute in disputes}
    where = f", on {len(places)} frames" if len(places) > 1 else ""
    return f"Would go to {_takers(disputes, names)}: {', '.join(parts)}{where}."


def _takers(disputes: Sequence[Dispute], names: Mapping[int, str]) -> str:
    takers = sorted({dispute.obj_id for dispute in disputes})
    if len(takers) > NAMED:
        return count_words(len(takers), "object")
    *first, last = [_name(obj_id, names) for obj_id in takers]
    return " and ".join(filter(None, (", ".join(first), last)))


def _name(label: int, names: Mapping[int, str]) -> str:
    return names.get(label, "") or f"label {label}"


class DisputeLine(QWidget):
    """A line that is there only while pixels are in dispute.

    Parameters
    ----------
    controller
        Takes the pixels; `disputes` of its state are shown.
    """

    def __init__(self, controller: ObjectsPort, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = controller.state
        self.words = quiet_label()
        self.take = QPushButton("Take them")
        self.take.setToolTip("Paint over these pixels; Undo gives them back")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(beside((self.words, 1), (self.take, 0)))
        self.take.clicked.connect(lambda _: controller.take_disputed())
        events = self._state.events
        for event in (events.disputes, events.objects, events.run):
            event.connect(self._show)
        self._show()

    def _show(self) -> None:
        state = self._state
        names = {row.obj_id: row.name for row in state.objects}
        self.words.setText(dispute_words(state.disputes, names))
        self.setVisible(bool(state.disputes))
        self.take.setEnabled(not state.run.is_busy)
