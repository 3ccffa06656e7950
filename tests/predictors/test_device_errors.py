"""Devices without memory, or that fail: what is said, and that nothing is held."""

from __future__ import annotations

import weakref

import pytest
import torch

from napari_hqsam2.errors import DeviceError
from napari_hqsam2.predictors.precision import inference

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
