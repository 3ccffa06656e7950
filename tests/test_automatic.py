"""Everything on a frame, with the built-in model on scenes with known objects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import napari_hqsam2
from napari_hqsam2.api import load_model, segment_stack
from napari_hqsam2.automatic import (
    ProposalSettings,
    propose_objects,
    segment_everything,
    to_prompts,
)
from napari_hqsam2.errors import StackError

COARSE = ProposalSettings(points_per_side=12, min_iou_score=0.4, min_stability=0.5)


@pytest.fixture(scope="module")
def predictor():
    return load_model(device="cpu", resolution=256)


def nuclei(hw, centres, radius=9):
    """Soft bright discs on a noisy ground, and their labels."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    truth = np.zeros(hw, dtype=np.int32)
    for number, (y, x) in enumerate(centres, 1):
        truth[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    image = ndimage.gaussian_filter((truth > 0).astype(float), 1) * 160 + 30
    return (image + rng.normal(0, 5, hw)).clip(0, 255).astype(np.uint8), truth


CENTRES = [(28, 30), (28, 90), (70, 60), (100, 20), (95, 105)]


@pytest.fixture(scope="module")
def scene():
    return nuclei((128, 128), CENTRES)


def matched(labels, truth):
    """How many true objects have a label with an IoU above a half."""
    count = 0
    for value in range(1, truth.max() + 1):
        inside = truth == value
        found = np.bincount(labels[inside])
        found[0] = 0
        if found.any():
            guess = labels == found.argmax()
            count += (guess & inside).sum() / (guess | inside).sum() > 0.5
    return count


def test_nuclei_are_found_without_a_prompt(predictor, scene):
    image, truth = scene
    steps = []
    found = propose_objects(
        image,
        model=predictor,
        settings=COARSE,
        crops=False,
        progress=lambda done, total: steps.append((done, total)),
    )
    total = COARSE.points_per_side**2
    assert steps == sorted(steps)
    assert steps[-1] == (total, total)
    scores = [item.iou_score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert [item.obj_id for item in found] == list(range(1, len(found) + 1))
    labels = segment_everything(image, model=predictor, settings=COARSE, crops=False)
    assert matched(labels, truth) >= 4
    areas = {item.obj_id: item.area for item in found}
    for obj_id, area in areas.items():
        assert np.count_nonzero(labels == obj_id) == area


def test_proposals_of_a_frame_are_followed(predictor, scene):
    image, truth = scene
    stack = np.stack([np.zeros_like(image), image, np.roll(image, 2, axis=1)])
    found = propose_objects(
        stack,
        axes="TYX",
        position=(1,),
        model=predictor,
        settings=COARSE,
        contrast_limits=(0, 255),
    )
    prompts = to_prompts(found, image.shape, (1,))
    labels = segment_stack(
        stack, prompts, axes="TYX", model=predictor, direction="forward"
    )
    assert not labels[0].any()
    for item in found:
        np.testing.assert_array_equal(labels[1][item.window] == item.obj_id, item.mask)
    assert matched(labels[2], np.roll(truth, 2, axis=1)) >= 3


def test_crops_find_what_is_small_in_a_large_image(predictor):
    centres = [(y, x) for y in range(40, 600, 130) for x in range(40, 600, 130)]
    image, truth = nuclei((600, 600), centres)
    settings = ProposalSettings(
        points_per_side=8, min_iou_score=0.4, min_stability=0.5, min_area=60
    )
    whole = segment_everything(image, model=predictor, settings=settings, crops=False)
    steps = []
    found = propose_objects(
        image,
        model=predictor,
        settings=settings,
        progress=lambda *step: steps.append(step),
    )
    labels = np.zeros(image.shape, dtype=np.int32)
    for item in found:
        assert not labels[item.window][item.mask].any(), "two objects share a pixel"
        labels[item.window][item.mask] = item.obj_id
    done, total = steps[-1]
    assert done == total > 5 * settings.points_per_side**2, "crops count too"
    assert matched(labels, truth) > matched(whole, truth)
    assert matched(labels, truth) >= 0.6 * len(centres)


def test_the_built_in_model_finds_all_with_its_own_settings(scene):
    image, truth = scene
    steps = []
    found = propose_objects(
        image,
        settings=ProposalSettings(points_per_side=12),
        progress=lambda *step: steps.append(step),
    )
    labels = np.zeros(image.shape, dtype=np.int32)
    for item in found:
        labels[item.window][item.mask] = item.obj_id
    done, total = steps[-1]
    assert done == total == 12**2 + 4 * 4**2
    assert matched(labels, truth) == len(CENTRES) == len(found)


@pytest.mark.parametrize(
    ("size", "least"), [(256, (0.55, 0.65)), (512, (0.55, 0.65)), (1024, (0.6, 0.8))]
)
def test_what_masks_need_to_be_kept_follows_the_model(size, least):
    assert ProposalSettings().least(size) == least
    asked = ProposalSettings(min_iou_score=0.0, min_stability=0.9)
    assert asked.least(size) == (0.0, 0.9)


def test_sizes_that_are_not_wanted_are_left_out(predictor, scene):
    image, _ = scene
    assert not propose_objects(
        image,
        model=predictor,
        settings=ProposalSettings(points_per_side=8, min_area=5000),
    )


def test_cancel_returns_what_was_found(predictor, scene):
    image, _ = scene
    answers = iter([False, True])
    some = propose_objects(
        image, model=predictor, settings=COARSE, cancel=lambda: next(answers, True)
    )
    every = propose_objects(image, model=predictor, settings=COARSE)
    assert len(some) < len(every)


@pytest.mark.parametrize(
    ("shape", "axes", "position"),
    [((3, 16, 16), "TYX", ()), ((3, 16, 16), "TYX", (3,)), ((16, 16), "YX", (1,))],
)
def test_a_place_that_is_no_frame_is_refused(predictor, shape, axes, position):
    with pytest.raises(StackError, match="is not a frame of a stack"):
        propose_objects(
            np.zeros(shape, np.uint8), axes=axes, position=position, model=predictor
        )


def test_colour_images(predictor, scene):
    image, _ = scene
    grey = segment_everything(image, model=predictor, settings=COARSE)
    rgb = segment_everything(
        np.stack([image] * 3, axis=-1), axes="YXC", model=predictor, settings=COARSE
    )
    np.testing.assert_array_equal(grey, rgb)


def test_public_names():
    assert napari_hqsam2.segment_everything is segment_everything
    assert napari_hqsam2.propose_objects is propose_objects
    assert napari_hqsam2.ProposalSettings is ProposalSettings
