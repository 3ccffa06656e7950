"""Frames read ahead: by one thread at a time, into the cache, with errors in place."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.feature_cache import DEFAULT_FRAMES
from napari_hqsam2.predictors.tracking_config import TrackingConfig
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Video = npt.NDArray[np.uint8]


class Source:
    """Frames that note who reads them, and how many at once."""

    def __init__(self, video: Video, *, broken: int | None = None) -> None:
        self._video = video
        self._broken = broken
        self._inside = 0
        self.most_inside = 0
        self.reads: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._video)

    @property
    def hw(self) -> tuple[int, int]:
        return self._video.shape[1], self._video.shape[2]

    def read(self, index: int) -> Video:
        self._inside += 1
        self.most_inside = max(self.most_inside, self._inside)
        self.reads.append((index, threading.current_thread().name))
        time.sleep(0.002)
        self._inside -= 1
        if index == self._broken:
            msg = f"Frame {index} is damaged."
            raise StackError(msg)
        return self._video[index]

    def ahead(self) -> list[int]:
        return [index for index, name in self.reads if name.startswith("prefetch")]


def with_depth(predictor: SAM2VideoPredictor, depth: int) -> SAM2VideoPredictor:
    config = TrackingConfig(fill_hole_area=0, prefetch=depth)
    return SAM2VideoPredictor(predictor.model, config)


def test_frames_are_read_once_by_one_thread_at_a_time(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    source = Source(video)
    session = predictor.init_state(source)
    source.reads.clear()
    predictor.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
    for result in predictor.propagate(session):
        # clicks on far frames meet the thread that reads ahead
        if result.frame == 2:
            predictor.add_new_points_or_box(session, 9, 1, [[20, 10]], [1])
    assert [index for index, _ in source.reads].count(9) == 1
    assert sorted(index for index, _ in source.reads) == list(range(10))
    assert source.ahead() == list(range(1, 9))
    assert source.most_inside == 1
    assert len(session.features) == DEFAULT_FRAMES


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_reading_ahead_changes_no_result(
    predictor: SAM2VideoPredictor, video: Video, depth: int, reverse: bool
) -> None:
    masks = []
    for one in (with_depth(predictor, 2), with_depth(predictor, depth)):
        session = one.init_state(video)
        one.add_new_points_or_box(session, 5, 1, [[20, 10]], [1])
        run = one.propagate(session, reverse=reverse)
        masks.append(torch.cat([result.low_res for result in run]))
    assert torch.equal(*masks)


def test_a_damaged_frame_is_reported_when_its_turn_has_come(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(Source(video, broken=4), contrast_limits=(0, 255))
    predictor.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
    seen = []
    with pytest.raises(StackError, match="Frame 4 is damaged"):
        seen += [result.frame for result in predictor.propagate(session)]
    run = predictor.propagate(session)
    for frame in range(4):
        assert next(run).frame == frame
    with pytest.raises(StackError, match="Frame 4 is damaged"):
        next(run)
    assert 4 not in session.features
    assert set(session.objects[1].bank.tracked) == {1, 2, 3}


def test_a_damaged_frame_leaves_no_object(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    session = predictor.init_state(Source(video, broken=4), contrast_limits=(0, 255))
    with pytest.raises(StackError, match="Frame 4 is damaged"):
        predictor.add_new_points_or_box(session, 4, 1, [[20, 10]], [1])
    assert session.obj_ids == []


def test_what_needs_no_features_is_not_read(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    source = Source(video)
    session = predictor.init_state(source, feature_cache_bytes=0)
    for frame in (3, 4, 5):
        predictor.add_new_points_or_box(session, frame, 1, [[20, 10]], [1])
    list(predictor.propagate(session, max_frame_num_to_track=1))
    source.reads.clear()
    list(predictor.propagate(session, start_frame_idx=2, max_frame_num_to_track=5))
    assert sorted(index for index, _ in source.reads) == [2, 6]


@pytest.mark.parametrize("end", ["close", "finish", "cancel", "error"])
def test_no_thread_is_left(
    predictor: SAM2VideoPredictor, video: Video, end: str
) -> None:
    source = Source(video, broken=8 if end == "error" else None)
    session = predictor.init_state(source, contrast_limits=(0, 255))
    predictor.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
    stop = threading.Event()
    run = predictor.propagate(session, is_cancelled=stop.is_set)
    assert [next(run).frame for _ in range(3)] == [0, 1, 2]
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("prefetch") for name in names) == 1
    if end == "close":
        run.close()
    elif end == "error":
        with pytest.raises(StackError):
            list(run)
    else:
        stop.set() if end == "cancel" else None
        assert len(list(run)) == (0 if end == "cancel" else 7)
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("prefetch") for name in names)


@pytest.mark.needs_cuda
def test_a_gpu_encodes_ahead_with_the_same_result(
    predictor: SAM2VideoPredictor, video: Video
) -> None:
    masks = []
    try:
        for depth in (0, 3):
            one = with_depth(predictor, depth).to("cuda")
            session = one.init_state(video)
            one.add_new_points_or_box(session, 0, 1, [[20, 10]], [1])
            masks.append(torch.cat([r.low_res for r in one.propagate(session)]).cpu())
    finally:
        predictor.to("cpu")
    assert torch.equal(*masks)
