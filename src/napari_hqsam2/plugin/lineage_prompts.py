"""Prompts that came from a file, drawn as if they were clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.lineage_port import TracksPort
    from napari_hqsam2.plugin.prompt_values import Pair, PairPrompts


def draw_points(
    main: PluginController,
    port: TracksPort,
    prompts: Mapping[Pair, PairPrompts | None],
) -> None:
    """Draw the points of prompts in the Points layer that was made for the image.

    The layer is made if there is none; it has the coordinates of the labels.

    Parameters
    ----------
    main
        Controller of the widget.
    port
        Draws them, all at once.
    prompts
        By object and position; other prompts than points are not drawn.
    """
    rows = [
        (obj_id, point.positive, (*position, point.y, point.x))
        for (obj_id, position), found in sorted(prompts.items())
        if found is not None
        for point in found.points
    ]
    if not rows:
        return
    image = main.state.image
    if main.viewer.companions(image).points is None:
        main.add_prompt_layers()
    main.state.points = main.viewer.companions(image).points
    obj_ids, positive, places = zip(*rows, strict=True)
    with main.viewer.events.prompts_changed.blocked():
        port.add_points(main.state.points, np.array(places), obj_ids, positive)
