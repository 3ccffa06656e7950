"""A small untrained model, and a stack that it can be asked about."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hqsam2 import Session
from napari_hqsam2.build import build_sam2_video_predictor


@pytest.fixture(scope="session")
def predictor():
    """Untrained, at 64 px, and sure that every object is in view."""
    torch.manual_seed(0)
    predictor = build_sam2_video_predictor(
        "sam2.1_hq_hiera_nano",
        device="cpu",
        hydra_overrides_extra=["model.image_size=64"],
    )
    score_head = predictor.model.sam_mask_decoder.pred_obj_score_head
    with torch.no_grad():
        list(score_head.parameters())[-1].fill_(5)
    return predictor


@pytest.fixture
def stack(rng):
    return rng.integers(0, 60_000, (6, 40, 50), dtype=np.uint16)


@pytest.fixture
def session(stack, predictor):
    return Session(stack, axes="TYX", model=predictor)
