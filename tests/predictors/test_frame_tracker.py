"""Batches: sizes, memory that runs out, cancelling, what stays and what goes."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from napari_hqsam2.errors import DeviceError
from napari_hqsam2.predictors.prompt_inputs import new_clicks
from napari_hqsam2.predictors.tracking_config import TrackingConfig
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import FrameLogits

    Video = npt.NDArray[np.uint8]

COUNT = 7


def with_config(predictor: SAM2VideoPredictor, **config: object) -> SAM2VideoPredictor:
    return SAM2VideoPredictor(
        predictor.model, TrackingConfig(fill_hole_area=0, **config)
    )


def prompted(
    predictor: SAM2VideoPredictor, video: Video, count: int = COUNT
) -> VideoSession:
    session = predictor.init_state(video)
    for obj_id in range(1, count + 1):
        click(predictor, session, obj_id)
    return session


def click(
    predictor: SAM2VideoPredictor, session: VideoSession, obj_id: int
) -> FrameLogits:
    xy = [[9.0 * (obj_id % 8) + 5, 5.0 * (obj_id % 9) + 3]]
    clicks = new_clicks(xy, [1], None, session.hw, predictor.image_size, normalize=True)
    return predictor.predict_clicks(session, obj_id % 2, obj_id, clicks)


def results(
    predictor: SAM2VideoPredictor, session: VideoSession, **how: object
) -> dict[int, Tensor]:
    return {r.frame: r.low_res for r in predictor.propagate(session, **how)}


@pytest.fixture(scope="module")
def expected(predictor: SAM2VideoPredictor, video: Video) -> dict[int, Tensor]:
    """What all objects of `prompted` give in one batch."""
    whole = with_config(predictor, max_batch=COUNT)
    return results(whole, prompted(whole, video))


def spy(
    monkeypatch: pytest.MonkeyPatch,
    predictor: SAM2VideoPredictor,
    verb: str,
    watch: Callable[[tuple[object, ...], Tensor], None],
) -> None:
    """Let `watch` see the arguments and the result of one of the network's verbs."""
    original = getattr(predictor.model, verb)

    def watched(*args: object, **named: object) -> Tensor:
        result = original(*args, **named)
        watch(args, result)
        return result

    monkeypatch.setattr(predictor.model, verb, watched)


@pytest.mark.parametrize("max_batch", [1, 2, 3, None])
def test_the_size_of_batches_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
    predictor: SAM2VideoPredictor,
    video: Video,
    expected: dict[int, Tensor],
    max_batch: int | None,
) -> None:
    batched = with_config(predictor, max_batch=max_batch)
    sizes: list[int] = []
    spy(monkeypatch, batched, "fuse_memory", lambda _, out: sizes.append(len(out)))
    got = results(batched, prompted(batched, video))
    assert max(sizes) == (max_batch or COUNT)
    for frame, low_res in expected.items():
        torch.testing.assert_close(got[frame], low_res, rtol=1e-4, atol=1e-4)


def test_what_all_objects_share_is_computed_once_a_frame(
    monkeypatch: pytest.MonkeyPatch, predictor: SAM2VideoPredictor, video: Video
) -> None:
    small = with_config(predictor, max_batch=2)
    session = prompted(small, video)
    shared: list[Tensor] = []
    spy(monkeypatch, small, "attend_frame", lambda args, _: shared.append(args[0]))
    results(small, session)
    assert len(shared) == len({id(x) for x in shared}) == len(video)


def test_prompts_are_remembered_together(
    monkeypatch: pytest.MonkeyPatch, predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = prompted(predictor, video)
    sizes: list[int] = []
    spy(monkeypatch, predictor, "encode_memory", lambda _, out: sizes.append(len(out)))
    next(predictor.propagate(session))
    # frame 1 and frame 0 of the prompts; what was tracked waits until it is read
    assert sizes == [4, 3]


def test_memory_that_runs_out_halves_the_batches(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    predictor: SAM2VideoPredictor,
    video: Video,
    expected: dict[int, Tensor],
) -> None:
    sizes: list[int] = []
    original = predictor.model.encode_memory

    def scarce(
        embedding: Tensor, low_res: Tensor, *args: Tensor, **how: bool
    ) -> Tensor:
        if not how["binarize"]:
            sizes.append(len(low_res))
            if len(low_res) > 2:
                msg = "CUDA out of memory"
                raise torch.OutOfMemoryError(msg)
        return original(embedding, low_res, *args, **how)

    monkeypatch.setattr(predictor.model, "encode_memory", scarce)
    session = prompted(predictor, video)
    with caplog.at_level(logging.WARNING):
        got = results(predictor, session)
    assert sizes[0] > 2
    assert max(sizes[2:]) <= max(sizes[0] // 2, 2)
    assert sum(size > 2 for size in sizes) == len(caplog.records) == 1
    assert "No memory for" in caplog.text
    for frame, low_res in expected.items():
        torch.testing.assert_close(got[frame], low_res, rtol=1e-4, atol=1e-4)


def test_memory_for_not_even_one_object_is_an_error_that_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
    predictor: SAM2VideoPredictor,
    video: Video,
    expected: dict[int, Tensor],
) -> None:
    session = prompted(predictor, video)
    run = predictor.propagate(session)
    assert [next(run).frame for _ in range(4)] == [0, 1, 2, 3]

    def full(*_: object) -> None:
        msg = "CUDA out of memory"
        raise torch.OutOfMemoryError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(predictor.model, "attend_frame", full)
        with pytest.raises(DeviceError, match="not enough memory on cpu"):
            next(run)
    rest = results(predictor, session, start_frame_idx=4)
    for frame in range(4, 10):
        torch.testing.assert_close(rest[frame], expected[frame], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("asked", [1, 2, 6, 9])
def test_cancelling_between_batches_leaves_no_half_frame(
    predictor: SAM2VideoPredictor,
    video: Video,
    expected: dict[int, Tensor],
    asked: int,
) -> None:
    small = with_config(predictor, max_batch=2)
    session = prompted(small, video)
    calls = iter(range(1000))
    done = results(small, session, is_cancelled=lambda: next(calls) >= asked)
    assert len(done) < len(video)
    last = max(done, default=-1)
    for state in session.objects.values():
        assert set(state.bank.tracked) <= set(range(last + 1))
        assert not state.directions[last + 1 :].any()
    rest = results(small, session, start_frame_idx=last + 1)
    for frame, low_res in {**done, **rest}.items():
        torch.testing.assert_close(low_res, expected[frame], rtol=1e-4, atol=1e-4)


def test_a_removed_object_frees_its_memory(
    monkeypatch: pytest.MonkeyPatch, predictor: SAM2VideoPredictor, video: Video
) -> None:
    batches: list[weakref.ref[torch.UntypedStorage]] = []
    spy(
        monkeypatch,
        predictor,
        "encode_memory",
        lambda _, out: batches.append(weakref.ref(out)),
    )
    session = prompted(predictor, video)
    results(predictor, session)
    gc.collect()
    assert len(batches) > len(video)
    assert [batch() for batch in batches] == [None] * len(batches)
    for state in session.objects.values():
        outputs = state.bank.tracked.values()
        held = [
            tensor
            for output in outputs
            for tensor in (output.memory, output.low_res, output.pointer)
            if tensor is not None
        ]
        assert len(held) > len(outputs)
        for tensor in held:
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


class Effort(TorchDispatchMode):
    """Counts operations and the elements that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.elements = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        self.elements += out.numel() if isinstance(out, torch.Tensor) else 0
        return out


def test_a_click_costs_the_same_whatever_the_number_of_objects(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    efforts = []
    for count in (1, 40):
        session = prompted(predictor, video, count)
        with Effort() as effort:
            result = click(predictor, session, 1)
        assert result.obj_ids == (1,)
        efforts.append((effort.operations, effort.elements))
    assert efforts[0] == efforts[1]
    assert efforts[0][0] > 100
