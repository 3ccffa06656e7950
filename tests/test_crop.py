"""Objects of large frames, looked at and followed in windows of their own."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from napari_hqsam2 import (
    BoxPrompt,
    FramePrompts,
    PointPrompt,
    Session,
    iter_stack,
    load_model,
    segment_image,
    segment_stack,
)
from napari_hqsam2.build import with_settings
from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.segmentation.options import StackSettings
from napari_hqsam2.segmentation.window_prompting import WindowTracker
from napari_hqsam2.segmentation.window_tracking import WindowRun
from napari_hqsam2.segmentation.windows import window_rule

SIDE, RADIUS, FRAMES = 1000, 6, 3
CENTRES = {1: (200, 240), 2: (216, 258), 3: (640, 505), 4: (985, 12)}
"""First (y, x) of discs; 1 and 2 are neighbours, 4 lies at the border."""
STEP = (-4, 5)
"""Pixels from frame to frame."""


@pytest.fixture(scope="module")
def untrained(make_untrained):
    return make_untrained()


@pytest.fixture(scope="module")
def trained():
    return load_model(device="cpu")


@pytest.fixture
def noise(rng):
    """(4, 150, 200): more than one and a half times what the small model sees."""
    return rng.integers(0, 60_000, (4, 150, 200), dtype=np.uint16)


@pytest.fixture(scope="module")
def truth():
    """(T, Y, X) labels of discs that drift."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((FRAMES, SIDE, SIDE), dtype=np.int32)
    for frame in range(FRAMES):
        for obj_id, centre in CENTRES.items():
            cy, cx = np.array(centre) + frame * np.array(STEP)
            labels[frame][np.hypot(y - cy, x - cx) < RADIUS] = obj_id
    return labels


@pytest.fixture(scope="module")
def discs(truth):
    rng = np.random.default_rng(0)
    bright = np.where(truth > 0, 170, 40).astype(np.float64)
    return np.clip(bright + rng.normal(0, 8, bright.shape), 0, 255).astype(np.uint8)


def click(obj_id, *position, y=30.0, x=40.0):
    return FramePrompts(position, obj_id, (PointPrompt(y, x),))


def box(obj_id, *position):
    return FramePrompts(position, obj_id, box=BoxPrompt(90, 120, 110, 150))


def disc_box(obj_id):
    y, x = CENTRES[obj_id]
    sides = y - RADIUS, x - RADIUS, y + RADIUS, x + RADIUS
    return FramePrompts((0,), obj_id, box=BoxPrompt(*np.clip(sides, 0, SIDE)))


def iou(one, other):
    return (one & other).sum() / max((one | other).sum(), 1)


def test_small_objects_of_large_frames_are_found_and_followed(trained, discs, truth):
    prompts = [disc_box(obj_id) for obj_id in CENTRES]
    found = segment_stack(discs, prompts, axes="TYX", model=trained)
    whole = segment_stack(discs, prompts, axes="TYX", model=trained, crop="off")
    scores = {
        (name, obj_id): np.mean(
            [iou(labels[t] == obj_id, truth[t] == obj_id) for t in range(FRAMES)]
        )
        for name, labels in (("windows", found), ("whole", whole))
        for obj_id in CENTRES
    }
    assert min(scores["windows", obj_id] for obj_id in CENTRES) > 0.75, scores
    assert np.mean([scores["whole", obj_id] for obj_id in CENTRES]) < 0.75, scores


def test_one_image_is_as_the_first_frame_of_a_stack(trained, discs, truth):
    prompts = [FramePrompts((), p.obj_id, box=p.box) for p in map(disc_box, CENTRES)]
    labels = segment_image(discs[0], prompts, model=trained)
    for obj_id in CENTRES:
        assert iou(labels == obj_id, truth[0] == obj_id) > 0.75


def test_a_session_sees_the_same_windows(trained, discs):
    prompts = [disc_box(1), disc_box(3)]
    wanted = segment_stack(discs[:3], prompts, axes="TYX", model=trained)
    session = Session(discs[:3], axes="TYX", model=trained)
    for prompt in prompts:
        session.new_object(obj_id=prompt.obj_id)
        session.set_prompts(prompt.obj_id, prompt.position, box=prompt.box)
    for _ in session.propagate("T"):
        pass
    np.testing.assert_array_equal(session.labels, wanted)


@pytest.mark.parametrize("crop", ["auto", 64, 100])
def test_objects_together_are_what_they_are_alone(untrained, noise, crop):
    prompts = [click(1, 0), box(2, 1), click(3, 2, y=100.0, x=130.0)]

    def masks_of(some):
        results = iter_stack(noise, some, axes="TYX", model=untrained, crop=crop)
        return {
            (result.position, mask.obj_id): (mask.object_score, mask.iou_score)
            for result in results
            for mask in result.masks
        }

    together = masks_of(prompts)
    assert len(together) == 12
    for prompt in prompts:
        for place, scores in masks_of([prompt]).items():
            np.testing.assert_allclose(together[place], scores, atol=1e-3)


@pytest.mark.parametrize("crop", ["auto", 64])
def test_directions_do_not_depend_on_each_other(untrained, noise, crop):
    options = {"axes": "TYX", "model": untrained, "crop": crop}
    both = segment_stack(noise, [box(1, 2)], **options)
    forward = segment_stack(noise, [box(1, 2)], direction="forward", **options)
    backward = segment_stack(noise, [box(1, 2)], direction="backward", **options)
    np.testing.assert_array_equal(both[2:], forward[2:])
    np.testing.assert_array_equal(both[:3], backward[:3])
    assert not forward[:2].any()
    first = segment_stack(noise, [box(1, 0)], direction="backward", **options)
    assert first[0].any()
    assert not first[1:].any()


@pytest.mark.parametrize("hint", [{"tracking": "local"}, {"resolution": 64}])
def test_who_asks_for_speed_gets_whole_frames(untrained, hint):
    predictor = with_settings(untrained, **hint)
    hw = (150, 200)
    assert StackSettings(**hint).window_rule(hw, predictor) is None
    assert StackSettings(**hint, crop=64).window_rule(hw, predictor) is not None
    assert StackSettings().window_rule(hw, untrained) is not None
    assert StackSettings(crop="off").window_rule(hw, untrained) is None


def test_frames_without_room_for_windows_are_seen_whole(untrained, noise):
    small = noise[:, :20, :21]
    prompts = [click(1, 0, y=10.0, x=12.0)]
    usual = segment_stack(small, prompts, axes="TYX", model=untrained)
    whole = segment_stack(small, prompts, axes="TYX", model=untrained, crop="off")
    np.testing.assert_array_equal(usual, whole)


def test_a_click_finds_objects_of_any_size(trained, discs):
    frame = discs[0].copy()
    y, x = np.mgrid[:SIDE, :SIDE]
    large = np.hypot(y - 700, x - 800) < 90
    frame[large] = 170
    prompts = [click(1, y=640.0, x=505.0), click(2, y=700.0, x=800.0)]
    labels = segment_image(frame, prompts, model=trained)
    small = np.hypot(y - 640, x - 505) < RADIUS
    assert iou(labels == 1, small) > 0.8
    assert iou(labels == 2, large) > 0.8


def test_a_mask_prompt_is_the_object_on_its_frame(untrained, noise):
    mask = np.zeros(noise.shape[1:], dtype=bool)
    mask[60:75, 90:110] = True
    prompts = [FramePrompts((1,), 1, mask=mask), click(2, 1, y=68.0, x=100.0)]
    labels = segment_stack(noise, prompts, axes="TYX", model=untrained)
    np.testing.assert_array_equal(labels[1] == 1, mask)
    assert (labels[2] == 1).any()


def test_every_prompted_frame_counts(untrained, noise):
    once = segment_stack(noise, [click(1, 0)], axes="TYX", model=untrained)
    twice = segment_stack(
        noise,
        [click(1, 0), click(1, 2, y=120.0, x=150.0)],
        axes="TYX",
        model=untrained,
    )
    np.testing.assert_array_equal(once[0], twice[0])
    assert not np.array_equal(once[2], twice[2])


def test_negative_clicks_alone_are_refused(untrained, noise):
    negative = FramePrompts((0,), 1, (PointPrompt(5.0, 5.0, positive=False),))
    with pytest.raises(PromptError, match="negative"):
        segment_stack(noise, [negative], axes="TYX", model=untrained)


def test_cancelling_keeps_the_frames_that_are_finished(untrained, noise):
    done = []
    labels = segment_stack(
        noise,
        [box(1, 0)],
        axes="TYX",
        model=untrained,
        progress=lambda count, _: done.append(count),
        cancel=lambda: len(done) == 2,
    )
    assert labels[:2].any(axis=(1, 2)).all()
    assert not labels[2:].any()


def test_only_windows_are_read(trained, discs):
    class Watched:
        shape, dtype, ndim = discs.shape, discs.dtype, discs.ndim

        def __init__(self):
            self.most = 0

        def __getitem__(self, index):
            part = discs[index]
            self.most = max(self.most, part.size)
            return part

    watched = Watched()
    segment_stack(
        watched,
        [disc_box(3)],
        axes="TYX",
        model=trained,
        contrast_limits=(0, 255),
        frames=(0, 2),
    )
    assert 0 < watched.most <= 512**2


def test_channels_are_seen_in_windows(trained, discs, truth, caplog):
    colours = np.stack([discs[:2], np.zeros_like(discs[:2])], axis=-1)
    with caplog.at_level(logging.WARNING):
        labels = segment_stack(
            colours, [disc_box(3)], axes="TYXC", channels=(0, 1), model=trained
        )
    assert iou(labels[1] == 3, truth[1] == 3) > 0.7
    assert not caplog.records


@pytest.mark.parametrize(("radius", "is_whole"), [(8, False), (20, True)])
def test_what_is_not_small_is_followed_on_the_whole_frame(trained, radius, is_whole):
    y, x = np.indices((512, 512))
    disc = (y - 200) ** 2 + (x - 240) ** 2 <= radius**2
    frames = open_frames(np.stack([np.where(disc, 200, 30)] * 2).astype(np.uint8))
    rule = window_rule("auto", frames.hw, trained.image_size)
    tracker = WindowTracker(trained, frames, rule, None, "add", FeatureCache(2**28))
    box = BoxPrompt(200 - radius, 240 - radius, 200 + radius, 240 + radius)
    prompts = (
        FramePrompts((0,), 7, mask=disc),
        FramePrompts((0,), 7, box=box),
    )
    for prompt in prompts:
        remembered = tracker.remember(0, prompt)
        assert remembered.seen.height < 512
        assert remembered.crop == (rule.whole if is_whole else remembered.seen)
    run = WindowRun(tracker, {(7, 0): remembered}, lambda: False)
    (_, first), (_, second) = run.results(range(2), {7: range(2)})
    assert first.parts[0].crop == remembered.seen
    assert second.parts[0].crop == remembered.crop
    for objects in (first, second):
        (found,) = objects.masks(frames.hw)
        full = np.zeros(frames.hw, dtype=bool)
        full[found.window] = found.mask
        assert (full & disc).sum() / (full | disc).sum() > 0.8
