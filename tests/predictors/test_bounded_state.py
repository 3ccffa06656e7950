"""What a session holds: nothing that grows, all that the next step reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.predictors.feature_cache import DEFAULT_FRAMES
from napari_hqsam2.predictors.frame_tracker import FrameTracker
from napari_hqsam2.predictors.memory_bank import MemoryBank

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2.predictors.memory_bank import FrameOutput
    from napari_hqsam2.predictors.session import ObjectState, VideoSession
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

T, FULL = 40, 24
"""Frames, and the one after which the rings of memories and pointers are full."""
POINTS = {1: (20, 10), 4: (50, 30), 9: (60, 12)}


class Drift:
    """A lazy stack of drifting noise."""

    hw = (48, 80)

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self._scene = rng.integers(0, 255, (48, 80 + T, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return T

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return self._scene[:, index : index + 80]


def start(predictor: SAM2VideoPredictor, frame: int = 0) -> VideoSession:
    session = predictor.init_state(Drift())
    for obj_id, point in POINTS.items():
        predictor.add_new_points_or_box(session, frame, obj_id, [point], [1])
    return session


def tensors(output: FrameOutput) -> list[Tensor]:
    """All that one result holds, each storage once."""
    values = [output.low_res, output.memory, output.pointer, output.object_score]
    if output.glimpse is not None:
        values += [output.glimpse.low_res, output.glimpse.embedding]
    found = {value.data_ptr(): value for value in values if value is not None}
    return list(found.values())


def held(session: VideoSession) -> int:
    """Bytes of a session but for the archived masks."""
    outputs = [
        output
        for state in session.objects.values()
        for outputs in (state.bank.conditioning, state.bank.tracked)
        for output in outputs.values()
    ]
    each = sum(value.nbytes for output in outputs for value in tensors(output))
    return each + session.features.nbytes


@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_but_archived_masks_grows_with_the_frames(
    predictor: SAM2VideoPredictor, reverse: bool
) -> None:
    session = start(predictor, T - 1 if reverse else 0)
    sizes, masks = [], []
    for _ in predictor.propagate(session, reverse=reverse):
        sizes.append(held(session))
        masks.append(len(session.objects[1].bank.archive))
    assert len(sizes) == T
    assert sizes[FULL:] == [sizes[FULL]] * (T - FULL)
    assert sizes[2] < sizes[6]
    # the first frame is a prompt, the last one has its logits still
    assert masks[-1] == T - 2
    assert len(session.features) == DEFAULT_FRAMES


def test_six_memories_wait_for_the_next_frame(predictor: SAM2VideoPredictor) -> None:
    session = start(predictor)
    for result in predictor.propagate(session, max_frame_num_to_track=FULL):
        last = result.frame
    for state in session.objects.values():
        outputs = state.bank.tracked
        reads = {t for t, output in outputs.items() if output.memory is not None}
        assert reads == set(range(last - 6, last))
        assert state.bank.unencoded(last + 1) == [last]
        assert [t for t, one in outputs.items() if one.low_res is not None] == [last]


def corrected(predictor: SAM2VideoPredictor) -> dict[str, Tensor]:
    """A session in which the last frame of runs is corrected, and runs turn round."""
    session = start(predictor, 3)
    results: dict[str, Tensor] = {}

    def go(name: str, first: int, count: int, *, reverse: bool = False) -> None:
        for result in predictor.propagate(
            session,
            start_frame_idx=first,
            max_frame_num_to_track=count,
            reverse=reverse,
        ):
            results[f"{name} {result.frame}"] = result.low_res

    def fix(frame: int, obj_id: int, point: tuple[int, int]) -> None:
        _, ids, masks = predictor.add_new_points_or_box(
            session, frame, obj_id, [point], [1]
        )
        results[f"fix {frame}"] = masks[ids.index(obj_id)]

    go("forward", 3, 14)
    fix(16, 4, (55, 25))
    go("on", 16, 4)
    fix(19, 9, (62, 15))
    return results


def check_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, masks in expected.items():
        assert torch.equal(found[name], masks), name


def test_what_is_dropped_is_read_by_nothing(
    predictor: SAM2VideoPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = corrected(predictor)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBank, "release", lambda *_: [])
        check_same(found, corrected(predictor))
    # one memory less changes the results
    release = MemoryBank.release

    def too_much(bank: MemoryBank, frame: int, reach: object) -> list[object]:
        bank.tracked.pop(frame - 6, None)
        return release(bank, frame, reach)

    monkeypatch.setattr(MemoryBank, "release", too_much)
    assert not torch.equal(corrected(predictor)["fix 16"], found["fix 16"])


def test_a_memory_that_is_encoded_late_is_the_same(
    predictor: SAM2VideoPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turns() -> dict[str, Tensor]:
        session = start(predictor, 2)
        results: dict[str, Tensor] = {}
        for first, count, reverse in ((2, 12, False), (9, 4, True)):
            for result in predictor.propagate(
                session,
                start_frame_idx=first,
                max_frame_num_to_track=count,
                reverse=reverse,
            ):
                results[f"{first} {result.frame}"] = result.low_res
        # reads frame 6, with which the second run has ended
        clicked = predictor.add_new_points_or_box(session, 10, 4, [(55, 25)], [1])
        return results | {"fix": clicked[2]}

    late = turns()
    track = FrameTracker.track

    def at_once(
        tracker: FrameTracker,
        session: VideoSession,
        objects: Mapping[int, ObjectState],
        frame: int,
        sizes: object,
        *args: object,
        **how: bool,
    ) -> object:
        outputs = track(tracker, session, objects, frame, sizes, *args, **how)
        tracker.remember_tracked(session, objects.values(), None, sizes)
        return outputs

    monkeypatch.setattr(FrameTracker, "track", at_once)
    check_same(turns(), late)
