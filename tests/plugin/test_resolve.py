import numpy as np
import pytest

from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.plugin.axis_names import name_axes
from napari_hqsam2.plugin.resolve import (
    RunSettings,
    channel_choices,
    check_labels,
    resolve_frame,
    resolve_stack,
)
from napari_hqsam2.plugin.snapshots import ImageSnapshot, LabelsSnapshot, PointSet

SETTINGS = RunSettings(model="nano")


def image(shape=(10, 20, 30), labels=("t", "y", "x"), dtype=np.uint16):
    axes = name_axes(labels, shape)
    return ImageSnapshot("cells", np.zeros(shape, dtype=dtype), axes, (0.0, 9.0))


def points(*rows, ids=None, positive=None):
    return PointSet(
        np.array(rows, dtype=float),
        np.array(positive or [True] * len(rows)),
        tuple(ids or [1] * len(rows)),
    )


def test_stack_request_says_what_will_be_done():
    chosen = points((4, 5, 6), (2, 9, 9), ids=[1, 2])
    request = resolve_stack(image(), chosen, (), SETTINGS)
    assert request.axis == "T"
    assert request.frames == (0, 10)
    assert request.words == "2 objects through T, frames 0 to 9"
    assert request.obj_ids == (1, 2)
    assert request.contrast_limits == (0.0, 9.0)


@pytest.mark.parametrize(
    ("direction", "expected"), [("forward", 6), ("backward", 5), ("both", 10)]
)
def test_results_are_counted_per_direction(direction, expected):
    settings = RunSettings(model="nano", direction=direction)
    request = resolve_stack(image(), points((4, 5, 6)), (), settings)
    assert request.num_results == expected


def test_other_leading_axes_make_runs_of_their_own():
    volume = image((3, 7, 20, 30), ("t", "z", "y", "x"))
    chosen = points((0, 2, 5, 6), (2, 2, 5, 6))
    through_z = resolve_stack(volume, chosen, (), SETTINGS)
    through_t = resolve_stack(volume, chosen, (), RunSettings("nano", axis="T"))
    assert (through_z.axis, through_z.num_results) == ("Z", 14)
    assert (through_t.axis, through_t.frames) == ("T", (0, 3))


def test_frame_request_takes_only_prompts_on_that_frame():
    chosen = points((4, 5, 6), (2, 9, 9), ids=[1, 2])
    request = resolve_frame(image(), chosen, (), SETTINGS, (2,))
    assert request.obj_ids == (2,)
    assert request.frames == (2, 3)
    assert request.num_results == 1
    assert request.words == "1 object on T = 2"


def test_frame_without_prompts_says_where_they_are():
    with pytest.raises(PromptError, match=r"no prompt on T = 3; .* on T = 4"):
        resolve_frame(image(), points((4, 5, 6)), (), SETTINGS, (3,))


def test_range_keeps_prompts_inside_it():
    settings = RunSettings(model="nano", frames=(3, 6))
    chosen = points((4, 5, 6), (8, 5, 6))
    request = resolve_stack(image(), chosen, (), settings)
    assert [prompt.position for prompt in request.prompts] == [(4,)]
    assert request.num_results == 3


def test_object_prompted_only_outside_the_range_is_refused():
    settings = RunSettings(model="nano", frames=(3, 6))
    chosen = points((4, 5, 6), (8, 5, 6), ids=[1, 2])
    with pytest.raises(PromptError, match="Object 2 has no prompt inside the range"):
        resolve_stack(image(), chosen, (), settings)


def test_empty_and_only_negative_prompts_are_refused():
    with pytest.raises(PromptError, match="no prompt yet"):
        resolve_stack(image(), None, (), SETTINGS)
    with pytest.raises(PromptError, match="negative points"):
        resolve_stack(image(), points((1, 2, 3), positive=[False]), (), SETTINGS)
    single = image((20, 30), ("y", "x"))
    with pytest.raises(PromptError, match="negative points"):
        resolve_stack(single, points((2, 3), positive=[False]), (), SETTINGS)


def test_single_image_has_no_axis():
    request = resolve_stack(image((20, 30), ("y", "x")), points((2, 3)), (), SETTINGS)
    assert request.axis is None
    assert request.num_results == 1
    assert request.words == "1 object on the image"


@pytest.mark.parametrize("dtype", [np.complex64, object])
def test_values_without_brightness_are_refused(dtype):
    with pytest.raises(StackError, match="have no brightness"):
        resolve_stack(image(dtype=dtype), points((1, 2, 3)), (), SETTINGS)


def test_channels_default_to_all_that_fit():
    two = image((2, 10, 20, 30), ("c", "t", "y", "x"))
    five = image((5, 20, 30), ("c", "y", "x"))
    assert list(channel_choices(two.axes)) == [(0, 1), (0,), (1,)]
    assert next(iter(channel_choices(five.axes))) == (0,)
    assert channel_choices(image().axes) == {}
    request = resolve_stack(two, points((1, 2, 3)), (), SETTINGS)
    assert request.settings.channels == (0, 1)
    request = resolve_stack(
        five, points((2, 3)), (), RunSettings("nano", channels=(4, 0))
    )
    assert request.settings.channels == (4, 0)
    with pytest.raises(StackError, match="channels 0 to 4"):
        resolve_stack(five, points((2, 3)), (), RunSettings("nano", channels=(5,)))


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
