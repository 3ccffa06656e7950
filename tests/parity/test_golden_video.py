"""The video predictor gives what the references gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hqsam2.build import build_sam2_video_predictor

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

FRAMES = 8


class TwoFrames:
    """A predictor that stops after the first two frames of a propagation."""

    def __init__(self, predictor: SAM2VideoPredictor) -> None:
        self.add_new_points_or_box = predictor.add_new_points_or_box
        self._predictor = predictor

    def propagate_in_video(self, session: VideoSession) -> object:
        return self._predictor.propagate_in_video(session, max_frame_num_to_track=2)


def build(name: str, seed: int, scenarios: ModuleType) -> SAM2VideoPredictor:
    predictor = build_sam2_video_predictor(name, device="cpu", fill_hole_area=0)
    scenarios.load_formula_weights(predictor, seed)
    return predictor


def test_two_frames_of_three_objects_with_hq(
    formula: ModuleType, scenarios: ModuleType, recorded: Any
) -> None:
    predictor = build("sam2.1_hq_hiera_tiny", 1, scenarios)
    session = predictor.init_state(formula.frames(FRAMES, seed=1))
    got = scenarios.same_frame_prompts(TwoFrames(predictor), session, 1, FRAMES)
    assert len(got) == 9
    recorded.check_video(
        "video_same_frame.sam2.1_hq_hiera_tiny.seed1", got, whole=False
    )


@pytest.mark.parity
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("scenario", "name", "seed"),
    [
        ("same_frame", "sam2.1_hiera_tiny", 1),
        ("same_frame", "sam2.1_hiera_tiny", 2),
        ("same_frame", "sam2.1_hq_hiera_tiny", 1),
        ("interactive", "sam2.1_hiera_tiny", 1),
        ("interactive", "sam2.1_hiera_tiny", 2),
    ],
)
def test_whole_scenario(
    scenario: str,
    name: str,
    seed: int,
    formula: ModuleType,
    scenarios: ModuleType,
    recorded: Any,
) -> None:
    predictor = build(name, seed, scenarios)
    session = predictor.init_state(formula.frames(FRAMES, seed=seed))
    run = {
        "same_frame": scenarios.same_frame_prompts,
        "interactive": scenarios.interactive_session,
    }[scenario]
    recorded.check_video(
        f"video_{scenario}.{name}.seed{seed}", run(predictor, session, seed, FRAMES)
    )
