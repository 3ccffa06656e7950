"""What the widget and its layers show of the session of an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_hqsam2.errors import PromptError
from napari_hqsam2.plugin.state import Message
from napari_hqsam2.plugin.views import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_hqsam2.plugin.open_images import OpenImage, OpenImages
    from napari_hqsam2.plugin.prompt_sync import PromptSync
    from napari_hqsam2.plugin.prompt_values import Pair, PairPrompts
    from napari_hqsam2.plugin.rows import Timeline
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort
    from napari_hqsam2.plugin.views import Report


class Display:
    """Brings reports on sessions into state and layers.

    Parameters
    ----------
    state
        Objects, timeline and names of steps are written to it.
    viewer
        Where the layers are.
    images
        The images that are worked on.
    sync
        Draws prompts.
    look
        Lets rows and timeline of an image be made when there is nothing else to do.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        images: OpenImages,
        sync: PromptSync,
        look: Callable[[OpenImage], None],
    ) -> None:
        self._state = state
        self._viewer = viewer
        self._images = images
        self._sync = sync
        self._look = look

    def line(self, item: OpenImage) -> Line | None:
        """What the timeline is to show."""
        state, axes = self._state, item.subject.axes
        position = self._viewer.current_position(item.image)
        letters = axes.stack.leading
        if position is None or state.axis is None or state.axis not in tuple(letters):
            return None
        index = letters.index(state.axis)
        place = (*position[:index], 0, *position[index + 1 :])
        return Line(state.object_id, state.axis, place)

    def take_report(self, item: OpenImage, report: Report) -> None:
        """Show what has changed."""
        self.draw_again(item, report.refused)
        if report.saving:
            self._state.message = Message(report.saving, "problem")
            self._viewer.notify(report.saving, is_problem=True)
        ids = [obj_id for obj_id, row in report.rows.items() if row is not None]
        colours = self._viewer.label_colours(item.labels, ids)
        painted = dict(zip(ids, colours, strict=True))
        for obj_id, row in report.rows.items():
            if row is None:
                item.rows.pop(obj_id, None)
            else:
                item.rows[obj_id] = replace(row, colour=painted[obj_id])
        if report.rows:
            self.hide(item)
        if report.position == self._viewer.current_position(item.image):
            names = {row.obj_id: row.name for row in item.rows.values()}
            self._viewer.show_scores(item.labels, report.scores, names)
            if self._images.open is item:
                self._state.oddity = report.oddity
        self._state.whereabouts = report.whereabouts
        if self._images.open is item:
            self._show_rows(item, is_new=bool(report.rows))
            self._state.disputes = report.disputes
            self._state.undo_name = report.undo_name
            self._state.redo_name = report.redo_name
            self._show_timeline(item, report)

    def show(self) -> None:
        """Show the objects of the image that is chosen now."""
        state, item = self._state, self._images.open
        if item is None:
            state.objects, state.timeline = (), None
            state.undo_name = state.redo_name = ""
            state.disputes = ()
            state.oddity = ""
            return
        self._show_rows(item, is_new=True)
        state.timeline = None
        self._look(item)

    def move_timeline(self) -> None:
        """Follow the sliders."""
        item, timeline = self._images.open, self._state.timeline
        if item is None:
            return
        self._look(item)
        frame = self._frame(item)
        if timeline is not None and frame is not None:
            self._state.timeline = replace(timeline, current=frame)

    def hide(self, item: OpenImage) -> None:
        """Let the layer not show objects that are hidden."""
        hidden = frozenset(row.obj_id for row in item.rows.values() if row.is_hidden)
        if hidden or item.hidden:
            self._viewer.hide_labels(item.labels, hidden, item.rows.keys() - hidden)
            item.hidden = hidden

    def draw_again(
        self, item: OpenImage, prompts: Mapping[Pair, PairPrompts | None] | None
    ) -> None:
        """Let the layers show prompts as the session has them."""
        if prompts:
            try:
                self._sync.restore(item.memory, item.subject.axes, prompts)
            except PromptError as error:
                self._state.message = Message(str(error))

    def _show_rows(self, item: OpenImage, *, is_new: bool) -> None:
        if is_new:
            self._state.objects = tuple(item.rows[i] for i in sorted(item.rows))

    def _show_timeline(self, item: OpenImage, report: Report) -> None:
        if report.line != self.line(item):
            self._look(item)
            return
        timeline: Timeline | None = report.timeline
        frame = self._frame(item)
        if timeline is not None and frame is not None:
            timeline = replace(timeline, current=frame)
        self._state.timeline = timeline

    def _frame(self, item: OpenImage) -> int | None:
        """Frame on show along the axis of the timeline."""
        position = self._viewer.current_position(item.image)
        letters, axis = item.subject.axes.stack.leading, self._state.axis
        if position is None or axis is None or axis not in tuple(letters):
            return None
        return position[letters.index(axis)]
