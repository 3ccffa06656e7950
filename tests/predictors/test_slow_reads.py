"""Frames that never come: time-outs name them, cancelling works, no thread stays."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_hqsam2.errors import FrameTimeoutError, ReadCancelledError, StackError
from napari_hqsam2.predictors import slow_reads
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.prefetch import Prefetcher
from napari_hqsam2.predictors.slow_reads import (
    MAX_IDLE,
    PatientSource,
    reads_cancelled_by,
    until_cancelled,
)
from napari_hqsam2.segmentation.stack_view import StackView, is_in_memory


class Stuck:
    """A lazy array one frame of which does not come before `open` is set."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape: tuple[int, ...], bad: int, axis: int = 0) -> None:
        self.shape = shape
        self.open = threading.Event()
        self.threads: set[threading.Thread] = set()
        self._at = (axis, bad)

    def __getitem__(self, key: tuple[object, ...]) -> np.ndarray:
        self.threads.add(threading.current_thread())
        axis, bad = self._at
        if key[axis] == bad:
            assert self.open.wait(30)
        return np.broadcast_to(np.uint16(7), self.shape)[key]


@pytest.fixture
def stuck():
    array = Stuck((5, 4, 6), bad=3)
    yield array
    array.open.set()


def patient(array: Stuck, timeout: float | None = 0.2) -> PatientSource:
    return PatientSource(open_frames(array), timeout, "T={}".format, "a Stuck")


def test_frames_come_as_they_are(stuck):
    source = patient(stuck)
    assert (len(source), source.hw) == (5, (4, 6))
    assert (source.read(2) == 7).all()
    part = source.read_part(2, (slice(1, 3), slice(2, 6)))
    assert part.shape == (2, 4)
    with pytest.raises(StackError, match="frame 5 does not exist"):
        source.read(5)


def test_a_frame_that_does_not_come_is_named(stuck):
    source, began = patient(stuck), time.monotonic()
    message = r"Frame T=3 did not come within 0.2 s.*\(a Stuck\).*read_timeout"
    with pytest.raises(FrameTimeoutError, match=message):
        source.read(3)
    assert 0.2 <= time.monotonic() - began < 5
    assert source.read(4).shape == (4, 6)
    with pytest.raises(FrameTimeoutError):
        source.read_part(3, (slice(0, 2), slice(0, 2)))


def test_a_slow_frame_is_waited_for(stuck):
    threading.Timer(0.3, stuck.open.set).start()
    assert patient(stuck, None).read(3).shape == (4, 6)


def test_waiting_can_be_cancelled(stuck):
    with (
        reads_cancelled_by(lambda: True),
        pytest.raises(ReadCancelledError, match="frame T=3"),
    ):
        patient(stuck, None).read(3)
    with (
        reads_cancelled_by(lambda: True),
        reads_cancelled_by(lambda: False),
        pytest.raises(ReadCancelledError),
    ):
        patient(stuck, None).read(3)
    with reads_cancelled_by(lambda: True):
        assert patient(stuck).read(2).shape == (4, 6)
    with pytest.raises(FrameTimeoutError):
        patient(stuck).read(3)


def test_work_that_is_cancelled_ends_before_the_frame(stuck):
    source, over = patient(stuck, None), threading.Event()

    def frames():
        for index in range(5):
            source.read(index)
            yield index

    threading.Timer(0.2, over.set).start()
    assert list(until_cancelled(frames(), over.is_set)) == [0, 1, 2]
    with reads_cancelled_by(lambda: True), pytest.raises(ReadCancelledError):
        list(until_cancelled(frames(), lambda: False))


def test_what_is_read_ahead_is_given_up_too(stuck):
    source, over = patient(stuck, None), threading.Event()
    with (
        Prefetcher(source.read, range(5), 2, lambda _: True) as ahead,
        reads_cancelled_by(over.is_set),
    ):
        assert ahead.arrive(1) is None
        assert ahead.arrive(2) is not None
        over.set()
        with pytest.raises(ReadCancelledError):
            ahead.arrive(3)
    with Prefetcher(source.read, range(5), 2, lambda _: True) as ahead:
        ahead.arrive(1)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_threads_are_used_again_and_those_left_behind_end(stuck):
    source = patient(stuck, 0.05)
    for _ in range(20):
        source.read(1)
    assert len(stuck.threads) <= MAX_IDLE
    for _ in range(MAX_IDLE + 3):
        with pytest.raises(FrameTimeoutError):
            source.read(3)
    assert all(thread.daemon for thread in stuck.threads)
    stuck.open.set()
    until = time.monotonic() + 10
    while sum(thread.is_alive() for thread in stuck.threads) > MAX_IDLE:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert len(slow_reads._idle) <= MAX_IDLE
    assert source.read(3).shape == (4, 6)


def test_errors_of_a_source_are_its_own():
    class Broken(Stuck):
        def __getitem__(self, key):
            raise OSError("gone")

    with pytest.raises(StackError, match=r"Frame 1 of the Broken.*OSError: gone"):
        patient(Broken((5, 4, 6), 9)).read(1)
    view = StackView(Broken((5, 3, 4, 6), 9), "TZYX")
    with pytest.raises(StackError, match=r"Frame 2 of the Broken stack at T=3 cannot"):
        view.frames((3, 0), "Z").read(2)


def test_arrays_in_memory_are_read_at_once(stuck):
    assert is_in_memory(np.zeros(3))
    assert is_in_memory([np.zeros(3)])
    assert not is_in_memory(stuck)
    assert not is_in_memory([np.zeros(3), stuck])
    source = StackView(np.zeros((5, 4, 6), np.uint16)).frames((0,), "T")
    assert not isinstance(source, PatientSource)


def test_a_view_names_the_frame_by_all_its_axes():
    array = Stuck((2, 3, 4, 6), bad=2, axis=1)
    view = StackView(array, "TZYX", read_timeout=0.1)
    with pytest.raises(FrameTimeoutError, match="Frame T=1, Z=2 did not come"):
        view.frames((1, 0), "Z").read(2)
    with pytest.raises(FrameTimeoutError, match="Frame T=0, Z=2 did not come"):
        view.every_frame().read(2)
    with pytest.raises(FrameTimeoutError, match="Frame T=0, Z=2 did not come"):
        view.limits()
    array.open.set()


def test_a_source_that_does_not_answer_is_not_opened_for_ever():
    class Source:
        hw = (4, 6)

        def __len__(self):
            return 3

        def read(self, index):
            threading.Event().wait(30)

    with pytest.raises(FrameTimeoutError, match="Frame 0 did not come"):
        StackView(Source(), read_timeout=0.1)


def test_a_process_ends_while_a_frame_does_not_come():
    script = """
import sys, time, threading
sys.path.insert(0, {folder!r})
from test_slow_reads import Stuck, patient
from napari_hqsam2.errors import FrameTimeoutError
try:
    patient(Stuck((5, 4, 6), bad=3)).read(3)
except FrameTimeoutError:
    print("told")
"""
    folder = str(Path(__file__).parent)
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script.format(folder=folder)],
        check=True,
        timeout=25,
        capture_output=True,
        text=True,
    )
    assert result.stdout == "told\n"
