"""The quick evaluator beside the one that asks the predictor; tracking and copying."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.training.evaluate import Protocol, evaluate_images
from napari_hqsam2.training.predicting import evaluate_predictor
from napari_hqsam2.training.sources import Clip, Frame
from napari_hqsam2.training.tracking import evaluate_tracking

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2


def two_squares() -> Frame:
    labels = np.zeros((64, 64), dtype=np.uint16)
    labels[8:24, 8:24], labels[36:56, 30:50] = 1, 2
    return Frame(np.where(labels > 0, 220, 30).astype(np.uint8), labels)


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
