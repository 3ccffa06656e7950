"""Prompts and a stack in, labels out; real code, and a small untrained model."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch
import zarr
from safetensors.torch import save_file
from skimage import measure

import napari_hqsam2
from napari_hqsam2 import (
    BoxPrompt,
    FramePrompts,
    Multiscale,
    PointPrompt,
    SAM2ImagePredictor,
    Session,
    api,
    iter_stack,
    segment_image,
    segment_stack,
)
from napari_hqsam2.build import build_sam2_video_predictor, with_settings
from napari_hqsam2.errors import (
    CheckpointError,
    FrameTimeoutError,
    PromptError,
    StackError,
)
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.segmentation.masks import paint
from napari_hqsam2.segmentation.stack_view import StackView
from napari_hqsam2.weights.cache import file_sha256


@pytest.fixture(scope="module")
def predictor(make_untrained):
    return make_untrained(128)


@pytest.fixture
def stack(rng):
    return rng.integers(0, 60_000, (6, 40, 50), dtype=np.uint16)


def click(obj_id, *position, y=10.0, x=12.0):
    return FramePrompts(position, obj_id, (PointPrompt(y, x),))


def box(obj_id, *position):
    return FramePrompts(position, obj_id, box=BoxPrompt(20, 20, 35, 45))


def masks_of(results):
    """Last result of each frame, as {(position, object): (H, W) mask}."""
    found = {}
    for result in results:
        for item in result.masks:
            full = np.zeros((40, 50), dtype=bool)
            full[item.window] = item.mask
            found[result.position, item.obj_id] = full
    return found


def view_limits(image):
    return StackView.of_image(image, "YX").limits()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], mask, err_msg=str(key))


def test_an_object_is_followed_both_ways_from_its_own_first_prompt(predictor, stack):
    prompts = [click(5, 3), box(2, 1)]
    results = list(iter_stack(stack, prompts, model=predictor))
    seen = [(r.position[0], [m.obj_id for m in r.masks]) for r in results]
    forward = [(1, [2]), (2, [2]), (3, [2, 5]), (4, [2, 5]), (5, [2, 5])]
    # frames between the two prompts come again, complete
    assert seen == [*forward, (2, [2, 5]), (1, [2, 5]), (0, [2, 5])]
    assert all(m.mask.any() for r in results for m in r.masks)


@pytest.mark.parametrize("prompt", [click(1, 3), box(1, 3)], ids=["click", "box"])
def test_directions_do_not_depend_on_each_other(predictor, stack, prompt):
    def run(direction):
        return masks_of(
            iter_stack(stack, [prompt], model=predictor, direction=direction)
        )

    both, forward, backward = run("both"), run("forward"), run("backward")
    assert {position for (position,), _ in forward} == {3, 4, 5}
    assert {position for (position,), _ in backward} == {0, 1, 2, 3}
    assert_same(both, forward | backward)


def test_backward_from_the_first_frame_is_that_frame(predictor, stack):
    backward = iter_stack(stack, [click(1, 0)], model=predictor, direction="backward")
    forward = iter_stack(stack, [click(1, 0)], model=predictor, frames=(0, 1))
    assert_same(masks_of(backward), masks_of(forward))


def test_objects_together_are_what_they_are_alone(predictor, stack):
    """Apart from pixels that both claim, which go to one of them."""
    prompts = [click(5, 3), box(2, 1), click(9, 5, y=30, x=40)]
    together = masks_of(iter_stack(stack, prompts, model=predictor))
    alone = {}
    for prompt in prompts:
        alone |= masks_of(iter_stack(stack, [prompt], model=predictor))
    assert together.keys() == alone.keys()
    for frame in range(6):
        claimed = sum(alone[(frame,), i].astype(int) for i in (2, 5, 9))
        given = sum(together[(frame,), i].astype(int) for i in (2, 5, 9))
        np.testing.assert_array_equal(given, claimed > 0)
        for obj_id in (2, 5, 9):
            single = alone[(frame,), obj_id]
            np.testing.assert_array_equal(
                together[(frame,), obj_id] & (claimed == 1), single & (claimed == 1)
            )


def test_the_order_of_prompts_does_not_matter(predictor, stack):
    prompts = [click(5, 3), box(2, 1), click(5, 4, y=5)]
    first = masks_of(iter_stack(stack, prompts, model=predictor))
    second = masks_of(iter_stack(stack, prompts[::-1], model=predictor))
    assert_same(second, first)


def test_every_prompted_frame_counts(predictor, stack):
    one = masks_of(iter_stack(stack, [click(1, 1)], model=predictor))
    more = masks_of(
        iter_stack(stack, [click(1, 1), click(1, 4, y=33, x=3)], model=predictor)
    )
    assert (one[(1,), 1] == more[(1,), 1]).all()
    assert (one[(4,), 1] != more[(4,), 1]).any()


def test_a_mask_prompt_is_the_object_on_its_frame(predictor, stack):
    mask = np.zeros((40, 50), dtype=bool)
    mask[5:17, 8:23] = True
    mask[9, 11] = False
    prompts = [FramePrompts((2,), 7, mask=mask), click(1, 2)]
    labels = segment_stack(stack, prompts, model=predictor)
    np.testing.assert_array_equal(labels[2] == 7, mask)
    assert (labels[4] == 7).any()


def test_objects_can_be_kept_in_one_piece(predictor, stack):
    every, one = {"model": predictor}, {"model": predictor, "one_piece": True}
    prompts = [click(1, 3)]
    whole, largest = (
        segment_stack(stack, prompts, axes="TYX", **options) for options in (every, one)
    )
    assert (whole[3] >= largest[3]).all()
    assert whole[3].sum() > largest[3].sum()
    prompts = [replace(click(1, 3), position=())]
    whole, largest = (
        segment_image(stack[3], prompts, **options) for options in (every, one)
    )
    assert (whole >= largest).all()
    assert whole.sum() > largest.sum()


def test_one_piece_holds_on_every_frame_on_the_grid_of_the_network(predictor, stack):
    most = []
    for one_piece in (False, True):
        tracker = with_settings(predictor, one_piece=one_piece)
        session = tracker.init_state(stack)
        tracker.add_new_points_or_box(session, 1, 1, points=[[12, 10]], labels=[1])
        found = [out.low_res[0, 0] > 0 for out in tracker.propagate(session)]
        masks = [mask.numpy() for mask in found]
        assert len(masks) == 5
        most.append(max(measure.label(mask, connectivity=2).max() for mask in masks))
    assert most[0] > 1
    assert most[1] == 1


def test_frames_limit_the_range(predictor, stack):
    results = list(iter_stack(stack, [click(1, 3)], model=predictor, frames=(2, 5)))
    assert [r.position[0] for r in results] == [3, 4, 2]
    # and nothing outside of them is looked at
    blind = stack.copy()
    blind[:2] = blind[5:] = 0
    limits = (0.0, 60_000.0)
    inside = {
        name: masks_of(
            iter_stack(
                pixels,
                [click(1, 3)],
                model=predictor,
                frames=(2, 5),
                contrast_limits=limits,
            )
        )
        for name, pixels in (("whole", stack), ("blind", blind))
    }
    assert_same(inside["blind"], inside["whole"])


class TestFourDimensions:
    @pytest.fixture
    def volume(self, rng):
        return rng.integers(0, 255, (2, 3, 40, 50), dtype=np.uint8)

    @pytest.mark.parametrize("axis", ["T", "Z"])
    def test_each_place_along_the_other_axes_is_a_run_of_its_own(
        self, predictor, volume, axis
    ):
        prompts = [click(1, 1, 2), box(2, 0, 1)]
        found = masks_of(
            iter_stack(volume, prompts, model=predictor, axes="TZYX", axis=axis)
        )
        place = volume[1] if axis == "Z" else volume[:, 2]
        frame = 2 if axis == "Z" else 1
        alone = masks_of(iter_stack(place, [click(1, frame)], model=predictor))
        lifted = {
            ((1, p) if axis == "Z" else (p, 2), obj_id): mask
            for ((p,), obj_id), mask in alone.items()
        }
        assert_same({k: m for k, m in found.items() if k[1] == 1}, lifted)

    def test_labels_have_the_leading_axes_then_y_and_x(self, predictor, volume):
        moved = np.moveaxis(volume, (0, 1), (3, 2))
        prompts = [click(1, 2, 1)]
        expected = segment_stack(
            volume.swapaxes(0, 1), prompts, model=predictor, axes="ZTYX", axis="T"
        )
        labels = segment_stack(moved, prompts, model=predictor, axes="YXZT", axis="T")
        assert labels.shape == (3, 2, 40, 50)
        np.testing.assert_array_equal(labels, expected)
        assert labels[2].any()
        assert not labels[:2].any()


def test_lazy_stacks_are_read_frame_by_frame(predictor, stack):
    read = []

    def note(block, block_info):
        read.append(block_info[0]["chunk-location"][0])
        return block

    stack = np.concatenate([stack, stack[::-1]])
    lazy = da.from_array(stack, chunks=(1, 40, 50)).map_blocks(note, dtype=stack.dtype)
    limits = (0.0, 60_000.0)
    expected = segment_stack(
        stack, [click(1, 2)], model=predictor, contrast_limits=limits
    )
    labels = []
    read.clear()
    results = iter_stack(
        lazy,
        [click(1, 2)],
        model=predictor,
        contrast_limits=limits,
        direction="forward",
    )
    assert read == []
    for result in results:
        labels.append(result)
        done = range(2, 2 + len(labels))
        ahead = range(2, min(done.stop + predictor.config.prefetch, 12))
        assert set(done) <= set(read) <= set(ahead)
    assert len(labels) == 10
    np.testing.assert_array_equal(masks_of(labels)[(5,), 1], expected[5] == 1)


@pytest.mark.parametrize("kind", ["zarr", "list", "file", "source"])
def test_all_kinds_of_stacks_give_the_same(predictor, stack, tmp_path, kind):
    from napari_hqsam2.predictors.frame_source import open_frames  # noqa: PLC0415

    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX"})
    given = {
        "zarr": zarr.array(stack, chunks=(1, 40, 50)),
        "list": list(stack),
        "file": path,
        "source": open_frames(stack),
    }
    prompts = [click(1, 2)]
    expected = segment_stack(stack, prompts, model=predictor)
    labels = segment_stack(given[kind], prompts, model=predictor)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


class TestColours:
    @pytest.fixture
    def stained(self, rng):
        return rng.integers(0, 4000, (3, 4, 40, 50), dtype=np.uint16)

    def test_a_chosen_channel_is_a_grey_stack(self, predictor, stained):
        one = segment_stack(
            stained, [click(1, 1)], model=predictor, axes="TCYX", channels=(2,)
        )
        grey = segment_stack(stained[:, 2], [click(1, 1)], model=predictor)
        np.testing.assert_array_equal(one, grey)

    def test_channels_become_red_green_and_blue(self, predictor, stained):
        limits = ((0.0, 3000.0), (500.0, 4000.0), (100.0, 200.0))
        labels = segment_stack(
            stained,
            [click(1, 1)],
            model=predictor,
            axes="TCYX",
            channels=(3, 0, 1),
            contrast_limits=limits,
        )
        rgb = np.stack(
            [
                np.clip((stained[:, c] - low) / (high - low), 0, 1)
                for c, (low, high) in zip((3, 0, 1), limits, strict=True)
            ],
            axis=-1,
        ).astype(np.float32)
        expected = segment_stack(
            rgb, [click(1, 1)], model=predictor, contrast_limits=(0, 1)
        )
        np.testing.assert_array_equal(labels, expected)

    def test_stains_get_limits_of_their_own(self, predictor, stained):
        dim = stained.astype(np.float32)
        dim[:, 1] /= 1000
        options = {"model": predictor, "axes": "TCYX", "channels": (0, 1)}
        np.testing.assert_array_equal(
            segment_stack(dim, [click(1, 1)], **options),
            segment_stack(stained.astype(np.float32), [click(1, 1)], **options),
        )

    def test_four_stains_need_a_choice(self, predictor, stained):
        with pytest.raises(StackError, match=r"has 4 channels.*channels=\(0, 1\)"):
            segment_stack(stained, [click(1, 1)], model=predictor, axes="TCYX")

    @pytest.mark.parametrize("channels", [1, "01", (0, 1.5), np.array([[0]])])
    def test_channels_are_a_list(self, stained, channels):
        with pytest.raises(StackError, match=r"give one to three, such as"):
            segment_stack(stained, [click(1, 1)], axes="TCYX", channels=channels)

    def test_numbers_of_numpy(self, predictor, stained):
        options = {"model": predictor, "axes": "TCYX"}
        np.testing.assert_array_equal(
            segment_stack(stained, [click(1, 1)], channels=np.array([2, 0]), **options),
            segment_stack(stained, [click(1, 1)], channels=(2, 0), **options),
        )


class TestOut:
    def test_other_labels_stay(self, predictor, stack):
        free = segment_stack(stack, [click(4, 2)], model=predictor)
        out = np.zeros((6, 40, 50), dtype=np.uint16)
        out[:, :, 10:20] = 9
        out[:, 0, 0] = 4
        returned = segment_stack(stack, [click(4, 2)], model=predictor, out=out)
        assert returned is out
        assert (out[:, :, 10:20] == 9).all()
        outside = np.ones(50, dtype=bool)
        outside[10:20] = False
        np.testing.assert_array_equal(out[:, :, outside] == 4, free[:, :, outside] == 4)

    def test_zarr_is_written_in_place(self, predictor, stack):
        out = zarr.zeros((6, 40, 50), chunks=(1, 40, 50), dtype="i4")
        segment_stack(stack, [click(4, 2)], model=predictor, out=out)
        expected = segment_stack(stack, [click(4, 2)], model=predictor)
        np.testing.assert_array_equal(out[:], expected)

    @pytest.mark.parametrize(
        ("shape", "dtype", "problem"),
        [
            ((5, 40, 50), np.int32, r"out has shape \(5, 40, 50\); labels .* \(TYX\)"),
            ((6, 40, 50), np.uint8, "hold ids up to 255, but an object has id 300"),
            ((6, 40, 50), np.float32, "integer dtype, got float32"),
        ],
    )
    def test_labels_that_do_not_fit_are_refused(
        self, predictor, stack, shape, dtype, problem
    ):
        out = np.zeros(shape, dtype)
        with pytest.raises(StackError, match=problem):
            segment_stack(stack, [click(300, 2)], model=predictor, out=out)
        assert not out.any()


def test_progress_counts_every_frame(predictor, stack):
    seen = []
    prompts = [click(5, 3), box(2, 1)]
    segment_stack(
        stack, prompts, model=predictor, progress=lambda *step: seen.append(step)
    )
    assert seen == [(i, 8) for i in range(1, 9)]


def test_cancelling_keeps_the_frames_that_are_finished(predictor, stack):
    done = []
    labels = segment_stack(
        stack,
        [click(1, 2)],
        model=predictor,
        progress=lambda *step: done.append(step),
        cancel=lambda: len(done) >= 2,
    )
    assert [bool(frame.any()) for frame in labels] == [0, 0, 1, 1, 0, 0]


def test_cancelling_before_the_start_does_nothing(predictor, stack):
    labels = segment_stack(stack, [click(1, 2)], model=predictor, cancel=lambda: True)
    assert not labels.any()


def test_closing_the_iterator_ends_the_work(predictor, stack):
    read = []

    class Counting:
        hw = (40, 50)

        def __len__(self):
            return len(stack)

        def read(self, index):
            read.append(index)
            return stack[index]

    results = iter_stack(
        Counting(), [click(1, 2)], model=predictor, contrast_limits=(0, 60_000)
    )
    next(results)
    results.close()
    seen = list(read)
    # frames are read ahead, but no longer than the work goes on
    assert max(seen) <= 2 + predictor.config.prefetch
    assert next(results, None) is None
    assert read == seen


def test_what_is_followed_is_logged(predictor, stack, caplog):
    caplog.set_level(logging.INFO, logger="napari_hqsam2")
    next(iter_stack(stack, [click(1, 2)], model=predictor))
    assert "1 objects along T of T=6, Y=40, X=50, frames 0 to 5" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"axes": "TZYX"}, StackError, "names 4 axes but the array has 3"),
        ({"axis": "Z"}, StackError, "axis='Z' is not an axis .* choose one of T"),
        ({"frames": (0, 9)}, StackError, r"0 <= start < stop <= 6"),
        ({"frames": (3, 6)}, PromptError, "prompted at T=2, outside the range"),
        ({"direction": "up"}, ValueError, "direction='up' is not one of forward"),
        ({"hq_mode": "best"}, ValueError, "hq_mode='best' is not one of add"),
        ({"tracking": "fast"}, ValueError, "tracking='fast' is not one of exact"),
        ({"resolution": 100}, ValueError, "resolution=100 is not a multiple of 32"),
        ({"model": "sam9"}, ValueError, "Unknown model 'sam9'"),
        ({"colour": 1}, TypeError, "colour"),
    ],
)
def test_wrong_options_are_refused_before_any_work(stack, options, error, problem):
    with pytest.raises(error, match=problem):
        iter_stack(stack, [click(1, 2)], **options)


@pytest.mark.parametrize("stack", [None, 3, "no such file.tif", []])
def test_what_is_no_stack_is_refused(predictor, stack):
    with pytest.raises(StackError, match=r"is not a stack|There is no file"):
        iter_stack(stack, [click(1, 2)], model=predictor)


class TestImage:
    @pytest.fixture
    def image(self, stack):
        return stack[0]

    def test_objects_are_labelled(self, predictor, image):
        prompts = [click(5), box(2)]
        labels = segment_image(image, prompts, model=predictor)
        assert (labels.shape, labels.dtype) == ((40, 50), np.int32)
        assert set(np.unique(labels)) == {0, 2, 5}

    @pytest.mark.parametrize(
        "prompt",
        [
            click(1),
            box(1),
            FramePrompts((), 1, (PointPrompt(9, 9), PointPrompt(3, 3, False))),
        ],
        ids=["click", "box", "clicks"],
    )
    @pytest.mark.parametrize("hq_mode", ["add", "only", "off"])
    def test_masks_are_those_of_sams_own_verb(self, predictor, image, prompt, hq_mode):
        """One click takes the best of three; the next one corrects it."""
        shift = 0.5 - 0.5 * np.array([50, 40]) / 128
        single_image = SAM2ImagePredictor(predictor.model, hq=hq_mode)
        single_image.set_image(
            to_unit_rgb(image, view_limits(image)), contrast_limits=(0.0, 1.0)
        )
        points = np.array([(p.x, p.y) for p in prompt.points]).reshape(-1, 2)
        signs = [int(p.positive) for p in prompt.points]
        low_res = None
        for count in range(1, len(points) + 1) or (0,):
            masks, scores, logits = single_image.predict(
                points[:count] + shift if count else None,
                signs[:count] or None,
                box=prompt.box and np.add([20, 20, 44, 34], np.tile(shift, 2)),
                mask_input=low_res,
                multimask_output=count == 1,
            )
            best = min(scores.argmax(), len(masks) - 1)
            chosen, low_res = masks[best], logits[best][None]
        labels = segment_image(image, [prompt], model=predictor, hq_mode=hq_mode)
        np.testing.assert_array_equal(labels == 1, chosen)

    def test_objects_together_are_what_they_are_alone(self, predictor, image):
        """Of different kinds, more than fit into a batch."""
        prompts = [click(n, y=n % 7 * 5 + 2, x=n % 8 * 6 + 2) for n in range(1, 12)]
        prompts += [box(20), FramePrompts((), 21, (PointPrompt(9, 9),) * 2)]
        together = segment_image(image, prompts, model=predictor)
        alone = [segment_image(image, [p], model=predictor) for p in prompts]
        claimed = np.count_nonzero(alone, axis=0)
        np.testing.assert_array_equal(together > 0, claimed > 0)
        once = claimed == 1
        np.testing.assert_array_equal(together[once], sum(alone)[once])

    def test_the_first_frame_of_a_stack_looks_alike(self, predictor, image):
        """Images are resized bilinearly, frames bicubically; nothing else differs."""
        smooth = np.add.outer(np.arange(40.0), np.arange(50.0)) % 37
        image_labels = segment_image(smooth, [box(1)], model=predictor)
        stack_labels = segment_stack(smooth[np.newaxis], [box(1, 0)], model=predictor)
        agree = (image_labels == stack_labels[0]).mean()
        assert agree > 0.95

    def test_colours_may_come_first_or_last(self, predictor, rng):
        rgb = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        last = segment_image(rgb, [click(1)], model=predictor, axes="YXC")
        first = segment_image(
            np.moveaxis(rgb, -1, 0), [click(1)], model=predictor, axes="CYX"
        )
        np.testing.assert_array_equal(first, last)

    def test_a_mask_is_taken_as_it_is(self, predictor, image):
        mask = np.zeros((40, 50), dtype=bool)
        mask[3:9, 4:30] = True
        prompts = [FramePrompts((), 3, mask=mask)]
        labels = segment_image(image, prompts, model=predictor)
        np.testing.assert_array_equal(labels, 3 * mask)

    def test_hq_modes_differ(self, predictor, image):
        labels = [
            segment_image(image, [box(1)], model=predictor, hq_mode=mode)
            for mode in ("add", "only", "off")
        ]
        assert (labels[0] != labels[1]).any()
        assert (labels[0] != labels[2]).any()

    @pytest.mark.parametrize(
        ("axes", "prompts", "error", "problem"),
        [
            ("TYX", [click(1)], StackError, r"is a stack \(T=2.*use segment_stack"),
            ("YX", [click(1)], StackError, "names 2 axes but the array has 3"),
            ("YXC", [click(1, 0)], PromptError, "0 leading axes"),
            ("YXC", [], PromptError, "There are no prompts"),
            ("YXC", [click(1, y=99)], PromptError, "lies outside the image of 2 x 40"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, predictor, axes, prompts, error, problem
    ):
        with pytest.raises(error, match=problem):
            segment_image(np.zeros((2, 40, 3)), prompts, model=predictor, axes=axes)


class TestSpeed:
    """Options that give away exactness or detail, run by run."""

    def test_a_resolution_for_one_run(self, predictor, stack):
        prompts = [click(1, 2), box(2, 3)]
        draft = build_sam2_video_predictor(
            "sam2.1_hq_hiera_nano", device="cpu", resolution=96
        )
        draft.load_state_dict(predictor.state_dict())
        expected = segment_stack(stack, prompts, model=draft)
        labels = segment_stack(stack, prompts, model=predictor, resolution=96)
        np.testing.assert_array_equal(labels, expected)
        assert predictor.image_size == 128
        own = segment_stack(stack, prompts, model=predictor)
        assert (own != labels).any()

    def test_images_take_a_resolution_too(self, predictor, stack):
        prompts = [box(2)]
        own = segment_image(stack[0], prompts, model=predictor)
        labels = segment_image(stack[0], prompts, model=predictor, resolution=64)
        assert (own != labels).any()
        same = segment_image(stack[0], prompts, model=predictor, resolution=128)
        np.testing.assert_array_equal(same, own)

    def test_tracking_for_one_run(self, predictor, stack, monkeypatch):
        seen = []
        propagate = SAM2VideoPredictor.propagate

        def spy(self, *args, **kwargs):
            seen.append(self.config.tracking)
            return propagate(self, *args, **kwargs)

        monkeypatch.setattr(SAM2VideoPredictor, "propagate", spy)
        for tracking in ("local", None, "exact"):
            segment_stack(
                stack,
                [click(1, 2)],
                model=predictor,
                tracking=tracking,
                direction="forward",
                crop="off",
            )
        assert seen == ["local", "exact", "exact"]
        local = with_settings(predictor, tracking="local")
        segment_stack(stack, [click(1, 5)], model=local, direction="forward")
        assert seen[-1] == "local"

    def test_models_by_name_get_the_same_options(self, stack, monkeypatch):
        compiled = []
        monkeypatch.setattr("napari_hqsam2.build.compile_model", compiled.append)
        monkeypatch.setattr(api, "compile_model", compiled.append)
        loaded = api.load_model(
            device="cpu", tracking="local", resolution=64, compile=True
        )
        assert (loaded.config.tracking, loaded.image_size) == ("local", 64)
        assert compiled == [loaded.model]
        options = {"device": "cpu", "resolution": 64, "compile": True}
        by_name = segment_image(stack[0], [box(1)], **options)
        assert len(compiled) == 2
        expected = segment_image(stack[0], [box(1)], model=loaded)
        np.testing.assert_array_equal(by_name, expected)
        with pytest.raises(ValueError, match="use 64"):
            api.load_model(device="cpu", resolution=65)


def test_cancelling_ends_a_frame_between_batches(predictor, stack):
    """What is asked between two batches of objects ends the frame under way."""
    asked = []
    few = SAM2VideoPredictor(predictor.model, replace(predictor.config, max_batch=1))
    prompts = [click(n, 0, y=3.0 * n) for n in range(1, 6)]
    run = {"model": few, "direction": "forward"}

    def calls_until(limit):
        asked.clear()
        return list(
            iter_stack(
                stack,
                prompts,
                cancel=lambda: asked.append(len(asked)) or len(asked) > limit,
                **run,
            )
        )

    complete = calls_until(10**6)
    assert len(complete) == 6
    most = len(asked)
    assert most > 5 * len(prompts)
    kept = calls_until(most - 3)
    assert len(kept) == 5


def test_prompts_are_predicted_once_for_both_directions(predictor, stack, monkeypatch):
    seen = []
    predict = SAM2VideoPredictor.predict_clicks

    def spy(self, session, frame, obj_id, clicks, **kwargs):
        seen.append((frame, obj_id))
        return predict(self, session, frame, obj_id, clicks, **kwargs)

    monkeypatch.setattr(SAM2VideoPredictor, "predict_clicks", spy)
    prompts = [click(5, 3), box(2, 1)]
    list(iter_stack(stack, prompts, model=predictor, crop="off"))
    assert seen == [(1, 2), (3, 5)]


def test_load_model_builds_with_a_file_of_weights(predictor, tmp_path):
    torch.manual_seed(1)
    source = build_sam2_video_predictor("sam2.1_hq_hiera_nano", device="cpu")
    path = tmp_path / "own.pt"
    torch.save({"model": source.state_dict()}, path)
    loaded = api.load_model(checkpoint=path, device="cpu")
    for name, value in source.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)
    with pytest.raises(CheckpointError):
        api.load_model("sam2.1_hiera_tiny", checkpoint=path, device="cpu")


def test_weights_of_ones_own_are_an_option(predictor, stack, tmp_path):
    torch.manual_seed(2)
    source = build_sam2_video_predictor("sam2.1_hq_hiera_nano", device="cpu")
    path = str(tmp_path / "own.safetensors")
    save_file(source.state_dict(), path)
    options = {"device": "cpu", "crop": "off", "contrast_limits": (0, 60_000)}
    own = segment_image(stack[0], [click(1)], checkpoint=path, **options)
    same = segment_image(stack[0], [click(1)], model=source, **options)
    usual = segment_image(stack[0], [click(1)], **options)
    np.testing.assert_array_equal(own, same)
    assert not np.array_equal(own, usual)
    session = Session(stack, axes="TYX", checkpoint=path, **options)
    session.add_points(session.new_object(), [(0, 10, 12)])
    (wanted,) = segment_stack(
        stack[:1], [click(1, 0)], axes="TYX", model=source, **options
    )
    session.segment(0)
    np.testing.assert_array_equal(session.labels[0], wanted)
    assert f"checkpoint={path!r}" in session.as_python()
    assert session.provenance()["weights_sha256"] == file_sha256(Path(path))
    with pytest.raises(ValueError, match="load_model"):
        segment_image(stack[0], [click(1)], model=predictor, checkpoint=path)


def test_public_names_are_there_and_no_others():
    for name in napari_hqsam2.__all__:
        assert getattr(napari_hqsam2, name) is not None
        assert name in dir(napari_hqsam2)
    assert napari_hqsam2.paint is paint
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = napari_hqsam2.nonsense


@pytest.mark.parametrize("prompt", [click(1, 2, y=7, x=31), box(1, 2)])
def test_prompts_reach_the_predictor_where_they_were_placed(predictor, stack, prompt):
    """Data (y, x) on pixel centres are (x, y) + 0.5 - 0.5 W / S in SAM's own verbs."""
    shift = 0.5 - 0.5 * np.array([50, 40]) / 128
    session = predictor.init_state(stack)
    if prompt.box is None:
        asked = {"points": np.array([[31, 7]]) + shift, "labels": [1]}
    else:
        asked = {"box": [*(np.array([20, 20]) + shift), *(np.array([44, 34]) + shift)]}
    predictor.add_new_points_or_box(session, 2, 1, **asked)
    expected = {}
    for frame, _, logits in predictor.propagate_in_video(session):
        expected[(frame,), 1] = (logits[0, 0] > 0).numpy()
    run = iter_stack(stack, [prompt], model=predictor, direction="forward")
    assert_same(masks_of(run), expected)


@pytest.fixture
def stuck(stack, make_stuck):
    return make_stuck(stack, 4)


LIMITS = (0.0, 60_000.0)


def test_a_frame_that_does_not_come_ends_the_work_and_is_named(stuck, predictor):
    run = iter_stack(
        stuck,
        [click(1, 1)],
        axes="TYX",
        model=predictor,
        contrast_limits=LIMITS,
        read_timeout=0.5,
    )
    done = [next(run).position for _ in range(3)]
    assert done == [(1,), (2,), (3,)]
    with pytest.raises(FrameTimeoutError, match=r"Frame T=4 did not come within 0.5 s"):
        next(run)
    with pytest.raises(FrameTimeoutError, match="Frame T=4"):
        segment_stack(
            stuck, [click(1, 1)], axes="TYX", model=predictor, read_timeout=0.2
        )


@pytest.mark.parametrize("crop", ["off", 64])
@pytest.mark.parametrize("limits", [LIMITS, None])
def test_work_that_waits_for_a_frame_can_be_cancelled(stuck, predictor, limits, crop):
    over, counts = threading.Event(), []

    def progress(done, total):
        counts.append(done)
        if done == 3:
            threading.Timer(0.2, over.set).start()

    if limits is None:
        over.set()
    labels = segment_stack(
        stuck,
        [click(1, 1)],
        axes="TYX",
        model=predictor,
        contrast_limits=limits,
        read_timeout=None,
        crop=crop,
        progress=progress,
        cancel=over.is_set,
    )
    frames = [bool(frame.any()) for frame in labels]
    done = [] if limits is None else [1, 2, 3]
    assert frames == [frame in done for frame in range(6)]
    assert counts == done


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_impossible_times_to_wait_are_refused(stack, predictor, seconds):
    with pytest.raises(ValueError, match="read_timeout"):
        segment_stack(stack, [click(1, 1)], model=predictor, read_timeout=seconds)


@pytest.fixture(scope="module")
def large():
    """Two bright discs on large frames, and what lies at a quarter of the detail."""
    rows, columns = np.mgrid[:1024, :1024]
    frames = np.full((3, 1024, 1024), 40, np.uint8)
    for t, frame in enumerate(frames):
        for y, x in ((300, 300 + 9 * t), (700, 600)):
            frame[(rows - y) ** 2 + (columns - x) ** 2 < 150**2] = 200
    coarse = frames.reshape(3, 256, 4, 256, 4).mean(axis=(2, 4)).astype(np.uint8)
    return frames, coarse


@pytest.mark.parametrize("crop", ["off", "auto"])
def test_a_coarser_level_gives_the_masks_of_the_finest(large, predictor, crop):
    fine, coarse = large
    read = []

    class Level:
        shape, dtype = fine.shape, fine.dtype

        def __getitem__(self, key):
            read.append(fine[key].size)
            return fine[key]

    prompts = [
        FramePrompts((0,), 1, box=BoxPrompt(150, 150, 450, 450)),
        FramePrompts((0,), 2, (PointPrompt(700, 600),)),
    ]
    shown = {"model": predictor, "crop": crop, "contrast_limits": (0, 255)}
    options = {"axes": "TYX", **shown}
    expected = segment_stack(fine, prompts, **options)
    del read[:]
    labels = segment_stack(Multiscale([Level(), coarse]), prompts, **options)
    assert labels.shape == fine.shape
    for obj_id in (1, 2):
        both = (labels == obj_id) & (expected == obj_id)
        either = (labels == obj_id) | (expected == obj_id)
        assert both.sum() / either.sum() > 0.95
    assert sum(read) < fine[0].size
    session = Session(Multiscale([fine, coarse]), **options)
    for prompt in prompts:
        session.new_object(obj_id=prompt.obj_id)
        session.set_prompts(prompt.obj_id, (0,), points=prompt.points, box=prompt.box)
    list(session.propagate())
    np.testing.assert_array_equal(session.labels, labels)
    picture = session.model_view(1).picture
    whole = Session(fine, **options).model_view(1).picture
    assert np.abs(picture.astype(int) - whole).mean() < 1
    image = [FramePrompts((), p.obj_id, p.points, p.box) for p in prompts]
    by_level = segment_image(Multiscale([fine[0], coarse[0]]), image, **shown)
    of_finest = segment_image(fine[0], image, **shown)
    assert ((by_level > 0) == (of_finest > 0)).mean() > 0.97
