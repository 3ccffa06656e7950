"""The switch for cuDNN's attention, which all threads share."""

from __future__ import annotations

import threading

import pytest
import torch

from napari_hqsam2.predictors.precision import AttentionWithoutCudnn


@pytest.mark.parametrize("before", [True, False])
def test_the_last_thread_that_leaves_turns_cudnn_back(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = {"on": before}
    cuda = torch.backends.cuda
    monkeypatch.setattr(cuda, "cudnn_sdp_enabled", lambda: switch["on"])
    monkeypatch.setattr(
        cuda, "enable_cudnn_sdp", lambda enabled: switch.update(on=enabled)
    )
    without = AttentionWithoutCudnn()
    inside, may_leave = threading.Event(), threading.Event()

    def other() -> None:
        with without:
            inside.set()
            assert may_leave.wait(10)

    thread = threading.Thread(target=other)
    with without:
        assert not switch["on"]
        thread.start()
        assert inside.wait(10)
    assert not switch["on"]
    may_leave.set()
    thread.join(10)
    assert switch["on"] is before


def test_the_real_switch_is_back_after_an_error() -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    seen = []

    def fail() -> None:
        with AttentionWithoutCudnn():
            seen.append(torch.backends.cuda.cudnn_sdp_enabled())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [False]
    assert torch.backends.cuda.cudnn_sdp_enabled() == before
