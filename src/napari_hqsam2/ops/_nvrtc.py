"""CUDA C++ to machine code with NVRTC, the compiler that CUDA builds of PyTorch bring.

It needs no GPU, no driver, no CUDA toolkit and no C++ compiler.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OPTIONS = ("--std=c++17", "--fmad=false")
"""No fused multiply-add: products round by themselves, as they do on the CPU."""


class Nvrtc:
    """The compiler library.

    Parameters
    ----------
    library : ctypes.CDLL
        See `nvrtc`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    @property
    def architectures(self) -> list[int]:
        """What it can compile for, such as 90 for compute capability 9.0."""
        count = ctypes.c_int()
        self._call("GetNumSupportedArchs", ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self._call("GetSupportedArchs", numbers)
        return list(numbers)

    def target(self, capability: tuple[int, int]) -> str:
        """Choose what to compile for a device.

        Returns
        -------
        str
            ``sm_90``, machine code of just that device; or, for one that is newer than
            this compiler, ``compute_90``, which the driver translates.
        """
        number = 10 * capability[0] + capability[1]
        known = self.architectures
        if number in known:
            return f"sm_{number}"
        older = [each for each in known if each < number]
        if not older:
            msg = (
                f"NVRTC {self.version} compiles for compute capability "
                f"{min(known) / 10} and newer, the device has {number / 10}."
            )
            raise KernelError(msg)
        return f"compute_{max(older)}"

    def compile(
        self, name: str, source: str, headers: Mapping[str, str], target: str
    ) -> bytes:
        """Compile a source file.

        Parameters
        ----------
        name : str
            Shown in messages.
        source : str
            CUDA C++.
        headers : mapping of str to str
            What ``#include "..."`` finds.
        target : str
            See `target`.

        Returns
        -------
        bytes
            A CUBIN for ``sm_...``, PTX for ``compute_...``.
        """
        program = ctypes.c_void_p()
        texts = (ctypes.c_char_p * len(headers))(*map(str.encode, headers.values()))
        names = (ctypes.c_char_p * len(headers))(*map(str.encode, headers))
        self._call(
            "CreateProgram",
            ctypes.byref(program),
            source.encode(),
            name.encode(),
            len(headers),
            texts,
            names,
        )
        try:
            return self._compile(program, name, target)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _compile(self, program: ctypes.c_void_p, name: str, target: str) -> bytes:
        options = [f"--gpu-architecture={target}", *OPTIONS]
        encoded = (ctypes.c_char_p * len(options))(*map(str.encode, options))
        if self._library.nvrtcCompileProgram(program, len(options), encoded):
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode()
            msg = f"NVRTC cannot compile {name} for {target}:\n{log}"
            raise KernelError(msg)
        return self._read(program, "CUBIN" if target.startswith("sm_") else "PTX")

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, buffer)
        return buffer.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, f"nvrtc{name}")(*arguments)
        if status:
            reason = self._library.nvrtcGetErrorString(status).decode()
            msg = f"nvrtc{name} failed: {reason}."
            raise KernelError(msg)


@cache
def nvrtc() -> Nvrtc:
    """Load the NVRTC that belongs to this PyTorch."""
    version = torch.version.cuda
    if version is None:
        msg = "This build of PyTorch is not one for CUDA and brings no NVRTC."
        raise KernelError(msg)
    major = version.partition(".")[0]
    windows = sys.platform == "win32"
    name = f"nvrtc64_{major}0_0.dll" if windows else f"libnvrtc.so.{major}"
    tried = []
    for path in _candidates(name):
        try:
            return Nvrtc(ctypes.CDLL(path))
        except OSError as error:
            tried.append(f"{path}: {error}")
    msg = f"NVRTC of CUDA {version} is not where PyTorch keeps it: {'; '.join(tried)}"
    raise KernelError(msg)


def _candidates(name: str) -> Iterator[str]:
    """Name for the system to find, then paths in PyTorch's and NVIDIA's packages."""
    yield name
    library = Path(torch.__file__).parent / "lib"
    packages = Path(torch.__file__).parents[1] / "nvidia"
    for folder in (library, *packages.glob("*/lib"), *packages.glob("*/bin/**")):
        if (folder / name).is_file():
            yield str(folder / name)
