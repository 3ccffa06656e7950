"""Where kernels run in tests: on a CUDA device, or built by a C++ compiler on the host.

The host runs the same source, with the threads one by one in an order of the test's
choice, or on several cores at once.
"""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.ops._backend import FOLDER, load_kernels, read_sources
from napari_hqsam2.ops._driver import THREADS, parameters, to_c

if TYPE_CHECKING:
    from napari_hqsam2.ops._backend import KernelModule
    from napari_hqsam2.ops._driver import Argument

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread")
EXACT = "-ffp-contract=off"


@dataclass
class HostModule:
    """Stands in for a `DeviceModule`; thread i * step comes i-th, `workers` at once."""

    library: ctypes.CDLL
    step: int
    workers: int

    def launch(self, name: str, grid: tuple[int, int], *arguments: Argument) -> None:
        """Run a kernel."""
        values = [to_c(argument) for argument in arguments]
        step = self.step
        while math.gcd(step, math.prod(grid) * THREADS) != 1:
            step += 1
        getattr(self.library, f"run_{name}")(
            (ctypes.c_uint * 3)(*grid, THREADS),
            ctypes.c_uint(step),
            ctypes.c_uint(self.workers),
            parameters(values),
        )


@dataclass
class Target:
    """A place where kernels run."""

    device: torch.device
    folder: Path
    built: dict[str, ctypes.CDLL] = field(default_factory=dict)

    def kernels(self, name: str, step: int = 1, workers: int = 1) -> KernelModule:
        """Kernels of a file; a device does not let us choose the order."""
        if self.device.type == "cuda":
            found = load_kernels(name, self.device)
            assert found is not None
            return found
        kernels = re.findall(r"__global__ void (\w+)\(", read_sources(name)[0])
        wrappers = "".join(f"HOST_KERNEL({kernel})\n" for kernel in kernels)
        text = f'#include "host_cuda.h"\n#include "{name}.cu"\n{wrappers}'
        return HostModule(self.build(name, text), step, workers)

    def build(self, name: str, text: str) -> ctypes.CDLL:
        """Compile C++ to a library in `folder`, once."""
        if name not in self.built:
            source, library = self.folder / f"{name}.cpp", self.folder / f"{name}.so"
            source.write_text(text, encoding="utf-8")
            compiler = shutil.which("g++")
            assert compiler is not None
            folders = (f"-I{HERE}", f"-I{FOLDER}")
            done = subprocess.run(  # noqa: S603
                [compiler, *FLAGS, EXACT, *folders, source, "-o", library],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            self.built[name] = ctypes.CDLL(str(library))
        return self.built[name]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The host, for tests that know it is there."""
    return Target(torch.device("cpu"), tmp_path_factory.mktemp("kernels"))


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("cpu", marks=pytest.mark.needs_cxx),
        pytest.param("cuda:0", marks=pytest.mark.needs_cuda),
    ],
)
def target(request: pytest.FixtureRequest, host: Target) -> Target:
    """The host, and the first CUDA device."""
    device = torch.device(request.param)
    return host if device.type == "cpu" else Target(device, host.folder)
