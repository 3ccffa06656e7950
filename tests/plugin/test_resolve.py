import numpy as np
import pytest

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.axis_names import name_axes
from napari_hqsam2.plugin.resolve import (
    channel_choices,
    check_labels,
    duration_words,
    lines_of_run,
    range_words,
    session_options,
    shown_channels,
    stain_limits,
)
from napari_hqsam2.plugin.rows import ObjectRow
from napari_hqsam2.plugin.snapshots import ImageSnapshot, LabelsSnapshot
from napari_hqsam2.plugin.state import PluginState


def image(shape=(10, 20, 30), labels=("t", "y", "x"), dtype=np.uint16):
    axes = name_axes(labels, shape)
    return ImageSnapshot("cells", np.zeros(shape, dtype=dtype), axes, (0.0, 9.0))


def test_several_channels_are_each_shown_over_their_own_range():
    cells = image((2, 20, 30), ("c", "y", "x"))
    both, one = PluginState(), PluginState(channels=(1,))
    options = session_options(cells, both)
    assert options["contrast_limits"] is None
    assert stain_limits(cells, options) == (0.0, 9.0)
    options = session_options(cells, one)
    assert options["contrast_limits"] == (0.0, 9.0)
    assert stain_limits(cells, options) is None
    assert channel_choices(cells.axes)[0, 1] == "both together"


def test_a_session_is_told_all_choices():
    state = PluginState(
        tracking="local",
        resolution=256,
        hq_mode="off",
        device="cpu",
        one_piece=True,
        crop=256,
        checkpoint="mine.safetensors",
    )
    assert session_options(image(), state) == {
        "model": "sam2.1_hq_hiera_nano",
        "checkpoint": "mine.safetensors",
        "device": "cpu",
        "hq_mode": "off",
        "one_piece": True,
        "crop": 256,
        "tracking": "local",
        "resolution": 256,
        "contrast_limits": (0.0, 9.0),
        "gamma": 1.0,
        "mix": None,
        "channels": None,
    }


@pytest.mark.parametrize("dtype", [np.complex64, object])
def test_values_without_brightness_are_refused(dtype):
    with pytest.raises(StackError, match="have no brightness"):
        session_options(image(dtype=dtype), PluginState())


def test_channels_default_to_all_that_fit():
    two = image((2, 10, 20, 30), ("c", "t", "y", "x"))
    five = image((5, 20, 30), ("c", "y", "x"))
    assert list(channel_choices(two.axes)) == [(0, 1), (0,), (1,)]
    assert next(iter(channel_choices(five.axes))) == (0,)
    assert channel_choices(image().axes) == {}
    assert channel_choices(five.axes)[0, 2] == "0 and 2 together"
    assert channel_choices(five.axes)[1, 2, 4] == "1, 2 and 4 together"
    assert len(channel_choices(five.axes)) == 5 + 10 + 10
    assert shown_channels((1, 2, 4), five.axes) == (1, 2, 4)
    three = image((3, 20, 30), ("c", "y", "x"))
    pairs = [(0, 1), (0, 2), (1, 2)]
    singles = [(0,), (1,), (2,)]
    assert list(channel_choices(three.axes)) == [(0, 1, 2), *singles, *pairs]
    many = image((9, 20, 30), ("c", "y", "x"))
    assert len(channel_choices(many.axes)) == 9
    assert session_options(two, PluginState())["channels"] == (0, 1)
    assert shown_channels((4, 0), five.axes) == (4, 0)
    with pytest.raises(StackError, match="channels 0 to 4"):
        shown_channels((5,), five.axes)


def test_impossible_resolution_is_refused():
    with pytest.raises(StackError, match="multiple of 32"):
        session_options(image(), PluginState(resolution=200))


def test_ranges_have_words():
    assert range_words(image().axes, "T", (3, 6)) == "through T, frames 3 to 5"
    axes = image((4, 5, 20, 30), ("t", "z", "y", "x")).axes
    words = "through Z, slices 1 to 3"
    assert range_words(axes, "Z", (1, 4)) == f"{words}, at each T with prompts"
    assert range_words(axes, "Z", (1, 4), "T") == f"{words}, then through T"
    for lines, more in (
        ([2], "at T = 2"),
        ([0, 2], "at T = 0 and 2"),
        ([0, 1, 3], "at T = 0, 1 and 3"),
        ([0, 1, 2, 3, 4], "at 5 places along T"),
    ):
        assert range_words(axes, "Z", (1, 4), lines=lines) == f"{words}, {more}"


def test_runs_go_where_they_have_something_to_start_from():
    axes = image((4, 5, 20, 30), ("t", "z", "y", "x")).axes
    rows = [
        ObjectRow(1, "", (0, 0, 0), "", 1, starts=frozenset({(3, 2), (1, 3)})),
        ObjectRow(2, "", (0, 0, 0), "", 1, starts=frozenset({(2, 4)})),
        ObjectRow(3, "", (0, 0, 0), "", 1),
    ]
    assert lines_of_run(axes, "Z", (0, 5), rows) == [1, 2, 3]
    assert lines_of_run(axes, "Z", (0, 4), rows) == [1, 3]
    assert lines_of_run(axes, "T", (0, 4), rows[:1]) == [2, 3]
    assert lines_of_run(axes, "T", (0, 4), rows[2:]) == []
    row = ObjectRow(1, "", (0, 0, 0), "", 1, starts=frozenset({(1,)}))
    assert lines_of_run(image().axes, "T", (0, 2), [row]) == [0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.01, "about 1 s"),
        (99.4, "about 99 s"),
        (100, "about 2 min"),
        (5940, "about 99 min"),
        (9000, "about 2.5 h"),
    ],
)
def test_durations_have_words(seconds, words):
    assert duration_words(seconds) == words


def test_labels_must_fit_the_image():
    def labels(shape=(10, 20, 30), aligned=True, obstacle=""):
        return LabelsSnapshot("old", shape, np.dtype("int32"), aligned, obstacle)

    check_labels(labels(), image())
    with pytest.raises(StackError, match=r"needs labels of shape \(10, 20, 30\)"):
        check_labels(labels((20, 30)), image())
    with pytest.raises(StackError, match="elsewhere in the world"):
        check_labels(labels(aligned=False), image())
    with pytest.raises(StackError, match="cannot be written to: it is read-only"):
        check_labels(labels(obstacle="it is read-only"), image())
