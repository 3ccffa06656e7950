"""What the entries of napari's menus do."""

from __future__ import annotations

import napari.viewer  # noqa: TC002 - napari reads the annotation to pass the viewer
from napari.layers import Image

from napari_hqsam2.plugin.widgets.main_widget import SegmentWidget

PLUGIN = "napari-hqsam2"
WIDGET = "HQ-SAM 2"


def segment_with_hqsam2(viewer: napari.viewer.Viewer) -> None:
    """Open the dock widget on the selected image, with prompt layers ready."""
    selected = viewer.layers.selection.active
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    if isinstance(widget, SegmentWidget) and isinstance(selected, Image):
        widget.choose_image(selected)
        if widget.state.points is None and widget.state.shapes is None:
            widget.controller.add_prompt_layers()
