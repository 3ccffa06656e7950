"""What to do and to say when a device has no memory left, or has failed."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from traceback import clear_frames
from typing import TYPE_CHECKING, TypeVar

import psutil
import torch

from napari_hqsam2.errors import DeviceError, DeviceMemoryError
from napari_hqsam2.files import size_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_hqsam2.predictors.feature_cache import FeatureCache

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

NO_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
"""What errors say that are of no type of their own."""
FAILED = "CUDA error"
_failed: dict[str, str] = {}
"""Kinds of devices that this process can use no more, and why."""


@contextmanager
def device_errors_told(device: torch.device) -> Iterator[None]:
    """Raise DeviceError where a device has no memory left, or has failed.

    By then, what the failed attempt held is free again. A device that has failed is not
    tried again.
    """
    check_works(device)
    try:
        yield
    except DeviceError:
        raise
    except (RuntimeError, MemoryError) as error:
        told = _told(error, device)
        if told is None:
            raise
        clear_frames(error.__traceback__)
        raise told from error


def with_room(
    features: FeatureCache, device: torch.device, work: Callable[[], Result]
) -> Result:
    """Do work; if there is no memory for it, again without image features in the way.

    Parameters
    ----------
    features
        From then on they are kept in the memory of the host; on a processor, those that
        are kept go.
    device
        What is computed on.
    work
        Leaves no trace if it fails.

    Raises
    ------
    DeviceMemoryError
        There is no memory for it then either.
    """
    try:
        with device_errors_told(device):
            return work()
    except DeviceMemoryError:
        if not features.make_room(device):
            raise
    # outside of the handler, which holds the tensors of the failed attempt
    logger.warning(
        "There is little memory on %s; image features are kept elsewhere.", device
    )
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with device_errors_told(device):
        return work()


def no_numbers(obj_id: int) -> DeviceError:
    """The error for an object of which the model gave no numbers."""
    return DeviceError(
        f"The model gave no numbers (NaN) for object {obj_id}; the frame is left as it "
        'was. Compute on another device (device="cpu"), or take other weights.'
    )


def is_no_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory for something."""
    is_full = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_full or any(words in str(error) for words in NO_MEMORY)


def has_failed(device: torch.device) -> bool:
    """Whether a device has failed in this process, for good."""
    return device.type in _failed


def check_works(device: torch.device) -> None:
    """Raise DeviceError if a device has failed in this process."""
    if has_failed(device):
        raise DeviceError(_failed[device.type])


def _told(
    error: RuntimeError | MemoryError, device: torch.device
) -> DeviceError | None:
    """What happened and what to do; None if it is no fault of a device."""
    if is_no_memory(error):
        return DeviceMemoryError(_no_memory(device))
    if isinstance(error, torch.AcceleratorError) or FAILED in str(error):
        words = (
            "The GPU has failed, and this process cannot use it any more "
            f"({str(error).splitlines()[0]}). What was done is kept. Save it and start "
            'anew, or go on on the processor (device="cpu").'
        )
        if device.type != "cpu":
            _failed[device.type] = words
        return DeviceError(words)
    return None


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
