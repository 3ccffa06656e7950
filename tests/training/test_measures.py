"""Measures and baselines on cases worked out by hand; both evaluators side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.training.baselines import (
    box_mask,
    ellipse_mask,
    look_up,
    otsu_watershed,
)
from napari_hqsam2.training.evaluate import Protocol, evaluate_images
from napari_hqsam2.training.measures import boundary_iou, iou
from napari_hqsam2.training.predicting import box_of, evaluate_predictor
from napari_hqsam2.training.sources import Clip, Frame
from napari_hqsam2.training.tracking import evaluate_tracking

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2


def square(low: int, high: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[low:high, low:high] = True
    return mask


def two_squares() -> Frame:
    labels = np.zeros((64, 64), dtype=np.uint16)
    labels[8:24, 8:24], labels[36:56, 30:50] = 1, 2
    return Frame(np.where(labels > 0, 220, 30).astype(np.uint8), labels)


def test_iou_of_shifted_squares() -> None:
    assert iou(square(4, 8), square(6, 10)) == pytest.approx(4 / 28)
    assert iou(square(0, 0), square(0, 0)) == 1


def test_boundary_iou_looks_at_the_rim_alone() -> None:
    truth = square(4, 14)
    hole = truth.copy()
    hole[8:10, 8:10] = False
    # inside the rim of 100 - 36 pixels the hole has its own: 16 at its sides, 4 corners
    assert boundary_iou(truth, truth) == 1
    assert boundary_iou(hole, truth) == pytest.approx(64 / 84)
    assert boundary_iou(square(0, 0), square(0, 0)) == 1


def test_boxes_and_ellipses_fill_their_boxes() -> None:
    box = box_of(square(4, 14))
    assert box == (4, 4, 13, 13)
    np.testing.assert_array_equal(box_mask((20, 20), box), square(4, 14))
    ellipse = ellipse_mask((20, 20), box)
    assert ellipse.sum() == pytest.approx(np.pi * 25, rel=0.06)
    assert box_of(ellipse) == box


def test_otsu_and_watershed_find_bright_squares() -> None:
    frame = two_squares()
    labels = otsu_watershed(frame.image)
    assert iou(look_up(labels, 16, 16), frame.labels == 1) > 0.8
    assert not look_up(labels, 0, 0).any()
    assert otsu_watershed(np.full((8, 8), 7, np.uint8)).max() == 0


def test_quick_scores_equal_those_of_the_predictor(micro: HqSam2) -> None:
    micro.eval()
    frame = two_squares()
    quick = evaluate_images(micro, [frame], Protocol(clicks=2))
    real = evaluate_predictor(SAM2ImagePredictor(micro), [frame], clicks=2)
    for name in ("click_1", "click_2", "box"):
        np.testing.assert_allclose(quick.iou[name], real.iou[name], atol=0.02)
    assert real.iou["box_filled"] == [1.0, 1.0]


def test_tracking_is_compared_with_copying(micro: HqSam2) -> None:
    frame = two_squares()
    images = np.stack([np.roll(frame.image, 4 * t, axis=1) for t in range(3)])
    labels = np.stack([np.roll(frame.labels, 4 * t, axis=1) for t in range(3)])
    with torch.inference_mode():
        score = evaluate_tracking(
            SAM2VideoPredictor(micro.eval()), Clip(images, labels)
        )
    assert score.objects == 2
    # 16 and 20 pixel squares moved by 4 and by 8
    overlaps = [(s - m) / (s + m) for s in (16, 20) for m in (4, 8)]
    assert score.copied == pytest.approx(np.mean(overlaps))
    assert 0 <= score.tracked <= 1
