"""What the lineage section needs from a viewer; a viewer of tests can offer it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from psygnal import SignalInstance

    from napari_hqsam2.lineage.tracks import TracksData
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.stack_files import PixelSize


class TracksPort(Protocol):
    """A viewer that can show tracks."""

    @property
    def painted(self) -> SignalInstance:
        """Handle of a labels layer, and positions of planes that were painted in it."""
        ...

    def show_tracks(self, labels: Handle, tracks: TracksData) -> None:
        """Make or change the Tracks layer that lies on labels."""
        ...

    def remove_tracks(self) -> None:
        """Remove all layers that were made."""
        ...

    def pixel_sizes(self, labels: Handle) -> dict[str, PixelSize]:
        """Physical size of an index step by axis letter, as the layer says."""
        ...

    def close(self) -> None:
        """Stop listening to the viewer."""
        ...
