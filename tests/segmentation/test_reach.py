"""Points change masks near to them, and farther the farther the outline is."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from napari_hqsam2 import BoxPrompt, PointPrompt, segment_image
from napari_hqsam2.predictors.session import Clicks
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.prompts import FramePrompts
from napari_hqsam2.segmentation import reach
from napari_hqsam2.segmentation.clicks import answer_clicks, to_clicks
from napari_hqsam2.segmentation.reach import STEP_REACH, limited_step, within_reach

SIDE = 24
SHARE = st.floats(0.01, 0.99)
POINTS = st.tuples(SHARE, SHARE, st.booleans())


def clicks_of(*points):
    """One row of (x, y, on object) from 0 to 1."""
    places = torch.tensor([[(x, y) for x, y, _ in points]])
    return Clicks(places, torch.tensor([[int(on) for *_, on in points]]))


def disc(x, y, radius):
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = np.hypot(rows - y * SIDE, columns - x * SIDE) <= radius
    return torch.from_numpy(np.where(inside, 8.0, -8.0)).float()[None]


@given(point=POINTS, centre=st.tuples(SHARE, SHARE), radius=st.floats(2, 9))
def test_reach_is_measured_to_the_outline(point, centre, radius):
    shown = disc(*centre, radius)
    near = within_reach(shown, clicks_of(point), 1.5)[0].numpy()
    x, y, on = point
    row, column = int(y * SIDE), int(x * SIDE)
    mask = shown[0].numpy() > 0
    if mask[row, column] == on:
        assert near.all()
        return
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    away = np.hypot(rows - y * SIDE, columns - x * SIDE)
    outline = away[mask == on].min()
    np.testing.assert_array_equal(near, away <= np.float32(1.5) * np.float32(outline))


@given(points=st.lists(POINTS, min_size=1, max_size=4))
def test_points_and_masks_are_independent(points):
    shown = torch.cat([disc(0.3, 0.4, 4), disc(0.6, 0.7, 7)])
    both = clicks_of(*points)
    rows = Clicks(both.coords_norm.repeat(2, 1, 1), both.labels.repeat(2, 1))
    near = within_reach(shown, rows, 2.0)
    for mask, found in zip(shown, near, strict=True):
        alone = [within_reach(mask[None], clicks_of(p), 2.0) for p in points]
        assert torch.equal(found, torch.cat(alone).any(dim=0))


def test_a_mask_without_anything_to_reach_sets_no_limit():
    nothing = torch.full((1, SIDE, SIDE), -5.0)
    assert within_reach(nothing, clicks_of((0.5, 0.5, True)), 1.25).all()


def test_only_new_points_change_a_mask():
    seen, answers = disc(0.3, 0.5, 4), torch.full((1, SIDE, SIDE), 3.0)
    before, now = (clicks_of((0.3, 0.5, True), (x, 0.5, True)) for x in (0.9, 0.8))
    before = Clicks(before.coords_norm[:, :1], before.labels[:, :1])
    changed = limited_step(answers, seen, before, now) != seen
    distance = 0.5 * SIDE - 4
    assert changed[0, 12, 19]
    assert not changed[0, :, : int(0.8 * SIDE - STEP_REACH * distance - 2)].any()


@pytest.fixture(scope="module")
def predictor(make_untrained):
    return make_untrained()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 255, (96, 96), dtype=np.uint8)


def models(predictor):
    """The same network without and with small corrections."""
    return [
        SAM2VideoPredictor(
            predictor.model, replace(predictor.config, small_corrections=small)
        )
        for small in (False, True)
    ]


@pytest.fixture
def nowhere(monkeypatch):
    """Later points reach nothing."""

    def none(shown, points, reach):
        del points, reach
        return torch.zeros_like(shown, dtype=torch.bool)

    monkeypatch.setattr(reach, "within_reach", none)


ONE, TWO = PointPrompt(30, 30), PointPrompt(10, 50, positive=False)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("crop", ["off", 64])
def test_images_change_where_points_reach(predictor, image, crop):
    plain, small = models(predictor)

    def labels(model, *points):
        prompts = [FramePrompts((), 1, points=points)]
        return segment_image(image, prompts, model=model, crop=crop)

    np.testing.assert_array_equal(labels(small, ONE), labels(plain, ONE))
    np.testing.assert_array_equal(labels(small, ONE, TWO), labels(small, ONE))
    assert (labels(plain, ONE, TWO) != labels(plain, ONE)).any()


@pytest.mark.usefixtures("nowhere")
def test_stacks_change_where_points_reach(predictor, image):
    plain, small = models(predictor)

    def low_res(model, *points):
        session = model.init_state(image[None])
        clicks = to_clicks(FramePrompts((0,), 1, points=points), (96, 96), 64)
        answer = answer_clicks(model, session, 0, 1, clicks).low_res
        torch.testing.assert_close(session.objects[1].pending[0].low_res, answer)
        return answer

    torch.testing.assert_close(low_res(small, ONE, TWO), low_res(small, ONE))
    assert not torch.allclose(low_res(plain, ONE, TWO), low_res(plain, ONE))


@pytest.mark.usefixtures("nowhere")
def test_a_box_is_asked_with_all_of_its_points(predictor, image):
    box = BoxPrompt(8, 8, 40, 40)
    plain, small = (
        segment_image(
            image, [FramePrompts((), 1, points=(ONE, TWO), box=box)], model=model
        )
        for model in models(predictor)
    )
    np.testing.assert_array_equal(plain, small)
