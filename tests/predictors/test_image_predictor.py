"""The image predictor's inputs, outputs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor


@pytest.fixture
def images(predictor: SAM2VideoPredictor) -> SAM2ImagePredictor:
    return SAM2ImagePredictor(predictor.model)


def test_one_object(images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]) -> None:
    images.set_image(video[0])
    masks, scores, low_res = images.predict([[10, 20]], [1])
    assert (masks.shape, masks.dtype) == ((3, 48, 80), bool)
    assert (scores.shape, scores.dtype) == ((3,), np.float32)
    assert (low_res.shape, low_res.dtype) == ((3, 16, 16), np.float32)
    assert np.abs(low_res).max() <= 32
    logits, *_ = images.predict([[10, 20]], [1], return_logits=True)
    assert logits.dtype == np.float32
    assert np.array_equal(logits > 0, masks)
    refined, *_ = images.predict(
        [[10, 20]], [1], mask_input=low_res[:1], multimask_output=False
    )
    assert refined.shape == (1, 48, 80)


def test_many_boxes_equal_single_boxes(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    images.set_image(video[0])
    boxes = np.array([[2, 2, 20, 20], [30, 5, 70, 40]])
    together, scores, low_res = images.predict(box=boxes, multimask_output=False)
    assert together.shape == (2, 1, 48, 80)
    for index, box in enumerate(boxes):
        alone, score, low = images.predict(box=box, multimask_output=False)
        assert np.array_equal(together[index], alone)
        assert scores[index] == pytest.approx(score, abs=1e-5)
        assert low_res[index] == pytest.approx(low, abs=1e-3)


def test_coordinates_may_be_normalised(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    images.set_image(video[0])
    pixels, *_ = images.predict([[40, 12]], [1], return_logits=True)
    shares, *_ = images.predict(
        [[0.5, 0.25]], [1], return_logits=True, normalize_coords=False
    )
    assert pixels == pytest.approx(shares, abs=1e-4)


def test_a_batch_equals_its_images(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    batch = [video[0], video[3][:30, :40]]
    points = [[[10.0, 20.0]], [[5.0, 6.0]]]
    images.set_image_batch(batch)
    together, *_ = images.predict_batch(points, [[1], [1]], return_logits=True)
    for image, point, logits in zip(batch, points, together, strict=True):
        images.set_image(image)
        alone, *_ = images.predict(point, [1], return_logits=True)
        assert logits.shape == (3, *image.shape[:2])
        assert logits == pytest.approx(alone, abs=1e-3)


def test_the_same_picture_in_any_type(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    def logits(image: object, **how: object) -> npt.NDArray[np.float32]:
        images.set_image(image, **how)
        return images.predict([[10, 20]], [1], return_logits=True)[0]

    grey = video[0, ..., 0]
    expected = logits(grey)
    same = [
        logits(Image.fromarray(grey)),
        logits(np.stack([grey] * 3, -1)),
        logits(grey.astype(np.uint16) * 257, contrast_limits=(0, 65535)),
        logits(grey.astype(np.float64) - 7, contrast_limits=(-7, 248)),
        logits(grey[:, ::-1].copy()[:, ::-1]),
    ]
    for got in same:
        assert got == pytest.approx(expected, abs=2e-3)


def test_prompts_may_be_tensors(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    """On any device, and with gradients: neither becomes an array by itself."""
    images.set_image(video[0])
    prompts = {"point_coords": [[40.0, 12.0]], "point_labels": [1.0]}
    prompts["box"] = [5.0, 5.0, 50.0, 40.0]
    prompts["mask_input"] = np.full((1, 16, 16), -3.0)
    expected = images.predict(**prompts, return_logits=True)
    tensors = {
        name: torch.tensor(np.asarray(value), requires_grad=True)
        for name, value in prompts.items()
    }
    got = images.predict(**tensors, return_logits=True)
    for array, value in zip(expected, got, strict=True):
        np.testing.assert_array_equal(value, array)


def test_prompts_may_be_views_that_run_backwards(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    images.set_image(video[0])
    rows_columns = np.array([[12, 40], [20, 30]])
    labels = np.array([0, 1])
    masks, _, _ = images.predict(rows_columns[:, ::-1], labels[::-1])
    expected, _, _ = images.predict([[40, 12], [30, 20]], [1, 0])
    np.testing.assert_array_equal(masks, expected)


def test_hq_modes(
    images: SAM2ImagePredictor,
    video: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(images.model._modules, "mask_refiner", None)
    images.set_image(video[0])
    box = {"box": [5, 5, 50, 40], "multimask_output": False, "return_logits": True}
    added, *_ = images.predict(**box)
    alone, *_ = images.predict(**box, hq_token_only=True)
    images.hq = "off"
    plain, *_ = images.predict(**box)
    assert added == pytest.approx(alone + plain, abs=1e-4)
    assert np.abs(alone).max() > 0


def test_errors_say_what_to_do(
    images: SAM2ImagePredictor, video: npt.NDArray[np.uint8]
) -> None:
    with pytest.raises(RuntimeError, match="call set_image"):
        images.predict([[1, 1]], [1])
    with pytest.raises(RuntimeError, match="call set_image"):
        images.get_image_embedding()
    with pytest.raises(StackError):
        images.set_image(video[0].astype(complex))
    images.set_image(video[0])
    assert images.get_image_embedding().shape == (1, 192, 4, 4)
    with pytest.raises(PromptError, match="belong together"):
        images.predict([[1, 1]])
    with pytest.raises(PromptError, match="one label a point"):
        images.predict([[1, 1], [2, 2]], [1])
    with pytest.raises(PromptError, match="2 boxes and points of 1 objects"):
        images.predict([[1, 1]], [1], box=[[0, 0, 5, 5], [1, 1, 6, 6]])
    with pytest.raises(PromptError, match=r"16 x 16.*got shape \(48, 80\)"):
        images.predict([[1, 1]], [1], mask_input=np.zeros((48, 80)))
    with pytest.raises(PromptError, match="NaN or infinity"):
        images.predict(box=[0, 0, np.inf, 5])
    images.reset_predictor()
    with pytest.raises(RuntimeError, match="call set_image"):
        images.predict([[1, 1]], [1])
