"""The way to the driver, with one of ours: contexts, arguments, streams, errors."""

from __future__ import annotations

import ctypes
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.errors import KernelError
from napari_hqsam2.ops import _driver
from napari_hqsam2.ops.compose_labels import (
    compose_by_kernels,
    compose_labels,
    positive_boxes,
)
from napari_hqsam2.ops.rotate import rotate_by_kernel, rotate_pairs

if TYPE_CHECKING:
    import numpy as np

    from conftest import Target

DEVICE = torch.device("cuda", 0)
STREAM = 0x7FFF_1234_5678

pytestmark = pytest.mark.needs_cxx


@pytest.fixture
def driver(host: Target, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """A library with the functions of the driver, which runs kernels of the host."""
    library = host.build("host_driver", '#include "host_driver.h"\n')
    library.stream_seen.restype = ctypes.c_void_p
    monkeypatch.setattr(_driver, "_library", lambda: library)
    stream = SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: stream)
    return library


def load(host: Target, name: str) -> _driver.DeviceModule:
    host.kernels(name)
    path = str(host.folder / f"{name}.so").encode() + b"\0"
    return _driver.DeviceModule(path, DEVICE)


def test_arguments_arrive(
    driver: ctypes.CDLL, host: Target, rng: np.random.Generator
) -> None:
    x, cos, sin = (
        torch.from_numpy(rng.normal(size=size)).float()
        for size in ((2, 6, 8), (3, 4), (3, 4))
    )
    module = load(host, "rotate_pairs")
    found = rotate_by_kernel(module, x, cos, sin, True)
    torch.testing.assert_close(found, rotate_pairs(x, cos, -sin))
    assert driver.contexts_left() == 0
    assert driver.stream_seen() == STREAM


@pytest.mark.usefixtures("driver")
def test_several_kernels_follow_each_other(
    host: Target, rng: np.random.Generator
) -> None:
    logits = torch.from_numpy(rng.normal(size=(4, 7, 9))).float()
    ids, boxes = torch.tensor([4, 9, 2, 300]), positive_boxes(logits)
    found, expected = torch.zeros(2, 60, 50, dtype=torch.int16)
    compose_labels(logits, ids, boxes, expected)
    module = load(host, "compose_labels")
    # a thread that has used no device before
    arguments = (module, logits, ids, boxes, None, found)
    worker = threading.Thread(target=compose_by_kernels, args=arguments)
    worker.start()
    worker.join()
    assert torch.equal(found, expected)


def test_errors_name_the_call_and_the_reason(driver: ctypes.CDLL, host: Target) -> None:
    module = load(host, "rotate_pairs")
    message = "cuModuleGetFunction failed with CUDA error 500: named symbol not found"
    with pytest.raises(KernelError, match=message):
        module.launch("juggle", (1, 1))
    message = "cuLaunchKernel failed with CUDA error 1: invalid argument"
    with pytest.raises(KernelError, match=message):
        module.launch("rotate_pairs", (0, 1), *[0] * 10, 1.0)
    with pytest.raises(KernelError, match="cuModuleLoadData failed"):
        _driver.DeviceModule(b"no such file\0", DEVICE)
    with pytest.raises(KernelError, match="cuDeviceGet failed"):
        _driver.DeviceModule(b"", torch.device("cuda", 3))
    assert driver.contexts_left() == 0


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(_driver.ctypes, "CDLL", fail)
    _driver._library.cache_clear()
    with pytest.raises(KernelError, match="driver cannot be loaded: "):
        _driver.DeviceModule(b"", DEVICE)
