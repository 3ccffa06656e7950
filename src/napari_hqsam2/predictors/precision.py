"""One policy for the arithmetic of inference."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.predictors.device_errors import device_errors_told

if TYPE_CHECKING:
    from collections.abc import Iterator


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA devices that have it in hardware, float32 elsewhere."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        return torch.bfloat16
    return torch.float32


class AttentionWithoutCudnn:
    """While a thread is inside, no attention of the process is given to cuDNN.

    cuDNN plans the attention of each shape first, in each thread anew and for longer
    than a frame takes, and memories change their shape with every frame at first. The
    other kernels need no plan. The switch is the process's own, so it is turned back
    when the last thread leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.backends.cuda.cudnn_sdp_enabled()
                torch.backends.cuda.enable_cudnn_sdp(enabled=False)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cuda.enable_cudnn_sdp(enabled=self._before)


_ATTENTION = AttentionWithoutCudnn()


@contextmanager
def inference(device: torch.device, *, single: bool = False) -> Iterator[None]:
    """Run without gradients, with autocast where the device gains from it.

    Parameters
    ----------
    device : torch.device
        What is computed on.
    single : bool
        Compute in float32, whatever the device gains from.

    Raises
    ------
    DeviceError
        There is no memory left, or the device has failed.
    """
    dtype = compute_dtype(device)
    with (
        device_errors_told(device),
        _ATTENTION if device.type == "cuda" else nullcontext(),
        torch.inference_mode(),
        torch.autocast(
            device.type,
            dtype,
            enabled=dtype != torch.float32 and not single,
            # all threads would share it, whatever their streams; models keep their own
            cache_enabled=False,
        ),
    ):
        yield
