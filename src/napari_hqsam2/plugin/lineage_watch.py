"""Objects and divisions of the labels at work, measured where they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.lineage.live_table import LiveTable

if TYPE_CHECKING:
    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.lineage.divisions import Division
    from napari_hqsam2.plugin.label_view import LabelView
    from napari_hqsam2.plugin.open_images import OpenImage
    from napari_hqsam2.session.session import Session


class LabelWatch:
    """Measures labels where they change, in the thread that changes them.

    Parameters
    ----------
    item
        Image with labels.
    axes
        Of the labels.
    """

    def __init__(self, item: OpenImage, axes: StackAxes) -> None:
        self.item = item
        self.labels = item.labels
        self.live = LiveTable(axes)
        self.dirty: set[tuple[int, ...]] = set()
        """Positions of planes that somebody painted."""
        self.divisions: tuple[Division, ...] = ()
        self.is_measured = False
        """Whether all labels were measured once, and are followed since."""
        self.shown: tuple[object, ...] = ()
        """What the viewer shows of this."""
        self._view: LabelView = item.subject.labels
        self._session: Session | None = None
        self._follows = False

    def needs_look(self, *, measure: bool) -> bool:
        """Whether the session has to be asked first."""
        is_behind = measure and (not self.is_measured or bool(self.dirty))
        return self._session is None or is_behind

    def look(self, session: Session, *, measure: bool) -> None:
        """Read what is not known yet, and follow the session from now on."""
        if self._session is None:
            self._session = session
            session.events.labels.connect(self._on_labels)
            session.events.objects.connect(self._on_objects)
        self.divisions = session.divisions()
        if measure:
            self._follows = True
            dirty = [self.dirty.pop() for _ in range(len(self.dirty))]
            for position in {*dirty, *self.live.missing()}:
                self.live.put(position, self._view[position])
            self.is_measured = True

    def close(self) -> None:
        """Follow the session no more."""
        session, self._session = self._session, None
        if session is not None:
            session.events.labels.disconnect(self._on_labels)
            session.events.objects.disconnect(self._on_objects)

    def _on_labels(self, position: tuple[int, ...]) -> None:
        if self._follows:
            self.live.put(position, self._view[position])

    def _on_objects(self) -> None:
        if self._session is not None:
            self.divisions = self._session.divisions()
