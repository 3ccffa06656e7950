"""NVRTC compiles every kernel for all architectures of PyTorch, without a GPU."""

from __future__ import annotations

import pytest

from napari_hqsam2.errors import KernelError
from napari_hqsam2.ops._backend import FOLDER, read_sources
from napari_hqsam2.ops._nvrtc import nvrtc

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
FILES = sorted(path.stem for path in FOLDER.glob("*.cu"))

pytestmark = pytest.mark.needs_nvrtc


def test_the_kernels_are_here() -> None:
    expected = [
        "compose_labels",
        "connected_components",
        "prepare_mask",
        "rotate_pairs",
    ]
    assert expected == FILES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", FILES)
def test_machine_code(name: str, architecture: int) -> None:
    source, headers = read_sources(name)
    code = nvrtc().compile(f"{name}.cu", source, headers, f"sm_{architecture}")
    assert code.startswith(b"\x7fELF")
    assert len(code) > 1000


@pytest.mark.parametrize("name", ["compose_labels", "rotate_pairs"])
def test_no_product_is_fused_with_a_sum(name: str) -> None:
    source, headers = read_sources(name)
    ptx = nvrtc().compile(f"{name}.cu", source, headers, "compute_90").decode()
    assert "mul.rn.f32" in ptx
    assert "fma" not in ptx


def test_a_device_newer_than_the_compiler_gets_ptx() -> None:
    compiler = nvrtc()
    assert compiler.target((9, 0)) == "sm_90"
    newest = max(compiler.architectures)
    assert compiler.target((99, 0)) == f"compute_{newest}"
    source, headers = read_sources("rotate_pairs")
    code = compiler.compile("rotate_pairs.cu", source, headers, f"compute_{newest}")
    assert b".entry rotate_pairs" in code


def test_an_older_device_is_refused() -> None:
    with pytest.raises(KernelError, match=r"7\.5 and newer, the device has 3\.5"):
        nvrtc().target((3, 5))


def test_an_error_in_the_source_is_shown() -> None:
    with pytest.raises(KernelError, match=r"cannot compile bad\.cu .*\n.*semicolon|;"):
        nvrtc().compile("bad.cu", "__global__ void f() { int a }", {}, "sm_90")
