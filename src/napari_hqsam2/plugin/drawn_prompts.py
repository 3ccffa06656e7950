"""Prompts that came from a file, drawn as if they were clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.geometry import box_to_rectangle
from napari_hqsam2.plugin.prompt_features import LABEL, OBJECT_ID, POSITIVE
from napari_hqsam2.plugin.prompt_values import DrawnItem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.prompt_values import Pair, PairPrompts
    from napari_hqsam2.prompts import BoxPrompt


def draw_prompts(
    main: PluginController, prompts: Mapping[Pair, PairPrompts | None]
) -> None:
    """Draw points and boxes in the layers that were made for the image.

    Layers are made if there are none, or if those there are hold other prompts, which
    are put aside; layers that show these very prompts are left as they are. New ones
    have the coordinates of the labels. Masks are not drawn, but stay.

    Parameters
    ----------
    main
        Controller of the widget; the session has these prompts already.
    prompts
        By object and position.
    """
    found = sorted((pair, each) for pair, each in prompts.items() if each is not None)
    rows = [
        (obj_id, point.positive, (*position, point.y, point.x))
        for (obj_id, position), each in found
        for point in each.points
    ]
    boxes = [
        _rectangle(obj_id, position, each.box)
        for (obj_id, position), each in found
        if each.box is not None
    ]
    if not (rows or boxes) or _choose_layers(main, dict(found)):
        return
    state, viewer = main.state, main.viewer
    with viewer.events.prompts_changed.blocked(), viewer.events.shape_added.blocked():
        if rows:
            obj_ids, positive, places = zip(*rows, strict=True)
            viewer.draw_points(state.points, np.array(places), obj_ids, positive)
        if boxes:
            viewer.redraw(state.shapes, (), boxes)
    item = main.desk.open
    if item is not None:
        main.desk.sync.changes(item.memory, item.subject.axes)


def _choose_layers(main: PluginController, prompts: Mapping[Pair, PairPrompts]) -> bool:
    """Choose layers to draw in; whether they show these prompts already."""
    state, viewer, item = main.state, main.viewer, main.desk.open
    made = viewer.companions(state.image)
    state.points, state.shapes = made.points, made.shapes
    layers = [layer for layer in (made.points, made.shapes) if layer is not None]
    used = [layer for layer in layers if viewer.num_prompts(layer)]
    if used and item is not None and main.desk.sync.shows(item.subject.axes, prompts):
        main.desk.sync.changes(item.memory, item.subject.axes)
        return True
    if used or len(layers) < 2:
        for layer in used:
            viewer.put_aside(layer)
        state.points = state.shapes = None
        main.layers.add_prompt_layers()
    return False


def _rectangle(obj_id: int, position: tuple[int, ...], box: BoxPrompt) -> DrawnItem:
    corners = box_to_rectangle(box)
    places = np.tile(np.array(position, dtype=np.float64), (len(corners), 1))
    features = {LABEL: POSITIVE, OBJECT_ID: obj_id}
    return DrawnItem(np.hstack([places, corners]), "rectangle", features)
