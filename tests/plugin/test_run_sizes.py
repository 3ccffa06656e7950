"""How much is to do is told before a run, and is what the run then does."""

import pytest

from napari_hqsam2.plugin.axis_names import name_axes
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.rows import ObjectRow
from napari_hqsam2.plugin.run_sizes import RunSize, run_size
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.weights.registry import DEFAULT_MODEL


def row(obj_id, *starts):
    return ObjectRow(obj_id, "", (0, 0, 0), "", 1, starts=frozenset(starts))


@pytest.mark.parametrize(
    ("direction", "frames", "sizes"),
    [
        ("both", None, [RunSize(10, 13, 2), RunSize(10, 15, 2)]),
        ("forward", None, [RunSize(7, 7, 2), RunSize(7, 8, 2)]),
        ("backward", None, [RunSize(7, 7, 2), RunSize(7, 7, 2)]),
        ("both", (2, 5), [RunSize(3, 3, 1), RunSize(3, 3, 1)]),
        ("forward", (4, 9), [RunSize(3, 3, 1), RunSize(3, 4, 1)]),
    ],
)
@pytest.mark.parametrize("is_two_sided", [False, True])
def test_the_work_of_a_run_is_counted(direction, frames, sizes, is_two_sided):
    axes = name_axes(("t", "y", "x"), (10, 20, 30))
    model = DEFAULT_MODEL if is_two_sided else "sam2.1_hiera_tiny"
    state = PluginState(axis="T", direction=direction, frames=frames, model=model)
    size = sizes[is_two_sided]
    rows = [row(1, (3,)), row(2, (6,), (8,)), row(3)]
    assert run_size(axes, state, rows) == size


def test_the_work_along_several_lines_is_counted():
    axes = name_axes(("t", "z", "y", "x"), (3, 5, 20, 30))
    state = PluginState(axis="Z", direction="both")
    rows = [row(1, (0, 2), (2, 1)), row(2, (2, 4))]
    assert run_size(axes, state, rows) == RunSize(10, 5 + 5 + 3, 2)


def test_without_anything_to_follow_there_is_no_size():
    axes = name_axes(("t", "z", "y", "x"), (3, 5, 20, 30))
    assert run_size(axes, PluginState(axis="Z"), [row(1)]) is None
    assert run_size(axes, PluginState(), [row(1, (0, 2))]) is None


def test_handing_on_is_counted_at_its_most():
    axes = name_axes(("t", "z", "y", "x"), (3, 5, 20, 30))
    state = PluginState(axis="Z", then_axis="T", frames=(1, 4))
    rows = [row(1, (1, 2)), row(2, (2, 2))]
    size = RunSize(6 + 9, 6 + 9, 2, is_most=True)
    assert run_size(axes, state, rows, here=(1, 0)) == size
    assert run_size(axes, state, rows, here=(0, 0)) is None
    assert run_size(axes, state, rows) is None


@pytest.fixture
def followed(fake_viewer, fake_engine):
    """Three objects that were followed, two of which then changed."""
    state = PluginState()
    controller = PluginController(state, fake_viewer, SyncInference(), fake_engine)
    fake_viewer.add_image((12, 20, 30), "TYX")
    rows = [[3, 5, 6], [8, 5, 6], [5, 15, 20], [6, 10, 10]]
    points = fake_viewer.add_points(rows, [1, 1, 2, 3])
    assert controller.segment_stack()
    steps = []
    controller.runs.on_step, tell = steps.append, controller.runs.on_step
    controller.runs.on_step = lambda *args: (steps.append(args[1]), tell(*args))

    def work():
        """What was told before a run, and what it did."""
        axes = controller.layers.axes
        told = run_size(axes, state, state.objects)
        steps.clear()
        assert controller.segment_stack()
        frames = {step.position for step in steps}
        return told, (len(frames), len(steps))

    return controller, fake_viewer, points, work


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
def test_only_what_changed_is_counted(followed, direction):
    controller, viewer, points, work = followed
    state = controller.state
    state.only_changed, state.direction = True, direction
    assert work() == (None, (0, 0))
    points.data[1] = [8, 7, 6]
    points.data[3] = [6, 12, 10]
    viewer.events.prompts_changed.emit(points)
    controller.live.follow()
    told, done = work()
    assert (told.frames, told.steps) == done
    assert told.objects == 2
    viewer.show_frame(state.image, (5,))
    state.object_id = 2
    controller.review.lock_here(True)
    assert work() == (None, (0, 0))
    viewer.show_frame(state.image, (9,))
    state.labels.data[9, :3, :3] = 2
    controller.review.lock_here(True)
    told, done = work()
    assert (told.frames, told.steps) == done
    assert work() == (None, (0, 0))
