"""Kernels from ``kernels/*.cu``: compiled at first use, kept on disk.

The environment variable ``HQSAM2_KERNELS`` says whether: "auto", the default, takes
them on CUDA devices and falls back on the twins in PyTorch with one warning; "off"
always takes the twins; "require" makes it an error if they cannot be used. The results
are the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

import torch

from napari_hqsam2.errors import KernelError
from napari_hqsam2.files import atomic_path, cache_folder
from napari_hqsam2.ops._driver import Argument, DeviceModule
from napari_hqsam2.ops._nvrtc import OPTIONS, Nvrtc, nvrtc

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

VARIABLE = "HQSAM2_KERNELS"
MODES = ("auto", "off", "require")
_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED, _CHECKOUT = _PACKAGE / "kernels", _PACKAGE.parents[1] / "kernels"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
"""Sources: a part of the installed package, or beside ``src/`` in a checkout."""
DIGEST_BYTES = 32

_lock = threading.Lock()
_modules: dict[tuple[str, int], DeviceModule | None] = {}
_warned: set[int] = set()


class KernelModule(Protocol):
    """Kernels of one file, ready to start."""

    def launch(self, name: str, grid: tuple[int, int], *arguments: Argument) -> None:
        """Start a kernel; see `DeviceModule.launch`."""


def kernel_mode() -> Literal["auto", "off", "require"]:
    """Whether kernels are wanted, from the environment."""
    mode = os.environ.get(VARIABLE, "auto")
    if mode not in MODES:
        msg = f"{VARIABLE} must be one of {', '.join(MODES)}, not {mode!r}."
        raise ValueError(msg)
    return cast("Literal['auto', 'off', 'require']", mode)


def load_kernels(name: str, device: torch.device) -> KernelModule | None:
    """Kernels of the file `name` for a CUDA device.

    Parameters
    ----------
    name : str
        Of the file in ``kernels/``, without its suffix.
    device : torch.device
        With its index.

    Returns
    -------
    KernelModule or None
        None if the twin shall run: kernels are off, or cannot be had.
    """
    mode = kernel_mode()
    if mode == "off":
        return None
    key = (name, device.index)
    with _lock:
        if _modules.get(key) is None and (key not in _modules or mode == "require"):
            _modules[key] = _load(name, device, required=mode == "require")
        return _modules[key]


def _load(name: str, device: torch.device, *, required: bool) -> DeviceModule | None:
    try:
        compiler = nvrtc()
        target = compiler.target(torch.cuda.get_device_capability(device))
        return load_compiled(
            name, target, compiler, lambda code: DeviceModule(code, device)
        )
    except KernelError as error:
        if required:
            raise
        if device.index not in _warned:
            _warned.add(device.index)
            logger.warning(
                "CUDA kernels are not used on %s; PyTorch computes the same, more "
                "slowly. %s (%s=off hides this message.)",
                device,
                error,
                VARIABLE,
            )
        return None


def load_compiled(
    name: str,
    target: str,
    compiler: Nvrtc,
    load: Callable[[bytes], DeviceModule],
) -> DeviceModule:
    """Load a file's code from the cache, or compile it and put it there.

    Parameters
    ----------
    name, target, compiler
        What is compiled for what by whom.
    load : callable
        Gets the code; if it refuses what the cache held, it gets freshly compiled code.
    """
    source, headers = read_sources(name)
    path = _cache_path(name, source, headers, target, compiler)
    kept = _read_kept(path)
    if kept is not None:
        try:
            return load(kept)
        except KernelError:
            logger.info("Compiling %s again: its cached code does not load", name)
    code = compiler.compile(f"{name}.cu", source, headers, target)
    module = load(code)
    _keep(path, code)
    return module


def read_sources(name: str) -> tuple[str, dict[str, str]]:
    """Text of a file in ``kernels/``, and of all headers by name."""
    try:
        source = (FOLDER / f"{name}.cu").read_text(encoding="utf-8")
    except OSError as error:
        msg = f"The source of the kernel {name} is not in the package: {error}"
        raise KernelError(msg) from error
    headers = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(FOLDER.glob("*.cuh"))
    }
    return source, headers


def _cache_path(
    name: str, source: str, headers: dict[str, str], target: str, compiler: Nvrtc
) -> Path:
    parts = (source, *headers, *headers.values(), *OPTIONS, target, compiler.version)
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return cache_folder() / "kernels" / f"{name}-{target}-{digest[:24]}.bin"


def _read_kept(path: Path) -> bytes | None:
    """Code from the cache; None if there is none or the file is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
    except OSError as error:
        logger.info("Compiled kernels cannot be kept in %s: %s", path.parent, error)
