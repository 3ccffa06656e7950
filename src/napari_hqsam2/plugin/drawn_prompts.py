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

    The layers are made if there are none; they have the coordinates of the labels.
    Masks are not drawn, but stay.

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
    if not (rows or boxes):
        return
    image, viewer = main.state.image, main.viewer
    made = viewer.companions(image)
    if made.points is None or made.shapes is None:
        main.layers.add_prompt_layers()
        made = viewer.companions(image)
    main.state.points, main.state.shapes = made.points, made.shapes
    with viewer.events.prompts_changed.blocked(), viewer.events.shape_added.blocked():
        if rows:
            obj_ids, positive, places = zip(*rows, strict=True)
            viewer.draw_points(made.points, np.array(places), obj_ids, positive)
        if boxes:
            viewer.redraw(made.shapes, (), boxes)
    item = main.desk.open
    if item is not None:
        main.desk.sync.changes(item.memory, item.subject.axes)


def _rectangle(obj_id: int, position: tuple[int, ...], box: BoxPrompt) -> DrawnItem:
    corners = box_to_rectangle(box)
    places = np.tile(np.array(position, dtype=np.float64), (len(corners), 1))
    features = {LABEL: POSITIVE, OBJECT_ID: obj_id}
    return DrawnItem(np.hstack([places, corners]), "rectangle", features)
