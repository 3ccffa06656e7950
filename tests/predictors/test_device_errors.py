"""Devices without memory, or that fail: what is said, and that nothing is held."""

from __future__ import annotations

import weakref

import pytest
import torch

from napari_hqsam2 import FramePrompts, PointPrompt, segment_image, segment_stack
from napari_hqsam2.build import resolve_device
from napari_hqsam2.errors import DeviceError
from napari_hqsam2.predictors import device_errors
from napari_hqsam2.predictors.batch_size import free_bytes
from napari_hqsam2.predictors.device_errors import device_errors_told
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.propagation import FrameLogits
from napari_hqsam2.segmentation import composition

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "memory on"),
        (MemoryError(), r"not enough memory on cpu: .* of .* are free\."),
        (RuntimeError("MPS backend out of memory"), r"resolution=512"),
        (RuntimeError("cublas: CUBLAS_STATUS_ALLOC_FAILED"), "Close other programs"),
        (
            torch.AcceleratorError("CUDA error: an illegal memory access\nmore"),
            r"GPU has failed.*\(CUDA error: an illegal memory access\).*device=.cpu",
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), "start anew"),
    ],
)
def test_what_is_said(error: Exception, words: str) -> None:
    with pytest.raises(DeviceError, match=words), inference(CPU), inference(CPU):
        raise error


def test_a_processor_without_memory() -> None:
    with pytest.raises(DeviceError, match="not enough memory on cpu"), inference(CPU):
        torch.empty(2**52, dtype=torch.uint8)


def test_other_errors_stay_what_they_are() -> None:
    error = RuntimeError("shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes") as caught, inference(CPU):
        raise error
    assert caught.value is error


def test_nothing_of_the_failed_attempt_is_held() -> None:
    held = []

    def fail() -> None:
        large = torch.zeros(10)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError

    with pytest.raises(DeviceError) as caught, inference(CPU):
        fail()
    assert held[0]() is None, caught


ILLEGAL = "CUDA error: an illegal memory access was encountered"


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that fails in some test only."""
    monkeypatch.setattr(device_errors, "_failed", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return torch.device("cuda")


def test_a_gpu_that_has_failed_is_not_tried_again(gpu):
    assert resolve_device() == gpu
    with pytest.raises(DeviceError, match="illegal"), device_errors_told(gpu):
        raise torch.AcceleratorError(ILLEGAL)
    tried = []
    for attempt in (
        lambda: resolve_device("cuda"),
        lambda: resolve_device("cuda:0"),
        lambda: free_bytes(gpu),
    ):
        with pytest.raises(DeviceError, match=r"has failed.*illegal.*device=.cpu"):
            attempt()
    with pytest.raises(DeviceError, match="has failed"), device_errors_told(gpu):
        tried.append("again")
    assert tried == []
    assert resolve_device().type != "cuda"
    assert resolve_device("cpu") == CPU


def test_a_gpu_without_memory_is_tried_again(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * 10**9, 8 * 10**9))
    words = r"memory on cuda: 2.0 GB of 8.0 GB are free.*device=.cpu"
    with pytest.raises(DeviceError, match=words), device_errors_told(gpu):
        raise torch.OutOfMemoryError
    assert resolve_device() == gpu


CELL = FramePrompts((0,), 1, points=(PointPrompt(20, 20),))


def test_what_fails_late_is_told_too(predictor, video, monkeypatch):
    def fail(*_):
        raise torch.AcceleratorError(ILLEGAL)

    monkeypatch.setattr(FrameLogits, "of", fail)
    with pytest.raises(DeviceError, match="The GPU has failed"):
        segment_stack(video, [CELL], axes="TYXC", model=predictor, crop="off")


def test_masks_are_composed_elsewhere(predictor, video, monkeypatch):
    cell = FramePrompts((), 1, points=(PointPrompt(20, 20),))
    expected = segment_image(video[0], [cell], axes="YXC", model=predictor)
    calls, compose = [], composition.compose_labels

    def full_at_first(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError
        return compose(*arguments, **options)

    monkeypatch.setattr(composition, "compose_labels", full_at_first)
    found = segment_image(video[0], [cell], axes="YXC", model=predictor)
    assert len(calls) == 2
    assert (found == expected).all()
