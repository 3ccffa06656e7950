"""Compiled code is kept, damaged code is not used; without kernels there are twins."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.errors import KernelError
from napari_hqsam2.files import CACHE_VARIABLE
from napari_hqsam2.ops import _backend
from napari_hqsam2.ops._driver import MOST_BLOCKS, MOST_ROWS, grid_size, to_c

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = torch.device("cuda", 0)


@dataclass
class Compiler:
    """Counts what it compiles; stands in for `Nvrtc`."""

    version: tuple[int, int] = (13, 0)
    compiled: list[str] = field(default_factory=list)

    def compile(
        self, name: str, source: str, headers: dict[str, str], target: str
    ) -> bytes:
        assert source.startswith("//")
        assert "common.cuh" in headers
        self.compiled.append(f"{name} {target}")
        return f"code {len(self.compiled)} of {name}".encode()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(_backend, "_modules", {})
    monkeypatch.setattr(_backend, "_warned", set())
    return tmp_path / "kernels"


def load(
    compiler: Compiler, name: str = "rotate_pairs", target: str = "sm_90"
) -> bytes:
    return _backend.load_compiled(name, target, compiler, lambda code: code)


def test_code_is_compiled_once(cache: Path) -> None:
    compiler = Compiler()
    assert load(compiler) == load(compiler) == b"code 1 of rotate_pairs.cu"
    assert compiler.compiled == ["rotate_pairs.cu sm_90"]
    (file,) = cache.iterdir()
    assert file.name.startswith("rotate_pairs-sm_90-")


def test_another_architecture_compiler_or_source_is_another_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Compiler()
    load(compiler)
    load(compiler, target="sm_80")
    load(compiler, name="prepare_mask")
    load(Compiler(version=(13, 1)))
    assert len(list(cache.iterdir())) == 4
    folder = tmp_path / "sources"
    folder.mkdir()
    for path in _backend.FOLDER.glob("*.cu*"):
        text = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(_backend, "FOLDER", folder)
    load(compiler)
    assert len(list(cache.iterdir())) == 4
    with (folder / "common.cuh").open("a", encoding="utf-8") as header:
        header.write("// a header counts too\n")
    load(compiler)
    assert len(list(cache.iterdir())) == 5


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
def test_damaged_code_is_compiled_again(cache: Path, damage: str) -> None:
    compiler = Compiler()
    load(compiler)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    broken = {"cut": whole[:-3], "changed": whole[:-1] + b"?", "emptied": b""}[damage]
    file.write_bytes(broken)
    assert load(compiler) == b"code 2 of rotate_pairs.cu"
    assert load(compiler) == b"code 2 of rotate_pairs.cu"
    assert [path.name for path in cache.iterdir()] == [file.name]


def test_kept_code_that_the_driver_refuses_is_compiled_again(cache: Path) -> None:
    compiler = Compiler()
    load(compiler)

    def refuse_the_first(code: bytes) -> bytes:
        if code.startswith(b"code 1"):
            raise KernelError("no binary for this device")
        return code

    found = _backend.load_compiled("rotate_pairs", "sm_90", compiler, refuse_the_first)
    assert found == load(compiler) == b"code 2 of rotate_pairs.cu"
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(occupied))
    assert load(Compiler()) == b"code 1 of rotate_pairs.cu"


def _without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KernelError("NVRTC is lost.")

    monkeypatch.setattr(_backend, "nvrtc", fail)


@pytest.mark.usefixtures("cache")
def test_without_a_compiler_one_warning_and_the_twins(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _without_compiler(monkeypatch)
    monkeypatch.delenv(_backend.VARIABLE, raising=False)
    with caplog.at_level(logging.INFO):
        for name in ("rotate_pairs", "rotate_pairs", "prepare_mask"):
            assert _backend.load_kernels(name, DEVICE) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "not used on cuda:0" in record.getMessage()
    assert "NVRTC is lost." in record.getMessage()


@pytest.mark.usefixtures("cache")
def test_required_kernels_that_are_missing_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without_compiler(monkeypatch)
    assert _backend.load_kernels("rotate_pairs", DEVICE) is None
    monkeypatch.setenv(_backend.VARIABLE, "require")
    for _ in range(2):
        with pytest.raises(KernelError, match="NVRTC is lost"):
            _backend.load_kernels("rotate_pairs", DEVICE)


@pytest.mark.usefixtures("cache")
def test_kernels_that_are_off_are_not_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _without_compiler(monkeypatch)
    monkeypatch.setenv(_backend.VARIABLE, "off")
    assert _backend.load_kernels("rotate_pairs", DEVICE) is None
    assert not caplog.records


@pytest.mark.usefixtures("cache")
def test_kernels_are_loaded_once_per_device(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    targets = {0: "sm_90", 1: "sm_80"}
    wrapped = SimpleNamespace(
        version=(13, 0), compile=compiler.compile, target=lambda device: targets[device]
    )
    monkeypatch.setattr(_backend, "nvrtc", lambda: wrapped)
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: device.index
    )
    monkeypatch.setattr(_backend, "DeviceModule", lambda code, device: (code, device))
    first, again, second = (
        _backend.load_kernels("rotate_pairs", torch.device("cuda", index))
        for index in (0, 0, 1)
    )
    assert first is again
    assert first != second
    assert compiler.compiled == ["rotate_pairs.cu sm_90", "rotate_pairs.cu sm_80"]


def test_a_mode_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_backend.VARIABLE, "fast")
    with pytest.raises(ValueError, match="one of auto, off, require, not 'fast'"):
        _backend.kernel_mode()


def test_a_source_that_is_not_there() -> None:
    with pytest.raises(KernelError, match="source of the kernel juggle"):
        _backend.read_sources("juggle")


def test_grids_stay_within_what_cuda_allows() -> None:
    assert grid_size(1, 1) == (1, 1)
    assert grid_size(257, 3) == (2, 3)
    assert grid_size(0, 0) == (1, 1)
    assert grid_size(2**40, 2**20) == (MOST_BLOCKS, MOST_ROWS)


def test_arguments_become_what_kernels_declare() -> None:
    tensor = torch.zeros(3)
    assert to_c(tensor).value == tensor.data_ptr()
    assert to_c(2**40).value == 2**40
    assert to_c(0.5).value == 0.5
