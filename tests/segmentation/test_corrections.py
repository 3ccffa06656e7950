"""Points that correct a mask change it as little as they ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_hqsam2 import PointPrompt, Session
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.prompts import FramePrompts
from napari_hqsam2.segmentation import corrections
from napari_hqsam2.segmentation.clicks import to_clicks
from napari_hqsam2.segmentation.corrections import answer_correction

HW = (64, 64)
MASK = np.zeros(HW, dtype=bool)
MASK[8:40, 8:40] = True
PLACES = [(y, x) for y in (12, 30, 50) for x in (12, 30, 50)]


@pytest.fixture(scope="module")
def predictor(make_untrained):
    return make_untrained()


@pytest.fixture
def image(rng):
    return rng.integers(0, 255, (1, *HW), dtype=np.uint8)


def asked(predictor, image, *points, small=True, mask=MASK):
    """Masks as shown, on the frame's pixels, and the predictor's session."""
    config = replace(predictor.config, small_corrections=small)
    model = SAM2VideoPredictor(predictor.model, config)
    session = model.init_state(image)
    prompt = FramePrompts((0,), 1, points=points)
    clicks = to_clicks(prompt, HW, model.image_size)
    answer = answer_correction(model, session, 0, 1, clicks, mask)
    pending = session.objects[1].pending[0]
    torch.testing.assert_close(pending.low_res, answer.low_res)
    shown = torch.nn.functional.interpolate(answer.low_res, HW, mode="bilinear")
    return (shown[0, 0] > 0).numpy()


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def candidates(monkeypatch, *squares):
    """What is found at any point: squares (top, left, side) on the frame."""

    def predict(model, features, clicks, hq):
        del features, hq
        assert [each.labels.tolist() for each in clicks] == [[[1]]]
        side = model.image_size // 4
        scale = side / HW[0]
        found = torch.full((1, len(squares), side, side), -12.0)
        for number, square in enumerate(squares):
            top, left, size = (round(v * scale) for v in square)
            found[0, number, top : top + size, left : left + size] = 12.0
        return torch.ones(1, len(squares)), found

    monkeypatch.setattr(corrections, "predict_candidates", predict)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_right_already_stays(predictor, image, place):
    point = PointPrompt(*place, positive=bool(MASK[place]))
    assert overlap(asked(predictor, image, point), MASK) > 0.95


def test_the_least_change_is_made_that_a_point_asks_for(predictor, image, monkeypatch):
    small, large = (28, 28, 8), (16, 16, 24)
    candidates(monkeypatch, large, small)
    shown = asked(predictor, image, PointPrompt(32, 32, positive=False))
    assert not shown[30:34, 30:34].any()
    assert shown[10:26, 10:26].all()
    candidates(monkeypatch, (20, 36, 12), (4, 36, 28))
    shown = asked(predictor, image, PointPrompt(26, 44))
    assert shown[10:38, 10:38].all()
    assert shown[22:30, 38:46].all()
    assert not shown[8:16, 46:60].any()


def test_where_there_is_no_mask_the_network_answers(predictor, image, monkeypatch):
    candidates(monkeypatch, (48, 48, 8))
    point, nothing = PointPrompt(52, 52), np.zeros(HW, dtype=bool)
    shown = asked(predictor, image, point, mask=nothing)
    plain = asked(predictor, image, point, mask=nothing, small=False)
    np.testing.assert_array_equal(shown, plain)


def test_every_point_is_heeded(predictor, image, monkeypatch):
    candidates(monkeypatch, (28, 28, 8), (16, 16, 4))
    points = [PointPrompt(32, 32, positive=False), PointPrompt(18, 18, positive=False)]
    shown = asked(predictor, image, *points)
    assert not shown[32, 32]
    assert not shown[18, 18]
    assert shown[24, 12]


def test_other_models_answer_as_ever(predictor, image, monkeypatch):
    candidates(monkeypatch, (28, 28, 8))
    point = PointPrompt(32, 32, positive=False)
    small = asked(predictor, image, point)
    plain = asked(predictor, image, point, small=False)
    assert overlap(small, MASK) > overlap(plain, MASK)


@pytest.mark.parametrize("crop", ["off", 64])
def test_a_session_corrects_so(predictor, rng, monkeypatch, crop):
    stack = rng.integers(0, 255, (2, *HW), dtype=np.uint8)
    session = Session(stack, axes="TYX", model=predictor, crop=crop)
    obj_id = session.new_object()
    session.add_mask(obj_id, 0, MASK)
    session.segment(0)
    candidates(monkeypatch, (28, 28, 8))
    session.add_points(obj_id, [(0, 32, 32)], positive=False)
    session.segment(0)
    left = session.labels[0] == obj_id
    assert not left[32, 32]
    assert overlap(left, MASK) > 0.85


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("depth", [3, 8])
def test_a_point_reaches_little_farther_than_the_outline(
    predictor, image, monkeypatch, depth, positive
):
    candidates(monkeypatch, (0, 0, 64))
    place = (24, 39 + depth if positive else 40 - depth)
    before = asked(predictor, image, PointPrompt(24, 24))
    shown = asked(predictor, image, PointPrompt(*place, positive=positive))
    rows, columns = np.nonzero(shown != before)
    away = np.hypot(rows - place[0], columns - place[1])
    cell = 4
    assert depth - cell < away.max() < 1.25 * (depth + cell) + cell
