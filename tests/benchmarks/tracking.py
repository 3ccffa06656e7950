"""Objects through a stack, in sam2 and in ours: prompts, then `propagate_in_video`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tests.benchmarks import models, reference
from tests.benchmarks.timing import Side

from napari_hqsam2.predictors.prompt_inputs import new_clicks
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    import torch
    from tests.benchmarks.models import Trunk
    from tests.benchmarks.scenes import Scene

    from napari_hqsam2.predictors.session import VideoSession

Prompt = Literal["click", "box", "mask"]
NO_PIXELS = (16, 16)
"""Size that sam2's frames are said to have while objects are prompted: it enlarges the
masks of all objects at each prompt."""


@dataclass(frozen=True)
class Run:
    """What both sides do."""

    trunk: Trunk
    size: int
    """Side of the network's input."""
    scene: Scene
    device: torch.device
    prompt: Prompt = "click"
    hq: bool = False
    tracking: Literal["exact", "local"] = "exact"

    def prompts(self) -> list[dict[str, Any]]:
        """Arguments of `add_new_points_or_box`, in pixels."""
        if self.prompt == "box":
            return [{"box": box} for box in self.scene.boxes]
        return [{"points": point[None], "labels": [1]} for point in self.scene.centres]


def our_predictor(run: Run) -> SAM2VideoPredictor:
    """Our predictor; exact and local share one model."""
    exact = models.predictor(run.trunk, run.size, run.device, hq=run.hq)
    config = replace(exact.config, tracking=run.tracking)
    return SAM2VideoPredictor(exact.model, config)


def our_session(predictor: SAM2VideoPredictor, run: Run) -> VideoSession:
    """Start a session of ours with all objects prompted on the first frame."""
    session = predictor.init_state(run.scene.frames)
    if run.prompt == "mask":
        for number, mask in enumerate(run.scene.masks(), 1):
            predictor.predict_mask(session, 0, number, mask)
        return session
    for number, prompt in enumerate(run.prompts(), 1):
        clicks = new_clicks(
            prompt.get("points"),
            prompt.get("labels"),
            prompt.get("box"),
            session.hw,
            run.size,
            normalize=True,
        )
        predictor.predict_clicks(session, 0, number, clicks)
    return session


def ours(run: Run) -> Side[VideoSession]:
    """Our side of a run."""
    predictor = our_predictor(run)

    def track(session: VideoSession) -> None:
        for _ in predictor.propagate_in_video(session):
            pass

    name = f"ours, {run.tracking}"
    short = replace(run, scene=_first_object(run.scene))
    return Side(
        name,
        lambda: our_session(predictor, run),
        track,
        warm_up=lambda: track(our_session(predictor, short)),
    )


def reference_session(predictor: Any, run: Run) -> Any:
    """Start a state of sam2's with all objects prompted on the first frame."""
    height, width = run.scene.hw
    with reference.computing(run.device):
        state = reference.open_frames(predictor, run.scene.frames, run.scene.hw)
        state["video_height"], state["video_width"] = NO_PIXELS
        if run.prompt == "mask":
            for number, mask in enumerate(run.scene.masks(), 1):
                predictor.add_new_mask(state, 0, number, mask)
        for number, prompt in enumerate(run.prompts(), 1):
            if run.prompt != "mask":
                predictor.add_new_points_or_box(
                    state, 0, number, normalize_coords=False, **_norm(prompt, run)
                )
        state["video_height"], state["video_width"] = height, width
    return state


def _norm(prompt: dict[str, Any], run: Run) -> dict[str, Any]:
    """Prompt in shares of the frame instead of pixels."""
    height, width = run.scene.hw
    points = {"points": (width, height), "box": (width, height, width, height)}
    return {
        key: value / points[key] if key in points else value
        for key, value in prompt.items()
    }


def theirs(run: Run) -> Side[Any] | None:
    """The baseline's side of a run; None where sam2 is not installed."""
    if not reference.is_installed():
        return None
    predictor = reference.predictor(run.trunk, run.size, run.device)

    def track(state: Any) -> None:
        with reference.computing(run.device):
            for _ in predictor.propagate_in_video(state):
                pass

    short = replace(run, scene=_first_object(run.scene))
    return Side(
        reference.name(),
        lambda: reference_session(predictor, run),
        track,
        warm_up=lambda: track(reference_session(predictor, short)),
    )


def _first_object(scene: Scene) -> Scene:
    return replace(scene, frames=scene.frames[:2], boxes=scene.boxes[:1])
