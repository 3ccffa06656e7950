"""The main job, from prompts in a viewer to files: a nuclear time-lapse, 32 frames.

Opens napari on the result where there is a screen; without one, a viewer with no window
or on a virtual display does the same and the files tell.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from napari_hqsam2.export import write_labels
from napari_hqsam2.files import CONFIG_VARIABLE, STATE_VARIABLE
from napari_hqsam2.outlines import write_outlines
from napari_hqsam2.plugin import segment_layers
from napari_hqsam2.plugin.sample_data import nuclei_timelapse
from napari_hqsam2.segmentation.overview import overview_tiles
from napari_hqsam2.segmentation.stack_view import StackView

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

CLICKS = {1: (0, 76, 31), 2: (0, 46, 118), 3: (0, 72, 114)}
"""Object to (t, y, x)."""
BOXES = {4: (0, 87, 36, 116, 58), 5: (0, 88, 61, 108, 89)}
"""Object to (t, y0, x0, y1, x1)."""


def make_viewer() -> ViewerModel:
    """A viewer with a window if there is any display, else one without."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform != "linux" or any(os.environ.get(name) for name in displays):
        return napari.Viewer(show=False)
    return ViewerModel()


def add_prompts(viewer: ViewerModel) -> None:
    """Clicks in a Points layer and rectangles in a Shapes layer."""
    viewer.add_points(
        list(CLICKS.values()),
        name="clicks",
        features={"object_id": list(CLICKS), "label": ["positive"] * len(CLICKS)},
        size=4,
        face_color="lime",
    )
    rectangles = [
        [(t, y0, x0), (t, y0, x1), (t, y1, x1), (t, y1, x0)]
        for t, y0, x0, y1, x1 in BOXES.values()
    ]
    viewer.add_shapes(
        rectangles,
        name="boxes",
        features={"object_id": list(BOXES)},
        edge_color="lime",
        face_color="transparent",
    )


def follow_in_widget(viewer: napari.Viewer) -> Labels:
    """What a user does: dock the plugin, and press its button."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-hqsam2", "HQ-SAM 2")
    state = widget.state
    state.one_piece = True
    if not widget.controller.segment_stack():
        sys.exit(state.message.text)
    wait_while(lambda: state.run.is_busy)
    return state.labels


def wait_while(is_waiting: Callable[[], bool]) -> None:
    """Let the window live until something has happened."""
    while is_waiting():
        QApplication.processEvents()
        time.sleep(0.01)


def show(viewer: napari.Viewer, labels: Labels, picture: Path) -> None:
    """Open the window on the result, and take a picture."""
    labels.contour = 1
    viewer.layers.selection.active = labels
    viewer.dims.set_current_step(0, len(labels.data) // 2)
    viewer.show()
    viewer.window.resize(1500, 950)
    until = time.monotonic() + 1
    wait_while(lambda: time.monotonic() < until)
    viewer.reset_view()
    viewer.screenshot(str(picture), canvas_only=False, flash=False)


def main() -> None:
    """Do the job and say where the files are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(CONFIG_VARIABLE, str(folder / "settings"))
    os.environ.setdefault(STATE_VARIABLE, str(folder / "state"))

    viewer = make_viewer()
    (sample,) = nuclei_timelapse()
    image = viewer.add_layer(Layer.create(*sample))
    add_prompts(viewer)
    count = len(CLICKS) + len(BOXES)
    print(f"Following {count} nuclei through {len(image.data)} frames ...", flush=True)
    start = time.monotonic()
    if isinstance(viewer, napari.Viewer):
        labels = follow_in_widget(viewer)
    else:
        labels = segment_layers(
            viewer, image, points="clicks", shapes="boxes", one_piece=True
        )
    print(f"Done in {time.monotonic() - start:.0f} s")

    view = StackView(image.data, "TYX")
    tiles = overview_tiles(view, labels.data, tuple(image.contrast_limits))
    picture = folder / "outlines.png"
    write_outlines(picture, tiles)
    written = [write_labels(folder / "labels.ome.tif", labels.data, "TYX"), picture]
    if isinstance(viewer, napari.Viewer):
        written.append(folder / "napari.png")
        show(viewer, labels, written[-1])
    for path in written:
        print(f"Wrote {path}")
    if isinstance(viewer, napari.Viewer) and not os.environ.get("HQSAM2_NO_SCREEN"):
        napari.run()


if __name__ == "__main__":
    main()
