"""A viewer that is killed: what was done is offered to the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.plugin.conftest import FakeEngine

from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.recovery import RecoveryFolder
from napari_hqsam2.plugin.state import PluginState

SHAPE = (3, 48, 400)
CLICKS = 50


def open_plugin(root):
    """The plugin on an image, in a viewer without a window."""
    viewer = ViewerModel()
    data = np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)
    viewer.add_image(data, axis_labels=("t", "y", "x"))
    viewer.dims.set_current_step(0, 1)
    return PluginController(
        PluginState(),
        NapariViewer(viewer),
        SyncInference(),
        FakeEngine(),
        recovery=RecoveryFolder(root),
    )


def place(number):
    return [1, 20, 5 + 7 * number]


def work(root):
    """Click on one object after the other, follow some, and tell when each is done."""
    main = open_plugin(root)
    main.add_prompt_layers()
    for number in range(CLICKS):
        main.state.object_id = number + 1
        main.state.points.add([place(number)])
        main.live.follow()
        print(number, flush=True)  # noqa: T201 - read by the test
        if number % 10 == 9:
            main.state.only_current = True
            assert main.segment_stack()


def check(root, last):
    """All that was told is there, and at most one click more."""
    main = open_plugin(root)
    assert main.state.unsaved is not None
    assert main.state.unsaved.objects in (last + 1, last + 2)
    main.recovery.restore()
    state = main.state
    objects = [row.obj_id for row in state.objects]
    assert objects[: last + 1] == list(range(1, last + 2))
    for number in range(last + 1):
        _, y, x = place(number)
        assert state.labels.data[1, y, x] == number + 1
        if number % 10 == 9 and number < last:
            assert (state.labels.data[:, y, x] == number + 1).all()
    drawn = state.points.data[: last + 1]
    np.testing.assert_array_equal(drawn, [place(n) for n in range(last + 1)])
    main.close()


def kill_at(root, number, pause):
    """Start a viewer, kill it soon after a click; the last one that was told."""
    command = [sys.executable, "-m", "tests.plugin.test_killed_viewer", str(root)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    last = -1
    with subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    ) as process:
        for line in process.stdout:
            last = int(line)
            if last == number:
                time.sleep(pause)
                process.send_signal(signal.SIGKILL)
    assert last >= number
    return last


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_at_most_the_last_click_is_lost(tmp_path, seed):
    rng = np.random.default_rng(seed)
    number = int(rng.integers(0, CLICKS - 10)) if seed else 0
    last = kill_at(tmp_path, number, float(rng.uniform(0, 0.1)))
    check(tmp_path, last)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
