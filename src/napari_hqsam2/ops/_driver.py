"""The few calls of the CUDA driver that load and start a kernel."""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

THREADS = 256
"""Threads of a block."""
MOST_BLOCKS = 1 << 16
"""Blocks along x; kernels loop over what is left."""
MOST_ROWS = 65_535
"""Blocks along y: what CUDA allows."""

ELEMENT_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""How kernels are told the dtype of what they read; see ``common.cuh``."""

Argument = torch.Tensor | int | float
CArgument = ctypes.c_void_p | ctypes.c_longlong | ctypes.c_float


def grid_size(items: int, rows: int) -> tuple[int, int]:
    """Blocks for `items` threads along x and `rows` along y."""
    blocks = min(max(1, -(-items // THREADS)), MOST_BLOCKS)
    return blocks, min(max(1, rows), MOST_ROWS)


def to_c(argument: Argument) -> CArgument:
    """Pointer for a tensor, ``long long`` for an integer, ``float`` for a float."""
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_longlong(argument)


def parameters(arguments: Sequence[CArgument]) -> ctypes.Array[ctypes.c_void_p]:
    """Addresses of the arguments, which must outlive the call that reads them."""
    addresses = (ctypes.addressof(argument) for argument in arguments)
    return (ctypes.c_void_p * len(arguments))(*addresses)


class DeviceModule:
    """Kernels of one file, loaded on one device.

    Parameters
    ----------
    code : bytes
        CUBIN or PTX.
    device : torch.device
        With its index.
    """

    def __init__(self, code: bytes, device: torch.device) -> None:
        self._device = device
        self._context = ctypes.c_void_p()
        self._module = ctypes.c_void_p()
        self._functions: dict[str, ctypes.c_void_p] = {}
        call("cuInit", 0)
        ordinal = ctypes.c_int()
        call("cuDeviceGet", ctypes.byref(ordinal), device.index)
        # torch computes in this context as well
        call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), ordinal)
        with self._current():
            call("cuModuleLoadData", ctypes.byref(self._module), code)

    def launch(self, name: str, grid: tuple[int, int], *arguments: Argument) -> None:
        """Start a kernel on the current stream of the device.

        Parameters
        ----------
        name : str
            Of the kernel.
        grid : tuple of int
            See `grid_size`.
        *arguments : Tensor, int or float
            Contiguous tensors on the device, or such whose strides the kernel knows.
        """
        values = [to_c(argument) for argument in arguments]
        stream = torch.cuda.current_stream(self._device).cuda_stream
        with self._current():
            call(
                "cuLaunchKernel",
                self._function(name),
                *(*grid, 1),
                *(THREADS, 1, 1),
                0,
                ctypes.c_void_p(stream),
                parameters(values),
                None,
            )

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self._functions:
            found = ctypes.c_void_p()
            call(
                "cuModuleGetFunction", ctypes.byref(found), self._module, name.encode()
            )
            self._functions[name] = found
        return self._functions[name]

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Work in the device's context, whatever this thread worked in before."""
        call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


@cache
def _library() -> ctypes.CDLL:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        msg = f"The NVIDIA driver cannot be loaded: {error}"
        raise KernelError(msg) from error


def call(name: str, *arguments: object) -> None:
    """Call the driver and raise `KernelError` if it reports one."""
    library = _library()
    status = getattr(library, name)(*arguments)
    if status:
        reason = ctypes.c_char_p()
        library.cuGetErrorString(status, ctypes.byref(reason))
        text = (reason.value or b"unknown error").decode()
        msg = f"{name} failed with CUDA error {status}: {text}."
        raise KernelError(msg)
