"""How long a real viewer does not answer while many objects are followed.

``tools/with_display.sh .venv/bin/python -m tests.benchmarks.event_loop`` prints it, and
what is left of the memory once the viewer is closed.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import napari
import numpy as np
import psutil
from qtpy.QtCore import QTimer
from tests.benchmarks import scenes

from napari_hqsam2.files import STATE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2.plugin.widgets.main_widget import SegmentWidget

MIB = 2**20
DRAWN = 5.0
"""Seconds in which a new window draws itself for the first time."""


@dataclass
class Heartbeat:
    """Times between two turns of the event loop."""

    wall: list[float] = field(default_factory=list)
    """Seconds."""
    own: list[float] = field(default_factory=list)
    """Seconds of processor time of the thread of the event loop."""

    def start(self) -> None:
        """Begin to beat."""
        self._last = time.perf_counter(), time.thread_time()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(0)

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()

    def _beat(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self.wall.append(now[0] - self._last[0])
        self.own.append(now[1] - self._last[1])
        self._last = now

    def told(self) -> str:
        """Longest and 99.9th percentile, in milliseconds."""
        rows = [("blocked", self.wall), ("of that its own work", self.own)]
        return "\n".join(
            f"{name}: at most {1e3 * max(times):.1f} ms, "
            f"in 99.9 % of turns under {1e3 * np.quantile(times, 0.999):.1f} ms"
            for name, times in rows
        )


def wait(until: Callable[[], bool], seconds: float = 3600) -> None:
    """Let the event loop turn until something is true."""
    application = napari.qt.get_qapp()
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        application.processEvents()
        time.sleep(0.001)


def rss() -> float:
    """MiB of this process."""
    return psutil.Process().memory_info().rss / MIB


def open_viewer(options: argparse.Namespace) -> tuple[napari.Viewer, SegmentWidget]:
    """A viewer with discs, and one click on each."""
    scene = scenes.discs(options.objects, options.frames, options.size)
    viewer = napari.Viewer(show=True)
    viewer.add_image(np.asarray(scene.frames)[..., 0], name="discs")
    _, widget = viewer.window.add_plugin_dock_widget("napari-hqsam2", "HQ-SAM 2")
    widget.state.live = False
    widget.state.crop = options.crop
    widget.state.tracking = options.tracking
    widget.controller.objects.new_object()
    points = widget.state.points
    centres = scene.centres[:, ::-1]
    points.data = np.hstack([np.zeros((len(centres), 1)), centres])
    features = points.features.copy()
    features["object_id"] = np.arange(1, len(centres) + 1)
    features["label"] = "positive"
    points.features = features
    return viewer, widget


def follow(viewer: napari.Viewer, widget: SegmentWidget) -> None:
    """Follow all objects, and print how the event loop fared."""
    state, heartbeat, start = widget.state, Heartbeat(), time.perf_counter()
    shape, count = state.image.data.shape, len(state.points.data)
    wait(lambda: False, DRAWN)
    heartbeat.start()
    widget.controller.starter.start("stack")
    wait(lambda: not state.run.is_busy)
    wait(lambda: len(state.objects) == count, 60)
    heartbeat.stop()
    followed = np.unique(state.labels.data[-1]).size - 1
    sys.stdout.write(
        f"{count} objects through {shape}, {time.perf_counter() - start:.0f} s; "
        f"{followed} are on the last frame\n{heartbeat.told()}\n"
    )
    viewer.close()


def once(options: argparse.Namespace) -> None:
    """Follow objects in a new viewer, close it, and print what is left."""
    before = rss()
    viewer, widget = open_viewer(options)
    gone = [weakref.ref(widget), weakref.ref(widget.state), weakref.ref(viewer)]
    follow(viewer, widget)
    during = rss()
    del viewer, widget
    wait(lambda: False, 2)
    gc.collect()
    alive = [type(ref()).__name__ for ref in gone if ref() is not None]
    sys.stdout.write(
        f"memory: {before:.0f} MiB before, {during:.0f} after the run, {rss():.0f} "
        f"once closed; still alive: {', '.join(alive) or 'nothing'}\n"
    )


def main() -> None:
    """Print what is measured in a number of viewers."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.event_loop")
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1, help="viewers, one by one")
    parser.add_argument("--crop", default="off")
    parser.add_argument("--tracking", default="local")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # its work is nobody's
        os.environ.setdefault(STATE_VARIABLE, folder)
        for _ in range(options.rounds):
            once(options)


if __name__ == "__main__":
    main()
