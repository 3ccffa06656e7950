"""Keeps the chosen layers in step with the layers that the viewer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.errors import HqSam2Error, StackError
from napari_hqsam2.plugin.resolve import channel_choices, default_axis
from napari_hqsam2.plugin.snapshots import Companions
from napari_hqsam2.plugin.state import Message

if TYPE_CHECKING:
    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.snapshots import (
        Coordinates,
        Handle,
        ImageSnapshot,
        LayerChoice,
        Shape,
    )
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort

_OWN_OBJECT = ("rectangle", "ellipse", "polygon")


class LayerKeeper:
    """Chooses layers where one choice is obvious, and forgets layers that are gone.

    Parameters
    ----------
    state
        Choices that are kept valid.
    viewer
        Where the layers are.
    """

    def __init__(self, state: PluginState, viewer: ViewerPort) -> None:
        self._state = state
        self._viewer = viewer
        self._known: frozenset[Handle] = frozenset()
        viewer.events.layers_changed.connect(self.refresh)
        viewer.events.prompts_changed.connect(self._on_prompts_changed)
        viewer.events.shape_added.connect(self._on_shape_added)
        viewer.events.defaults_changed.connect(self._on_defaults_changed)
        state.events.image.connect(self._on_image_chosen)
        state.events.labels.connect(self._on_labels_chosen)
        state.events.points.connect(self._on_prompt_layers_chosen)
        state.events.shapes.connect(self._on_prompt_layers_chosen)
        state.events.object_id.connect(self._pass_on_new_prompts)
        state.events.positive.connect(self._pass_on_new_prompts)
        self.refresh()

    def close(self) -> None:
        """Stop listening."""
        events = self._viewer.events
        events.layers_changed.disconnect(self.refresh)
        events.prompts_changed.disconnect(self._on_prompts_changed)
        events.shape_added.disconnect(self._on_shape_added)
        events.defaults_changed.disconnect(self._on_defaults_changed)

    @property
    def axes(self) -> NamedAxes | None:
        """Axes of the chosen image; None without an image that can be segmented."""
        snapshot = self.snapshot()
        return None if snapshot is None else snapshot.axes

    def snapshot(self) -> ImageSnapshot | None:
        """Read the chosen image; None (and a message) if it cannot be segmented."""
        if self._state.image is None:
            return None
        try:
            return self._viewer.snapshot_image(self._state.image)
        except StackError as error:
            self._state.message = Message(str(error), "problem")
            return None

    def refresh(self) -> None:
        """Drop choices that are gone; choose what is new and obvious."""
        state, viewer = self._state, self._viewer
        images, labels = viewer.images(), viewer.labels()
        points, shapes = viewer.points(), viewer.shapes()
        if not _has(images, state.image):
            selected = viewer.selected()
            state.image = selected if _has(images, selected) else _first(images)
        if not _has(labels, state.labels):
            state.labels = None
        mixed = [layer for layer in state.mix or () if layer is not None]
        if not all(_has(images, layer) for layer in mixed):
            state.mix = None
        new = {c.handle for c in (*points, *shapes)} - self._known
        state.points = _kept(points, state.points, new)
        state.shapes = _kept(shapes, state.shapes, new)
        self._known = frozenset(c.handle for c in (*points, *shapes))
        self._check_axes()
        self.hint()

    @property
    def lacks_prompt_layers(self) -> bool:
        """Whether layers for prompts are missing, none of one's own being chosen."""
        state, made = self._state, self._viewer.companions(self._state.image)
        chosen = [x for x in (state.points, state.shapes) if x is not None]
        are_made = all(x in (made.points, made.shapes) for x in chosen)
        return len(chosen) < 2 and are_made

    def add_prompt_layers(self) -> None:
        """Make what there is not of a points and a shapes layer for the image.

        Layers that were not made for it are no longer chosen.
        """
        state = self._state
        if state.image is None or self.snapshot() is None:
            return
        made = self._viewer.companions(state.image)
        try:
            points, shapes = self._viewer.add_prompt_layers(
                state.image,
                made.points if made.points is state.points else None,
                made.shapes if made.shapes is state.shapes else None,
            )
        except StackError as error:
            state.message = Message(str(error), "problem")
            return
        state.points, state.shapes = points, shapes
        self._pass_on_new_prompts()
        self.hint()

    def new_object(self) -> int:
        """Let new prompts belong to the next object that is free; return its id."""
        self._state.object_id = self.free_id()
        self._state.positive = True
        self.hint()
        return self._state.object_id

    def free_id(self) -> int:
        """Id above those of all objects, prompts and labels, and the current one."""
        return max(self._state.object_id, self._largest_id()) + 1

    def unused_id(self) -> int:
        """The current object if it and all above it are free, else as `free_id`."""
        return max(self._state.object_id, self._largest_id() + 1)

    def hint(self) -> None:
        """Say what to do next, unless a run is under way."""
        if self._state.run.is_busy:
            return
        try:
            text = self._next_step()
        except HqSam2Error as error:
            self._state.message = Message(str(error), "problem")
        else:
            if text:
                self._state.message = Message(text)

    def hint_at_new_labels(self) -> None:
        """Say what new labels will be made of."""
        if self._used_ids():
            self._state.message = Message(
                "The next click or run makes a new layer, from all prompts that are "
                "drawn. Delete them first to start with none."
            )
        else:
            self.hint()

    def _next_step(self) -> str:
        state, axes = self._state, self.axes
        if state.image is None:
            return "Open an image, or drop one on the viewer."
        if axes is None:
            return ""
        if state.points is None and state.shapes is None:
            if state.objects:
                return "Add prompt layers to correct objects, or to mark others."
            return "Add prompt layers, then mark the objects."
        ids = self._read_ids()
        known = {*ids, *(row.obj_id for row in state.objects)}
        is_new = bool(ids) and not known & {0, state.object_id}
        return self._words_on_prompts(len(ids), axes, is_new=is_new)

    def _words_on_prompts(
        self, number: int, axes: NamedAxes, *, is_new: bool = False
    ) -> str:
        """Words on a number of prompts; the current object may have none yet."""
        if not number:
            return "Click on an object, or draw a rectangle around it."
        goes_on = "follow through the stack" if axes.stack.leading else "new object (N)"
        if self._state.live and is_new:
            others = f", or {goes_on}" if axes.stack.leading else ""
            return f"Click on object {self._state.object_id}{others}."
        if self._state.live:
            return f"Click again where the mask is wrong; if it is right, {goes_on}."
        if axes.stack.leading:
            return "Try this frame first, then go through the stack."
        return "Segment the image."

    def _largest_id(self) -> int:
        state = self._state
        largest = max([0, *(row.obj_id for row in state.objects), *self._used_ids()])
        if state.labels is not None:
            largest = max(largest, self._viewer.largest_label(state.labels))
        return largest

    def _used_ids(self) -> list[int]:
        """Objects of all prompts; none if they cannot be read, which `hint` tells."""
        try:
            return self._read_ids()
        except HqSam2Error:
            return []

    def _read_ids(self) -> list[int]:
        state, viewer = self._state, self._viewer
        ids: list[int] = []
        if state.points is not None:
            ids += viewer.snapshot_points(state.points, state.image).obj_ids
        return ids + [shape.obj_id for shape in self._shapes()]

    def _shapes(self) -> tuple[Shape, ...]:
        state = self._state
        if state.shapes is None or state.image is None:
            return ()
        return self._viewer.snapshot_shapes(state.shapes, state.image)

    def _on_image_chosen(self) -> None:
        state = self._state
        companions = self._viewer.companions(state.image)
        state.points, state.shapes = companions.points, companions.shapes
        state.labels = companions.labels
        if companions == Companions():
            state.object_id = 1
        state.mix = None
        state.axis = state.then_axis = None
        state.frames = None
        self._check_axes()
        self.hint()

    def _check_axes(self) -> None:
        state, axes = self._state, self.axes
        channels = channel_choices(axes) if axes else {}
        if state.channels not in channels:
            state.channels = next(iter(channels), None)
        leading = axes.stack.leading if axes else ""
        if axes is None or not leading:
            state.axis = state.then_axis = state.frames = None
        elif state.axis is None or state.axis not in leading:
            state.axis, state.then_axis, state.frames = default_axis(axes), None, None
        elif state.frames and state.frames[1] > axes.stack.length(state.axis):
            state.frames = None

    def _on_labels_chosen(self) -> None:
        state = self._state
        if state.labels is None or state.run.is_busy:
            return
        largest = self._viewer.largest_label(state.labels)
        if largest >= state.object_id and not self._used_ids():
            state.object_id = largest + 1

    def _on_prompt_layers_chosen(self) -> None:
        self._pass_on_new_prompts()
        self.hint()

    def _on_prompts_changed(self, layer: Handle) -> None:
        if layer in (self._state.points, self._state.shapes):
            self.hint()

    def _on_shape_added(self, layer: Handle, index: int) -> None:
        """Give a box or mask to a new object if its own is elsewhere on the frame."""
        if layer is not self._state.shapes or self._state.image is None:
            return
        try:
            is_other = self._belongs_elsewhere(index)
        except HqSam2Error:
            return
        if is_other:
            obj_id = self.free_id()
            self._viewer.set_object(layer, index, obj_id)
            self._state.object_id = obj_id

    def _belongs_elsewhere(self, index: int) -> bool:
        shapes = self._shapes()
        new = shapes[index]
        if new.kind not in _OWN_OBJECT or not new.obj_id:
            return False
        others = [shape for n, shape in enumerate(shapes) if n != index]
        return _has_box(new, others) or self._has_points_elsewhere(new)

    def _has_points_elsewhere(self, new: Shape) -> bool:
        """Whether the object has points on the frame, and none of them in the shape."""
        state = self._state
        if state.points is None:
            return False
        points = self._viewer.snapshot_points(state.points, state.image)
        own = points.positive & np.equal(points.obj_ids, new.obj_id)
        own &= (_frames(points.coordinates) == _frames(new.vertices)[0]).all(axis=1)
        yx, corners = points.coordinates[own, -2:], new.vertices[:, -2:]
        is_inside = (yx >= corners.min(axis=0)) & (yx <= corners.max(axis=0))
        return bool(own.any()) and not is_inside.all(axis=1).any()

    def _on_defaults_changed(self, layer: Handle) -> None:
        """Follow napari, which takes over the features of a prompt that is selected."""
        if layer is not self._state.points:
            return
        defaults = self._viewer.new_prompts(layer)
        if defaults is not None:
            self._state.object_id, self._state.positive = defaults

    def _pass_on_new_prompts(self) -> None:
        state = self._state
        layers = [h for h in (state.points, state.shapes) if h is not None]
        self._viewer.set_new_prompts(layers, state.object_id, positive=state.positive)


def _has_box(new: Shape, others: list[Shape]) -> bool:
    """Whether the object of a new shape has another box or mask on the same frame."""
    frame = _frames(new.vertices)[0]
    return any(
        other.kind in _OWN_OBJECT
        and other.positive
        and other.obj_id == new.obj_id
        and bool((_frames(other.vertices)[0] == frame).all())
        for other in others
    )


def _frames(coordinates: Coordinates) -> Coordinates:
    return np.floor(coordinates[:, :-2] + 0.5)


def _has(choices: tuple[LayerChoice, ...], handle: Handle | None) -> bool:
    return any(choice.handle is handle for choice in choices)


def _first(choices: tuple[LayerChoice, ...]) -> Handle | None:
    return choices[0].handle if choices else None


def _kept(
    choices: tuple[LayerChoice, ...], chosen: Handle | None, new: set[Handle]
) -> Handle | None:
    if _has(choices, chosen):
        return chosen
    fresh = [choice.handle for choice in choices if choice.handle in new]
    return fresh[0] if fresh else None
