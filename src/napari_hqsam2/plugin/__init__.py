"""The napari plugin; nothing outside this folder knows napari or Qt.

`segment_layers` is the viewer form of segmentation for scripts; it needs no Qt.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_hqsam2.plugin.script import segment_layers

__all__ = ["segment_layers"]


def __getattr__(name: str) -> Any:
    if name == "segment_layers":
        from napari_hqsam2.plugin.script import segment_layers  # noqa: PLC0415

        return segment_layers
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
