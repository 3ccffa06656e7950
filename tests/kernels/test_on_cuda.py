"""Operators on a CUDA device: streams, threads, devices, views, kernels or twins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from napari_hqsam2.errors import KernelError
from napari_hqsam2.files import CACHE_VARIABLE
from napari_hqsam2.ops import _backend
from napari_hqsam2.ops.compose_labels import (
    compose_labels,
    pixel_boxes,
    positive_boxes,
)
from napari_hqsam2.ops.connected_components import (
    connected_components,
    small_components,
)
from napari_hqsam2.ops.prepare_mask import prepare_mask
from napari_hqsam2.ops.rotate import rotate_pairs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs_cuda


@pytest.fixture(autouse=True)
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here passes because it ran the twins."""
    monkeypatch.setenv(_backend.VARIABLE, "require")


def logits(count: int = 5) -> torch.Tensor:
    """Smooth logits, (N, 64, 48), on the host."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(count, 1, 8, 6, generator=generator)
    large = torch.nn.functional.interpolate(coarse, size=(64, 48), mode="bilinear")
    return (8 * large[:, 0]).round() / 8


def results(low_res: torch.Tensor) -> list[torch.Tensor]:
    """What all operators make of logits, on the device of these."""
    boxes = positive_boxes(low_res)
    labels = torch.zeros(200, 300, dtype=torch.int32, device=low_res.device)
    labels[:30] = 99
    ids = torch.arange(len(low_res), 0, -1)
    compose_labels(low_res, ids, boxes, labels)
    old = pixel_boxes(boxes, (64, 48), (200, 300))
    compose_labels(low_res.flip(1), ids, positive_boxes(low_res.flip(1)), labels)
    again = labels.clone()
    compose_labels(low_res, ids, boxes, again, old_boxes=old)
    turn = [table.to(low_res.device) for table in tables()]
    return [boxes, labels, again, *without_waiting(low_res, turn)]


def tables() -> list[torch.Tensor]:
    """Two (64, 24) tables in eighths, so that no device rounds a product or a sum."""
    eighths = torch.arange(64 * 24).view(64, 24)
    return [(eighths % 17 - 8) / 8, (eighths % 13 - 6) / 8]


def without_waiting(
    low_res: torch.Tensor, turn: list[torch.Tensor]
) -> list[torch.Tensor]:
    """What operators make of logits that need nothing from the host."""
    return [
        *connected_components(low_res > 0),
        small_components(low_res > 0, 9),
        prepare_mask(low_res[:, None], binarize=True, dtype=torch.bfloat16),
        rotate_pairs(low_res, *turn),
    ]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other.cpu())


def test_the_device_gives_what_the_host_gives() -> None:
    assert_same(results(logits().cuda()), results(logits()))


def test_twins_give_the_same_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    by_kernels = results(logits().cuda())
    monkeypatch.setenv(_backend.VARIABLE, "off")
    assert_same(results(logits().cuda()), by_kernels)


def test_views_are_read_as_they_are() -> None:
    wide = logits(10).cuda().repeat(1, 1, 2)
    view = wide[1::2, :, 48:]
    assert not view.is_contiguous()
    assert_same(results(view), results(logits(10)[1::2]))


def test_work_goes_to_the_current_stream() -> None:
    expected = without_waiting(logits(), tables())
    turn = [table.cuda() for table in tables()]
    host = logits().pin_memory()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # kernels are loaded, and memory is there: both may wait for the device
        without_waiting(host.to("cuda"), turn)
        # the logits arrive long after the launches
        torch.cuda._sleep(2_000_000_000)
        found = without_waiting(host.to("cuda", non_blocking=True), turn)
        assert not stream.query()
    stream.synchronize()
    assert_same(found, expected)


def test_a_thread_without_a_context_may_launch() -> None:
    there = logits().cuda()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(connected_components, there > 0).result()
    assert_same(list(found), list(connected_components(logits() > 0)))


def test_another_device_than_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    assert torch.cuda.current_device() == 0
    assert_same(results(logits().to("cuda:1")), results(logits()))
    assert torch.cuda.current_device() == 0


def test_compiled_code_is_kept_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    for _ in range(2):
        monkeypatch.setattr(_backend, "_modules", {})
        assert_same(results(logits().cuda()), results(logits()))
    names = {path.name.partition("-")[0] for path in (tmp_path / "kernels").iterdir()}
    assert names == {path.stem for path in _backend.FOLDER.glob("*.cu")}


def test_a_launch_that_cannot_be_is_an_error() -> None:
    kernels = _backend.load_kernels("rotate_pairs", torch.device("cuda", 0))
    assert kernels is not None
    with pytest.raises(KernelError, match=r"cuLaunchKernel failed .*invalid"):
        kernels.launch("rotate_pairs", (0, 1), *[0] * 10, 1.0)
    with pytest.raises(KernelError, match="cuModuleGetFunction failed"):
        kernels.launch("juggle", (1, 1))


def test_gradients_are_turned_back() -> None:
    x = logits().cuda().requires_grad_()
    angle = torch.linspace(0, 3, 64 * 24, device="cuda").view(64, 24)
    rotate_pairs(x, angle.cos(), angle.sin()).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=1e-4, atol=1e-4)
