"""A small video predictor with random weights, and a small video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.build import build_sam2_video_predictor

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

SIZE = 64


@pytest.fixture(scope="session")
def predictor() -> SAM2VideoPredictor:
    """The nano model at 64 px with random weights; every object is in view."""
    torch.manual_seed(0)
    predictor = build_sam2_video_predictor(
        "sam2.1_hq_hiera_nano",
        device="cpu",
        hydra_overrides_extra=[f"model.image_size={SIZE}"],
        fill_hole_area=0,
    )
    decoder = predictor.model.sam_mask_decoder
    torch.nn.init.constant_(decoder.pred_obj_score_head.layers[2].bias, 5.0)
    return predictor


@pytest.fixture(scope="session")
def video() -> npt.NDArray[np.uint8]:
    """(10, 48, 80, 3) drifting noise."""
    rng = np.random.default_rng(5)
    scene = rng.integers(0, 255, (48, 100, 3), dtype=np.uint8)
    return np.stack([scene[:, t : t + 80] for t in range(10)])
