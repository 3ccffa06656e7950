"""N objects together are what N single runs are, whatever happens on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_hqsam2.build import build_sam2_video_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import FrameLogits, SAM2VideoPredictor

    Video = npt.NDArray[np.uint8]

T, H, W = 10, 48, 80
IDS = (4, 1, 7)
Key = tuple[int, int]
"""Number of the run, and frame."""


@pytest.fixture(scope="module")
def exact() -> SAM2VideoPredictor:
    """The nano model at 64 px in float64, with lively random weights."""
    torch.manual_seed(11)
    predictor = build_sam2_video_predictor(
        "sam2.1_hq_hiera_nano",
        device="cpu",
        hydra_overrides_extra=["model.image_size=64"],
    )
    with torch.no_grad():
        for name, parameter in predictor.model.named_parameters():
            if not name.startswith("image_encoder"):
                parameter.add_(0.03 * torch.randn_like(parameter))
    head = predictor.model.sam_mask_decoder.pred_obj_score_head
    torch.nn.init.constant_(head.layers[2].bias, 1.0)
    predictor.model.double()
    encode = predictor.model.encode_image
    predictor.model.encode_image = lambda image: encode(image.double())
    return predictor


def start(predictor: SAM2VideoPredictor, video: Video) -> VideoSession:
    session = predictor.init_state(video)
    session.memory_dtype = predictor.model.no_mem_embed.dtype
    return session


@dataclass(frozen=True)
class Click:
    obj_id: int
    frame: int
    xy: tuple[int, int]
    positive: bool

    def apply(self, predictor: SAM2VideoPredictor, session: VideoSession) -> None:
        kinds = [int(self.positive)]
        predictor.add_new_points_or_box(
            session, self.frame, self.obj_id, [self.xy], kinds
        )


@dataclass(frozen=True)
class Mask:
    obj_id: int
    frame: int
    xy: tuple[int, int]

    def apply(self, predictor: SAM2VideoPredictor, session: VideoSession) -> None:
        mask = np.zeros((H, W), dtype=bool)
        x, y = self.xy
        mask[y - 8 : y + 9, x - 8 : x + 9] = True
        predictor.add_new_mask(session, self.frame, self.obj_id, mask)


@dataclass(frozen=True)
class Clear:
    obj_id: int
    frame: int

    def apply(self, predictor: SAM2VideoPredictor, session: VideoSession) -> None:
        if self.obj_id in session.objects:
            predictor.clear_all_prompts_in_frame(session, self.frame, self.obj_id)


@dataclass(frozen=True)
class Remove:
    obj_id: int

    def apply(self, predictor: SAM2VideoPredictor, session: VideoSession) -> None:
        predictor.remove_object(session, self.obj_id)


@dataclass(frozen=True)
class Run:
    """A whole pass; one click comes when a frame is done."""

    reverse: bool
    after: int
    click: Click


Step = Click | Mask | Clear | Remove | Run
Frames = st.integers(0, T - 1)
Points = st.tuples(st.integers(10, W - 11), st.integers(10, H - 11))
Clicks = st.builds(Click, st.sampled_from(IDS), Frames, Points, st.booleans())
Steps = st.one_of(
    Clicks,
    st.builds(Mask, st.sampled_from(IDS), Frames, Points),
    st.builds(Clear, st.sampled_from(IDS), Frames),
    st.builds(Remove, st.sampled_from(IDS)),
    st.builds(Run, st.booleans(), st.integers(1, T - 2), Clicks),
)
Histories = st.lists(Steps, min_size=2, max_size=6).map(
    lambda steps: [
        Click(4, 2, (20, 15), positive=True),
        Click(1, 2, (50, 30), positive=True),
        *steps,
        Run(reverse=False, after=5, click=Click(7, 5, (60, 20), positive=True)),
    ]
)


def has_prompts(session: VideoSession) -> bool:
    return all(
        state.bank.conditioning
        or any(pending.is_conditioning for pending in state.pending.values())
        for state in session.objects.values()
    )


def play(
    predictor: SAM2VideoPredictor,
    video: Video,
    history: list[Step],
    only: int | None = None,
) -> dict[Key, dict[int, tuple[torch.Tensor, float]]]:
    """Results of all runs, by object; with `only`, as if there were one object."""
    session = start(predictor, video)
    results: dict[Key, dict[int, tuple[torch.Tensor, float]]] = {}
    for number, step in enumerate(history):
        if not isinstance(step, Run):
            if only in (None, step.obj_id):
                step.apply(predictor, session)
            continue
        is_own = only in (None, step.click.obj_id)
        if not has_prompts(session):
            return results
        for result in passes(predictor, session, step, is_own=is_own):
            rows = zip(result.low_res, result.object_scores, strict=True)
            results[number, result.frame] = dict(zip(result.obj_ids, rows, strict=True))
    return results


def passes(
    predictor: SAM2VideoPredictor, session: VideoSession, step: Run, *, is_own: bool
) -> Iterator[FrameLogits]:
    """One pass over the video; an object that is alone may begin in the middle."""
    first = T - 1 if step.reverse else 0
    if session.objects:
        for result in predictor.propagate(
            session, start_frame_idx=first, reverse=step.reverse
        ):
            yield result
            if is_own and result.frame == step.after:
                step.click.apply(predictor, session)
    elif is_own:
        step.click.apply(predictor, session)
        then = step.after - 1 if step.reverse else step.after + 1
        # upstream does nothing in reverse from frame 0
        if then > 0:
            yield from predictor.propagate(
                session, start_frame_idx=then, reverse=step.reverse
            )


# each example is some seconds of tracking
@pytest.mark.slow
@settings(max_examples=max(20, settings.default.max_examples // 20))
@given(history=Histories)
def test_many_histories_of_n_objects_are_n_histories(
    exact: SAM2VideoPredictor, video: Video, history: list[Step]
) -> None:
    check_that_objects_do_not_matter_to_each_other(exact, video, history)


@settings(max_examples=3)
@given(history=Histories)
@example(
    # a frame is corrected whose logits were archived as a mask
    history=[
        Click(4, 0, (20, 15), positive=True),
        Run(reverse=False, after=5, click=Click(7, 5, (60, 20), positive=True)),
        Click(4, 1, (24, 15), positive=False),
        Run(reverse=False, after=5, click=Click(7, 5, (62, 20), positive=True)),
    ]
)
def test_any_history_of_n_objects_is_n_histories(
    exact: SAM2VideoPredictor, video: Video, history: list[Step]
) -> None:
    check_that_objects_do_not_matter_to_each_other(exact, video, history)


def check_that_objects_do_not_matter_to_each_other(
    exact: SAM2VideoPredictor, video: Video, history: list[Step]
) -> None:
    together = play(exact, video, history)
    for obj_id in IDS:
        alone = play(exact, video, history, only=obj_id)
        for key, objects in together.items():
            if obj_id not in objects:
                continue
            # an object that joins a reverse run before frame 0 has no run of its own
            assert key in alone or (history[key[0]].reverse and key[1] == 0)
            if key not in alone:
                continue
            (masks, score), (mask, expected) = objects[obj_id], alone[key][obj_id]
            torch.testing.assert_close(masks, mask, rtol=1e-9, atol=1e-9)
            assert score == pytest.approx(expected, rel=1e-9, abs=1e-9)
