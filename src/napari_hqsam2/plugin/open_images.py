"""Images that are worked on, each with the Labels layer that shows its session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.plugin.label_view import LabelView
from napari_hqsam2.plugin.orders import Subject
from napari_hqsam2.plugin.prompt_sync import PromptMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_hqsam2.plugin.rows import ObjectRow
    from napari_hqsam2.plugin.snapshots import Handle, ImageSnapshot
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort


@dataclass(slots=True, eq=False)
class OpenImage:
    """An image with labels that is being worked on."""

    image: Handle
    labels: Handle
    array: Any = field(repr=False)
    """What the labels layer holds: it outlives the layer."""
    subject: Subject
    memory: PromptMemory
    rows: dict[int, ObjectRow] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    told: str = ""
    """Why its work is not kept, once that was told."""
    is_loose: bool = False
    """Whether the labels layer is gone, so that the next one will hold `array`."""
    may_go: bool = False
    """Whether the user has been told that it would be lost."""

    def fits(self, array: Any) -> bool:
        """Whether an array can be the labels of the session."""
        shape = tuple(int(length) for length in np.shape(array))
        return shape == self.subject.axes.stack.labels_shape


class OpenImages:
    """Opens images, and holds on to their labels when layers go.

    Parameters
    ----------
    state
        Which image and labels are chosen; new labels are chosen there.
    viewer
        Where the layers are.
    tell
        As of `LabelView`.
    """

    def __init__(
        self, state: PluginState, viewer: ViewerPort, tell: Callable[..., None]
    ) -> None:
        self._state = state
        self._viewer = viewer
        self._tell = tell
        self._items: list[OpenImage] = []

    def __iter__(self) -> Iterator[OpenImage]:
        """All of them; one may be dropped meanwhile."""
        return iter(tuple(self._items))

    def __contains__(self, item: OpenImage) -> bool:
        """Whether an image is still worked on."""
        return item in self._items

    def clear(self) -> None:
        """Drop all."""
        self._items.clear()

    @property
    def open(self) -> OpenImage | None:
        """The image that is chosen, if it has been worked on with its labels.

        Without labels it is the one whose layer is gone.
        """
        state = self._state
        for item in reversed(self._items):
            labels = None if item.is_loose else item.labels
            if item.image is state.image and labels is state.labels:
                return item
        return None

    def begin(self, snapshot: ImageSnapshot, *, is_new: bool = False) -> OpenImage:
        """Open the chosen image; add a layer if its labels have none.

        Parameters
        ----------
        snapshot
            Of the image.
        is_new
            Whether labels whose layer is gone are left alone.
        """
        state, viewer = self._state, self._viewer
        item = self.open
        if item is not None and not (is_new and item.is_loose):
            if item.is_loose:
                state.labels = self.house(item)
            return item
        if state.labels is None:
            state.labels = viewer.add_labels(state.image)
        view = LabelView(viewer, state.labels, self._tell)
        subject = Subject(snapshot.stack, snapshot.axes, view)
        array = viewer.label_array(state.labels)
        memory = PromptMemory(state.object_id)
        item = OpenImage(state.image, state.labels, array, subject, memory)
        self._items.append(item)
        viewer.select_label(state.labels, state.object_id)
        return item

    def house(self, item: OpenImage) -> Handle:
        """Add a layer that shows the labels of an image, for one that is gone."""
        labels = self._viewer.add_labels(item.image, item.array)
        item.labels, item.is_loose, item.hidden = labels, False, frozenset()
        item.may_go = False
        item.subject.labels.move(labels)
        self._viewer.select_label(labels, self._state.object_id)
        return labels

    def loosen(self, labels: Handle) -> list[OpenImage]:
        """Hold on to what a layer showed that was removed, if there is a session."""
        found = [item for item in self._items if item.labels is labels]
        self._drop([item for item in found if item.subject.session is None])
        found = [item for item in found if item in self._items]
        for item in found:
            item.array = self._viewer.label_array(labels)
            item.is_loose = True
        return found

    def drop_image(self, image: Handle) -> list[OpenImage]:
        """Drop what was worked on on an image that is gone."""
        return self._drop([item for item in self._items if item.image is image])

    def loose(self) -> list[OpenImage]:
        """Work on the chosen image whose labels layers are gone."""
        image = self._state.image
        return [x for x in self._items if x.is_loose and x.image is image]

    def drop_loose(self) -> list[OpenImage]:
        """Drop it."""
        return self._drop(self.loose())

    def _drop(self, items: list[OpenImage]) -> list[OpenImage]:
        self._items = [item for item in self._items if item not in items]
        return items
