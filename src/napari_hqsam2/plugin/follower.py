"""A part of the controller that answers what happens in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_hqsam2.plugin.desk import Desk
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort


class Follower:
    """Follows viewer and state, and asks the inference thread by way of the desk.

    Parameters
    ----------
    state, viewer, desk
        Of the controller.
    """

    def __init__(self, state: PluginState, viewer: ViewerPort, desk: Desk) -> None:
        self._state = state
        self._viewer = viewer
        self._desk = desk
