"""The samples of HQ-SAM 2's README run here with other import lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from napari_hqsam2 import (
    SAM2ImagePredictor,
    build_sam2,
    build_sam2_hq_video_predictor,
    build_sam2_video_predictor,
)

if TYPE_CHECKING:
    from pathlib import Path

MODEL_CFG = "sam2.1_hq_hiera_nano"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the official format."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save({"model": build_sam2(MODEL_CFG).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of numbered JPEG frames, SAM 2's own kind of video."""
    folder = tmp_path_factory.mktemp("video")
    rng = np.random.default_rng(2)
    for index in range(3):
        pixels = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:05d}.jpg")
    return folder


@pytest.mark.parametrize("hq_token_only", [False, True])
@pytest.mark.parametrize(
    ("prompts", "shape"),
    [
        ({"box": np.array([[10, 10, 50, 40]])}, (1, 60, 90)),
        (
            {
                "point_coords": np.array([[40, 30], [20, 10]]),
                "point_labels": np.ones(2),
            },
            (1, 60, 90),
        ),
        (
            {"box": torch.tensor([[10, 10, 50, 40], [30, 5, 80, 55]])},
            (2, 1, 60, 90),
        ),
    ],
    ids=["box", "points", "boxes"],
)
def test_image_prediction(
    checkpoint: Path,
    frames: Path,
    prompts: dict[str, object],
    shape: tuple[int, ...],
    hq_token_only: bool,
) -> None:
    """A box, points, and several boxes as a tensor, as in the demo."""
    predictor = SAM2ImagePredictor(build_sam2(MODEL_CFG, checkpoint))
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        predictor.set_image(Image.open(frames / "00000.jpg"))
        masks, scores, _ = predictor.predict(
            **prompts, multimask_output=False, hq_token_only=hq_token_only
        )
    assert masks.shape == shape
    assert scores.shape == shape[:-2]


@pytest.mark.parametrize(
    "build", [build_sam2_video_predictor, build_sam2_hq_video_predictor]
)
def test_video_prediction(build: object, checkpoint: Path, frames: Path) -> None:
    predictor = build(MODEL_CFG, checkpoint)
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        state = predictor.init_state(str(frames))
        _, object_ids, masks = predictor.add_new_points_or_box(
            state, frame_idx=0, obj_id=1, box=np.array([10, 10, 50, 40], np.float32)
        )
        assert object_ids == [1]
        assert masks.shape == (1, 1, 60, 90)
        seen = [
            (frame_idx, object_ids, (masks > 0.0).shape)
            for frame_idx, object_ids, masks in predictor.propagate_in_video(state)
        ]
    assert seen == [(frame, [1], (1, 1, 60, 90)) for frame in range(3)]
    predictor.reset_state(state)
    assert state.obj_ids == []
