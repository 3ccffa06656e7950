"""Stacks shown as colours: what the model sees is what each looks like by itself."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_hqsam2 import Mix, MixChannel
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import estimate_limits, to_unit_rgb
from napari_hqsam2.predictors.slow_reads import PatientSource
from napari_hqsam2.segmentation.mixing import MixedStack
from napari_hqsam2.segmentation.options import ImageSettings


@pytest.fixture
def stacks(rng):
    """Three stacks of one shape, of other types and ranges."""
    shape = (4, 12, 15)
    return (
        rng.integers(0, 4000, shape).astype(np.uint16),
        rng.integers(0, 255, shape).astype(np.uint8),
        rng.normal(0, 3, shape).astype(np.float32),
    )


def alone(stack, frame, limits, gamma=1.0):
    """One frame as the model sees it by itself, (H, W)."""
    view = ImageSettings(contrast_limits=limits, gamma=gamma).view(stack, "TYX")
    return to_unit_rgb(view.frames((0,), "T").read(frame), view.limits())[..., 0]


def seen(view, frame):
    return to_unit_rgb(view.frames((0,), "T").read(frame), view.limits())


def test_each_colour_is_what_its_stack_looks_like(stacks):
    one, two, three = stacks
    mix = Mix(
        red=MixChannel(),
        green=MixChannel(two, (20, 200), gamma=0.5),
        blue=MixChannel(three, (-2.0, 5.0)),
    )
    settings = ImageSettings(mix=mix, contrast_limits=(100, 3000), gamma=1.5)
    view = settings.view(one, "TYX")
    rgb = seen(view, 2)
    expected = [
        alone(one, 2, (100, 3000), 1.5),
        alone(two, 2, (20, 200), 0.5),
        alone(three, 2, (-2.0, 5.0)),
    ]
    np.testing.assert_allclose(rgb, np.stack(expected, axis=-1), atol=1e-6)
    assert view.axes.labels_shape == (4, 12, 15)


def test_limits_that_are_not_given_are_those_of_each_stack(stacks):
    one, _, three = stacks
    view = ImageSettings(mix=Mix(red=MixChannel(), blue=MixChannel(three))).view(
        one, "TYX"
    )
    red, green, blue = view.limits()
    assert red[:2] == pytest.approx(estimate_limits(open_frames(one)))
    assert blue[:2] == pytest.approx(estimate_limits(open_frames(three)), rel=1e-6)
    assert green == (0, 1, 1)
    assert not seen(view, 0)[..., 1].any()
    bytes_only = ImageSettings(mix=Mix(green=MixChannel())).view(stacks[1], "TYX")
    assert bytes_only.limits()[1] == (0, 255, 1)


def test_the_stack_itself_need_not_be_shown(stacks):
    one, two, _ = stacks
    colours = np.stack([one, one, one], axis=-1)
    view = ImageSettings(mix=Mix(blue=MixChannel(two, (0, 255)))).view(colours, "TYXC")
    np.testing.assert_allclose(seen(view, 1)[..., 2], two[1] / 255, atol=1e-6)


def test_images_are_mixed_too(stacks):
    one, two, _ = (stack[0] for stack in stacks)
    mix = Mix(red=MixChannel(None, (0, 4000)), green=MixChannel(two, (0, 255)))
    view = ImageSettings(mix=mix).image_view(one, "YX")
    rgb = seen(view, 0)
    np.testing.assert_allclose(rgb[..., 0], one / 4000, atol=1e-6)
    np.testing.assert_allclose(rgb[..., 1], two / 255, atol=1e-6)


def test_only_frames_that_are_asked_for_are_read(stacks):
    one, two, _ = stacks
    read = []

    def block(block_info):
        read.append(block_info[None]["chunk-location"][0])
        return two[read[-1] : read[-1] + 1]

    lazy = da.map_blocks(
        block,
        chunks=((1,) * 4, (12,), (15,)),
        dtype=two.dtype,
        meta=np.empty((0, 0, 0), two.dtype),
    )
    mix = Mix(red=MixChannel(None, (0, 1)), green=MixChannel(lazy, (0, 255)))
    source = ImageSettings(mix=mix).view(one, "TYX").frames((0,), "T")
    assert isinstance(source.source, PatientSource)
    frame = source.read(3)
    assert read == [3]
    np.testing.assert_array_equal(frame[..., 1], two[3])
    in_memory = ImageSettings(mix=Mix(red=MixChannel())).view(one, "TYX")
    assert not isinstance(in_memory.frames((0,), "T").source, PatientSource)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (np.zeros((4, 12, 16)), "blue has shape .4, 12, 16.; it must be"),
        (np.zeros((4, 12, 15), complex), "blue has dtype complex128"),
        ([np.zeros((12, 15))] * 4, "blue has no array"),
    ],
)
def test_stacks_that_do_not_fit_are_refused(stacks, other, problem):
    settings = ImageSettings(mix=Mix(red=MixChannel(), blue=MixChannel(other)))
    with pytest.raises(StackError, match=problem):
        settings.view(stacks[0], "TYX")


def test_what_cannot_be_one_colour_is_refused(stacks):
    settings = ImageSettings(mix=Mix(red=MixChannel(), green=MixChannel(stacks[1])))
    colours = np.zeros((4, 12, 15, 3), np.uint8)
    with pytest.raises(StackError, match="cannot be one colour"):
        settings.view(colours, "TYXC")
    with pytest.raises(StackError, match="cannot be one colour"):
        settings.view(open_frames(stacks[0]), "TYX")
    with pytest.raises(ValueError, match="at least one stack"):
        Mix()
    with pytest.raises(StackError, match="gamma=0"):
        MixChannel(gamma=0)
    with pytest.raises(StackError, match="gamma=nan"):
        ImageSettings(gamma=float("nan"))


def test_mixes_are_equal_if_they_show_the_same(stacks):
    one, two, _ = stacks
    mix = Mix(red=MixChannel(one, (0, 1)))
    assert mix == Mix(red=MixChannel(one, (0, 1)))
    assert hash(mix) == hash(Mix(red=MixChannel(one, (0, 1))))
    assert mix != Mix(red=MixChannel(one.copy(), (0, 1)))
    assert mix != Mix(green=MixChannel(one, (0, 1)))
    assert mix != Mix(red=MixChannel(one, (0, 1), gamma=2))
    assert MixChannel(two) != 3
    named = Mix(green=MixChannel(two, (0, 9), 0.5, "dapi"), blue=MixChannel())
    assert named.described == "green: dapi, blue: the stack"
    assert repr(named) == (
        "Mix(green=MixChannel(green_stack, (0, 9), gamma=0.5, name='dapi'), "
        "blue=MixChannel(None, None, gamma=None))"
    )


def test_a_mixed_stack_looks_like_an_array(stacks):
    one, two, _ = stacks
    mixed = MixedStack(Mix(red=MixChannel(one), blue=MixChannel(two)), one.shape)
    assert (mixed.shape, mixed.dtype) == ((3, *one.shape), np.uint16)
    assert mixed[2, 1].dtype == np.uint16
    np.testing.assert_array_equal(mixed[2, 1], two[1])
    assert mixed[1, 0, 2:5, 1:3].shape == (3, 2)
