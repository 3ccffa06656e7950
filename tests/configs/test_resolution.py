"""Models at other resolutions: sizes that are allowed, and the same weights for all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2 import (
    BoxPrompt,
    FramePrompts,
    PointPrompt,
    SAM2ImagePredictor,
    load_model,
    segment_image,
    segment_stack,
)
from napari_hqsam2.build import (
    build_sam2_video_predictor,
    compose_config,
    with_settings,
)
from napari_hqsam2.configs.resolution import (
    LARGEST,
    SMALLEST,
    check_resolution,
    draft_resolutions,
    own_resolution,
)
from napari_hqsam2.weights.registry import REGISTRY

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

DATA = Path(__file__).parents[2] / "src" / "napari_hqsam2" / "plugin" / "data"
NANO = "sam2.1_hq_hiera_nano"


@given(st.integers(-100, 5000))
def test_a_refusal_names_a_size_that_is_taken(resolution: int) -> None:
    try:
        check_resolution(resolution)
    except ValueError as error:
        nearest = int(str(error).rpartition("use ")[2].partition(",")[0])
        check_resolution(nearest)
        inside = min(max(resolution, SMALLEST), LARGEST)
        assert abs(nearest - inside) <= 16
    else:
        assert resolution % 32 == 0


@pytest.mark.parametrize("name", REGISTRY)
def test_drafts_lie_below_the_configured_size(name: str) -> None:
    own = own_resolution(name)
    assert own == compose_config(name).model.image_size
    drafts = draft_resolutions(name)
    assert list(drafts) == sorted(drafts, reverse=True)
    assert own // 2 == drafts[-1] < drafts[0] < own
    for draft in drafts:
        check_resolution(draft)


def built(resolution: int, seed: int = 0) -> SAM2VideoPredictor:
    """The nano model, untrained, configured for a resolution."""
    torch.manual_seed(seed)
    predictor = build_sam2_video_predictor(
        NANO,
        device="cpu",
        hydra_overrides_extra=[f"model.image_size={resolution}"],
        fill_hole_area=0,
    )
    head = predictor.model.sam_mask_decoder.pred_obj_score_head
    torch.nn.init.constant_(head.layers[2].bias, 5.0)
    return predictor


@pytest.fixture
def video(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    scene = rng.integers(0, 255, (48, 90), dtype=np.uint8)
    return np.stack([scene[:, t : t + 80] for t in range(3)])


def track(
    predictor: SAM2VideoPredictor, video: npt.NDArray[np.uint8]
) -> list[torch.Tensor]:
    """Logits of two objects, one from a click and one from a mask."""
    session = predictor.init_state(video)
    mask = np.zeros(video.shape[1:], dtype=bool)
    mask[20:34, 30:50] = True
    predictor.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
    predictor.add_new_mask(session, 1, 2, mask)
    return [result[2] for result in predictor.propagate_in_video(session)]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_resolutions_in_turn_give_what_models_built_for_them_give(video) -> None:
    expected = {size: track(built(size), video) for size in (64, 96, 160)}
    own = built(96)
    drafts = {64: with_settings(own, resolution=64), 96: own}
    drafts[160] = with_settings(drafts[64], resolution=160)
    for size in (64, 96, 160, 96, 64, 160):
        assert_same(track(drafts[size], video), expected[size])
    # the tables of every size follow the weights that all share
    drafts[160].load_state_dict(built(96, seed=1).state_dict())
    for size in (64, 96, 160):
        assert_same(track(drafts[size], video), track(built(size, seed=1), video))


def test_sessions_of_two_resolutions_grow_side_by_side(video) -> None:
    own = built(96)
    runs = []
    for predictor in (own, with_settings(own, resolution=64)):
        session = predictor.init_state(video)
        predictor.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
        runs.append(predictor.propagate(session))
    sizes = [
        (one.low_res.shape[-1], other.low_res.shape[-1])
        for one, other in zip(*runs, strict=True)
    ]
    assert sizes == [(24, 16)] * len(video)


def test_a_session_stays_with_its_resolution(video) -> None:
    own = built(96)
    draft = with_settings(own, resolution=64)
    session = own.init_state(video)
    own.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
    refusal = "sees frames at 96 px; this one sees them at 64 px.*init_state"
    with pytest.raises(ValueError, match=refusal):
        draft.add_new_points_or_box(session, 0, 2, [[20, 10]], [1])
    with pytest.raises(ValueError, match=refusal):
        draft.add_new_mask(session, 2, 2, np.ones(video.shape[1:], dtype=bool))
    with pytest.raises(ValueError, match=refusal):
        list(draft.propagate_in_video(session))
    complete = list(own.propagate_in_video(session))
    with pytest.raises(ValueError, match=refusal):
        list(draft.propagate_in_video(session))
    assert session.obj_ids == [1]
    assert_same(
        [logits for *_, logits in own.propagate_in_video(session)],
        [logits for *_, logits in complete],
    )


def test_images_at_a_draft_resolution_are_those_of_a_model_built_for_it(rng) -> None:
    image = rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)
    results = []
    for predictor in (with_settings(built(96), resolution=64), built(64)):
        images = SAM2ImagePredictor(predictor.model)
        images.set_image(image)
        results.append(images.predict(box=[10, 10, 40, 30], return_logits=True))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def trained() -> SAM2VideoPredictor:
    return load_model(device="cpu")


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("resolution", [None, 384, 256])
def test_masks_lie_where_objects_are(trained, resolution) -> None:
    y, x = np.mgrid[:120, :200]
    disc = (y - 80.0) ** 2 + (x - 150.0) ** 2 < 18**2
    image = np.where(disc, 180, 60).astype(np.uint8)
    prompts = (
        FramePrompts((), 1, (PointPrompt(80, 150),)),
        FramePrompts((), 1, box=BoxPrompt(62, 132, 99, 169)),
    )
    for prompt in prompts:
        labels = segment_image(image, [prompt], model=trained, resolution=resolution)
        assert iou(labels == 1, disc) > 0.85
        centre = np.argwhere(labels).mean(axis=0)
        np.testing.assert_allclose(centre, (80, 150), atol=1)


def test_drafts_and_windows_on_a_real_stack(trained) -> None:
    stack = tifffile.imread(DATA / "nuclei_tyx.ome.tif")[:4]
    prompts = [
        FramePrompts((0,), 1, box=BoxPrompt(87, 36, 116, 58)),
        FramePrompts((0,), 2, box=BoxPrompt(88, 61, 108, 89)),
    ]
    full, draft = (
        segment_stack(stack, prompts, axes="TYX", model=trained, **options)
        for options in ({}, {"tracking": "local", "resolution": 256})
    )
    assert (full != draft).any()
    for obj_id in (1, 2):
        for expected, found in zip(full == obj_id, draft == obj_id, strict=True):
            assert iou(found, expected) > 0.8
