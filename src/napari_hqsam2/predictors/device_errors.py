"""What to say when a device has no memory left, or has failed."""

from __future__ import annotations

from contextlib import contextmanager
from traceback import clear_frames
from typing import TYPE_CHECKING

import psutil
import torch

from napari_hqsam2.errors import DeviceError
from napari_hqsam2.files import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
"""What errors say that are of no type of their own."""
FAILED = "CUDA error"


@contextmanager
def device_errors_told(device: torch.device) -> Iterator[None]:
    """Raise DeviceError where a device has no memory left, or has failed.

    By then, what the failed attempt held is free again.
    """
    try:
        yield
    except DeviceError:
        raise
    except (RuntimeError, MemoryError) as error:
        told = _words(error, device)
        if not told:
            raise
        clear_frames(error.__traceback__)
        raise DeviceError(told) from error


def _words(error: RuntimeError | MemoryError, device: torch.device) -> str:
    """What happened and what to do; empty if it is no fault of a device."""
    text = str(error)
    is_full = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if is_full or any(words in text for words in NO_MEMORY):
        return _no_memory(device)
    if isinstance(error, torch.AcceleratorError) or FAILED in text:
        reason = text.splitlines()[0]
        return (
            f"The GPU has failed, and this process cannot use it any more ({reason}). "
            "What was done is kept. Save it and start anew, or go on on the processor "
            '(device="cpu").'
        )
    return ""


def _no_memory(device: torch.device) -> str:
    room, elsewhere = "", ', or compute on the processor (device="cpu")'
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        room = f": {size_words(free)} of {size_words(total)} are free"
    elif device.type == "cpu":
        memory = psutil.virtual_memory()
        room = (
            f": {size_words(memory.available)} of {size_words(memory.total)} are free"
        )
        elsewhere = ""
    return (
        f"There is not enough memory on {device}{room}. What was done is kept. Close "
        "other programs that use it, take a smaller model, less detail "
        f"(resolution=512) or fewer objects{elsewhere}."
    )
