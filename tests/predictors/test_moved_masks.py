"""Objects that are followed by masks which move with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.build import build_sam2_video_predictor
from napari_hqsam2.predictors.tracking_config import TrackingConfig
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2.predictors.session import VideoSession

    Video = npt.NDArray[np.uint8]

PLACES = {1: (4, 20), 2: (18, 44), 3: (30, 60)}
"""Top and left of objects on the first frame."""
SIDE = 14


@pytest.fixture(scope="module")
def drift() -> Video:
    """(6, 48, 80) blurred noise that drifts by two pixels a frame, to the left."""
    noise = torch.rand(1, 1, 60, 120, generator=torch.Generator().manual_seed(4))
    scene = torch.nn.functional.avg_pool2d(noise, 5, 1)[0, 0]
    scene = ((scene - scene.min()) / (scene.max() - scene.min()) * 255).byte().numpy()
    return np.stack([scene[:48, 2 * t : 2 * t + 80] for t in range(6)])


def following(predictor: SAM2VideoPredictor, share: float) -> SAM2VideoPredictor:
    config = TrackingConfig(fill_hole_area=0, moved_share=share)
    return SAM2VideoPredictor(predictor.model, config)


def square(obj_id: int, frame: int = 0) -> npt.NDArray[np.bool_]:
    top, left = PLACES[obj_id]
    mask = np.zeros((48, 80), dtype=bool)
    mask[top : top + SIDE, left - 2 * frame : left - 2 * frame + SIDE] = True
    return mask


def started(
    predictor: SAM2VideoPredictor, video: Video, obj_ids: Sequence[int], frame: int = 0
) -> VideoSession:
    session = predictor.init_state(video)
    for obj_id in obj_ids:
        predictor.predict_mask(session, frame, obj_id, square(obj_id, frame))
    return session


def overlap(a: Tensor, b: npt.NDArray[np.bool_]) -> float:
    mask = (a > 0).numpy()
    return float((mask & b).sum() / (mask | b).sum())


@pytest.mark.parametrize("reverse", [False, True])
def test_masks_go_with_the_image(
    predictor: SAM2VideoPredictor, drift: Video, *, reverse: bool
) -> None:
    nearly = following(predictor, 0.99)
    session = started(nearly, drift, [1, 2, 3], 5 if reverse else 0)
    frames = nearly.propagate_in_video(session, reverse=reverse)
    for frame, obj_ids, logits in frames:
        for obj_id, found in zip(obj_ids, logits[:, 0], strict=True):
            assert overlap(found, square(obj_id, frame)) > 0.75, (frame, obj_id)


def test_the_network_says_the_rest(predictor: SAM2VideoPredictor, drift: Video) -> None:
    seen = []
    for share in (0.2, 0.9):
        chosen = following(predictor, share)
        seen.append(
            [r.low_res for r in chosen.propagate(started(chosen, drift, [1]))][1]
        )
    assert not torch.allclose(*seen, atol=1e-2)


def test_objects_do_not_see_each_other(
    predictor: SAM2VideoPredictor, drift: Video
) -> None:
    chosen = following(predictor, 0.85)
    together = list(chosen.propagate(started(chosen, drift, [1, 2, 3])))
    alone = list(chosen.propagate(started(chosen, drift, [2])))
    for all_of_them, one in zip(together, alone, strict=True):
        torch.testing.assert_close(
            all_of_them.low_res[1:2], one.low_res, rtol=1e-4, atol=1e-4
        )


def test_memory_alone_speaks_where_the_frame_before_has_no_mask(
    predictor: SAM2VideoPredictor, drift: Video
) -> None:
    second = []
    for share in (0.0, 0.85):
        chosen = following(predictor, share)
        session = started(chosen, drift, [1, 2])
        chosen.predict_mask(session, 0, 2, np.zeros((48, 80), dtype=bool))
        second.append(list(chosen.propagate(session))[1].low_res)
    torch.testing.assert_close(second[0][1], second[1][1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(second[0][0], second[1][0], atol=1e-2)


def test_what_is_out_of_view_is_not_moved_on(
    monkeypatch: pytest.MonkeyPatch, predictor: SAM2VideoPredictor, drift: Video
) -> None:
    chosen = following(predictor, 0.85)
    bias = predictor.model.sam_mask_decoder.pred_obj_score_head.layers[2].bias
    session = started(chosen, drift, [1])
    monkeypatch.setattr(bias, "data", torch.full_like(bias, -50.0))
    masks = [result.low_res for result in chosen.propagate(session)]
    assert (masks[0] > 0).any()
    assert not any((mask > 0).any() for mask in masks[1:])


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="moved_share"):
        TrackingConfig(moved_share=share)


def test_masks_go_with_the_image_in_windows(drift: Video) -> None:
    torch.manual_seed(0)
    predictor = build_sam2_video_predictor(
        "sam2.1_hq_hiera_nano",
        device="cpu",
        tracking="local",
        hydra_overrides_extra=["tracking.moved_share=0.99"],
    )
    score_head = predictor.model.sam_mask_decoder.pred_obj_score_head
    torch.nn.init.constant_(score_head.layers[2].bias, 5.0)
    margin = ((0, 48), (0, 80))
    session = predictor.init_state(np.pad(drift, ((0, 0), *margin), mode="reflect"))
    for obj_id in PLACES:
        predictor.predict_mask(session, 0, obj_id, np.pad(square(obj_id), margin))
    for frame, obj_ids, logits in predictor.propagate_in_video(session):
        for obj_id, found in zip(obj_ids, logits[:, 0, :48, :80], strict=True):
            assert overlap(found, square(obj_id, frame)) > 0.75, (frame, obj_id)
    for state in session.objects.values():
        for output in state.bank.tracked.values():
            assert output.sighting is not None
            assert output.sighting.window is not None


def test_only_a_share_moves_masks() -> None:
    assert TrackingConfig(moved_share=0.5).moves_masks
    assert not TrackingConfig().moves_masks


def test_every_frame_is_read_once(predictor: SAM2VideoPredictor, drift: Video) -> None:
    reads: list[int] = []

    class Source:
        hw = (48, 80)

        def __len__(self) -> int:
            return len(drift)

        def read(self, index: int) -> npt.NDArray[np.uint8]:
            reads.append(index)
            return drift[index]

    chosen = following(predictor, 0.85)
    session = chosen.init_state(Source(), contrast_limits=(0, 255))
    chosen.predict_mask(session, 0, 1, square(1))
    assert len(list(chosen.propagate(session))) == len(drift)
    assert sorted(reads) == list(range(len(drift)))
