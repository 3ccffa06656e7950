"""Where masks are drawn anew: prompts on stills and on frames, nowhere else."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.predictors.feature_store import FeatureStore
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.predictors.tracking_config import TrackingConfig
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode

    Video = npt.NDArray[np.uint8]


@pytest.fixture
def model(predictor: SAM2VideoPredictor) -> HqSam2:
    """One whose refiner takes away what it pictures at."""
    found = copy.deepcopy(predictor.model)
    assert found.mask_refiner is not None
    torch.nn.init.constant_(found.mask_refiner.out.bias, -5)
    return found


def plain(model: HqSam2) -> HqSam2:
    other = copy.copy(model)
    other._modules = {**model._modules, "mask_refiner": None}
    return other


def follow(model: HqSam2, video: Video) -> list[torch.Tensor]:
    """Low-resolution logits on each frame after a mask on the first."""
    config = TrackingConfig(fill_hole_area=0, moved_share=0.9)
    predictor = SAM2VideoPredictor(model, config)
    session = predictor.init_state(video[:3])
    mask = np.zeros(video.shape[1:3], dtype=bool)
    mask[10:30, 20:50] = True
    predictor.predict_mask(session, 0, 1, mask)
    return [result.low_res for result in predictor.propagate(session)]


def click(model: HqSam2, video: Video, hq: HqMode = "add") -> torch.Tensor:
    predictor = SAM2VideoPredictor(model, TrackingConfig(fill_hole_area=0), hq)
    session = predictor.init_state(video[:1])
    predictor.add_new_points_or_box(session, 0, 1, [[40, 24]], [1])
    return session.objects[1].pending[0].output.low_res


def still(model: HqSam2, video: Video, hq: HqMode = "add") -> torch.Tensor:
    images = SAM2ImagePredictor(model, hq=hq)
    images.set_image(video[0])
    return torch.from_numpy(images.predict([[40, 24]], [1])[2])


@pytest.mark.parametrize("ask", [still, click])
def test_answers_to_prompts_are_refined(
    ask: Callable[..., torch.Tensor], model: HqSam2, video: Video
) -> None:
    without = ask(plain(model), video)
    assert (without > 0).any()
    assert not (ask(model, video) > 0).any()
    torch.testing.assert_close(
        ask(model, video, "off"), ask(plain(model), video, "off")
    )


def test_what_is_out_of_view_has_no_mask(model: HqSam2, video: Video) -> None:
    assert model.mask_refiner is not None
    torch.nn.init.constant_(model.mask_refiner.out.bias, 5)
    assert (click(model, video) > 0).any()
    head = model.sam_mask_decoder.pred_obj_score_head
    torch.nn.init.constant_(head.layers[2].bias, -50)
    assert not (click(model, video) > 0).any()


def test_masks_and_what_is_followed_stay_as_they_are(
    model: HqSam2, video: Video
) -> None:
    pairs = zip(follow(model, video), follow(plain(model), video), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)


def test_features_from_the_disk_are_refined_too(
    model: HqSam2, video: Video, tmp_path: Path
) -> None:
    predictor = SAM2VideoPredictor(model, TrackingConfig(moved_share=0))
    predictor.loader.store = FeatureStore(tmp_path, model, "name")
    pictures = []
    for _ in range(2):
        session = predictor.init_state(video[:1])
        pictures.append(predictor.loader.features(session, 0).picture)
    assert pictures[0] is not None
    assert pictures[1] is not None
    assert list(tmp_path.iterdir())
    torch.testing.assert_close(pictures[0], pictures[1])
