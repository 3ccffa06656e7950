"""Every kernel gives what its twin in PyTorch gives; masks and labels bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_hqsam2.ops import compose_labels as compose
from napari_hqsam2.ops import connected_components as components
from napari_hqsam2.ops.prepare_mask import prepare_by_kernel, prepare_mask
from napari_hqsam2.ops.rotate import rotate_by_kernel, rotate_pairs

if TYPE_CHECKING:
    from conftest import Target
    from napari_hqsam2.ops._backend import KernelModule

SIDES = st.integers(1, 70)
MASKS = arrays(bool, st.tuples(st.integers(1, 3), SIDES, SIDES))
ORDERS = st.tuples(st.integers(1, 2**31), st.sampled_from([1, 1, 3]))
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (
    torch.uint8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.uint32,
    torch.int64,
)


def snake(height: int, width: int) -> np.ndarray:
    """One component that goes to and fro, one pixel wide."""
    mask = np.zeros((height, width), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


def spiral(side: int) -> np.ndarray:
    """One component that winds inwards, one pixel wide."""
    mask = np.zeros((side, side), bool)
    y, x, dy, dx = 0, 0, 0, 1
    for length in [side - 1, *np.repeat(np.arange(side - 1, 0, -2), 2)]:
        for _ in range(length):
            mask[y, x] = True
            y, x = y + dy, x + dx
        dy, dx = dx, -dy
    return mask


CHECKERBOARD = np.indices((37, 66)).sum(axis=0) % 2 == 0
ADVERSARIAL = {
    "empty": np.zeros((5, 7), bool),
    "full": np.ones((65, 131), bool),
    "one pixel": np.ones((1, 1), bool),
    "one row": np.arange(97)[None] % 5 > 0,
    "one column": np.arange(97)[:, None] % 5 > 0,
    "checkerboard": CHECKERBOARD,
    "sieve": np.indices((64, 64)).max(axis=0) % 2 == 0,
    "dots": (np.indices((33, 35)) % 2 == 0).all(axis=0),
    "snake": snake(63, 64),
    "snake of columns": snake(67, 65).T,
    "spiral": spiral(64),
    "between the spiral": ~spiral(61),
    "combs": np.arange(96)[None] % 2 * np.ones((40, 1)) > 0,
}


def check_components(
    target: Target, mask: torch.Tensor, order: tuple[int, int]
) -> None:
    kernels = target.kernels("connected_components", *order)
    found = components.label_by_kernels(kernels, mask.to(target.device))
    for one, other in zip(found, components.connected_components(mask), strict=True):
        assert one.dtype == torch.int32
        assert torch.equal(one.cpu(), other)
    for area in (0, 1, 8):
        small = components.small_by_kernels(kernels, mask.to(target.device), area)
        assert torch.equal(small.cpu(), components.small_components(mask, area))


@given(MASKS, ORDERS)
def test_components_of_any_masks(
    target: Target, masks: np.ndarray, order: tuple[int, int]
) -> None:
    check_components(target, torch.from_numpy(masks), order)


@pytest.mark.parametrize("order", [(1, 1), (104_729, 1), (2**31 - 1, 1), (1, 4)])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_components_of_hard_masks(
    target: Target, name: str, order: tuple[int, int]
) -> None:
    mask = torch.from_numpy(ADVERSARIAL[name].copy())
    turned = torch.stack((mask, mask.flip(1), mask.flip(0), ~mask))
    check_components(target, turned, order)


def test_operators_take_the_kernels(
    target: Target, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def load(name: str, device: torch.device) -> KernelModule:
        assert device == target.device
        started.append(name)
        return target.kernels(name)

    mask = torch.from_numpy(rng.random((2, 20, 30)) < 0.5)
    logits = torch.from_numpy(rng.normal(size=(2, 9, 8))).float()
    there = logits.to(target.device)
    monkeypatch.setattr(components, "load_kernels", load)
    for one, other in zip(
        components._label_cuda(mask.to(target.device)),
        components.connected_components(mask),
        strict=True,
    ):
        assert torch.equal(one.cpu(), other)
    monkeypatch.setattr(compose, "load_kernels", load)
    boxes = compose._boxes_cuda(there)
    assert torch.equal(boxes.cpu(), compose.positive_boxes(logits))
    ids = torch.tensor([3, 2])
    labels, expected = torch.zeros(2, 40, 50, dtype=torch.int32)
    compose.compose_labels(logits, ids, boxes.cpu(), expected)
    found = labels.to(target.device)
    compose._compose_cuda(there, ids.to(target.device), boxes, None, found)
    assert torch.equal(found.cpu(), expected)
    assert expected.any()
    assert started == ["connected_components", "compose_labels", "compose_labels"]


def test_components_of_a_view_and_of_nothing(
    target: Target, rng: np.random.Generator
) -> None:
    mask = torch.from_numpy(rng.random((6, 40, 50)) < 0.6)
    check_components(target, mask[::2, 3:, ::3], (1, 1))
    check_components(target, mask.transpose(0, 2), (1, 1))
    for shape in ((0, 5, 5), (2, 0, 5), (2, 5, 0)):
        check_components(target, torch.zeros(shape, dtype=torch.bool), (1, 1))


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Logits, ids, boxes (tight, loose or too small) and a labelled image."""
    count, grid = draw(st.integers(0, 5)), draw(st.tuples(*[st.integers(1, 12)] * 2))
    hw = draw(st.tuples(*[st.integers(1, 45)] * 2))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, *grid, generator=generator)
    if draw(st.booleans()):
        # coarse values, so that objects tie and logits are exactly 0
        logits = logits.round()
    dtype = draw(st.sampled_from(INTEGERS))
    ids = 1 + torch.randperm(100, generator=generator)[:count]
    labels = torch.randint(0, 120, hw, generator=generator)
    labels[torch.rand(hw, generator=generator) < draw(st.sampled_from([0, 0.7, 1]))] = 0
    boxes = compose.positive_boxes(logits)
    if draw(st.booleans()):
        boxes = boxes + torch.randint(-2, 3, (count, 4), generator=generator)
    return {
        "low_res": logits.to(draw(st.sampled_from(FLOATS))),
        "ids": ids,
        "boxes": boxes,
        "labels": labels.to(dtype),
        "old_boxes": torch.randint(-3, 50, (count, 4), generator=generator),
    }


def signed(labels: torch.Tensor) -> torch.Tensor:
    return labels.view(compose.SIGNED.get(labels.dtype, labels.dtype))


@given(scenes(), ORDERS, st.booleans(), st.booleans())
def test_composition(
    target: Target,
    scene: dict[str, torch.Tensor],
    order: tuple[int, int],
    remembers: bool,
    turned: bool,
) -> None:
    labels = scene["labels"].T.contiguous().T if turned else scene["labels"]
    expected = labels.clone()
    old = scene["old_boxes"] if remembers else None
    arguments = (scene["low_res"], scene["ids"], scene["boxes"])
    compose.compose_labels(*arguments, expected, old_boxes=old)

    found = labels.to(target.device, copy=True)
    there = [argument.to(target.device) for argument in arguments]
    kernels = target.kernels("compose_labels", *order)
    old_there = None if old is None else old.to(target.device)
    compose.compose_by_kernels(kernels, *there, old_there, signed(found))
    assert torch.equal(signed(found.cpu()), signed(expected))


@given(scenes(), ORDERS)
def test_boxes(
    target: Target, scene: dict[str, torch.Tensor], order: tuple[int, int]
) -> None:
    logits = scene["low_res"]
    kernels = target.kernels("compose_labels", *order)
    boxes = compose.boxes_by_kernel(kernels, logits.to(target.device))
    assert torch.equal(boxes.cpu(), compose.positive_boxes(logits))


def test_boxes_of_logits_that_are_no_numbers(target: Target) -> None:
    logits = torch.full((2, 5, 6), -1.0)
    logits[0, 3, 4] = torch.nan
    kernels = target.kernels("compose_labels")
    boxes = compose.boxes_by_kernel(kernels, logits.to(target.device)).tolist()
    assert boxes == compose.positive_boxes(logits).tolist()
    assert boxes == [[3, 4, 4, 5], [0, 0, 0, 0]]


@pytest.mark.parametrize("binarize", [True, False])
@pytest.mark.parametrize("result", FLOATS)
@pytest.mark.parametrize("given_as", FLOATS)
@pytest.mark.parametrize("hw", [(1, 1), (3, 8), (16, 5)])
def test_prepared_masks(
    target: Target,
    rng: np.random.Generator,
    hw: tuple[int, int],
    given_as: torch.dtype,
    result: torch.dtype,
    binarize: bool,
) -> None:
    # eighths: every step is exact, so that the sign is the same for certain
    logits = torch.from_numpy(rng.integers(-40, 40, (3, 1, *hw)) / 8).to(given_as)
    kernels = target.kernels("prepare_mask", 7919)
    affine = (20.0, -10.0)
    found = prepare_by_kernel(
        kernels, logits.to(target.device), binarize, affine, result
    )
    expected = prepare_mask(logits, binarize=binarize, dtype=result)
    assert found.dtype == result
    steps = 0 if binarize else 2
    tolerance = steps * torch.finfo(result).eps
    torch.testing.assert_close(
        found.cpu(), expected, rtol=tolerance, atol=10 * tolerance
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(FLOATS), st.booleans(), ORDERS)
def test_rotation(
    target: Target, seed: int, dtype: torch.dtype, own: bool, order: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    objects, heads, grids, length, pairs = torch.randint(
        1, 5, (5,), generator=generator
    ).tolist()
    plain = int(torch.randint(0, 7, (), generator=generator))
    shape = (objects, heads, grids * length + plain, 2 * pairs)
    x = (100 * torch.randn(shape, generator=generator)).to(dtype)
    tables = (objects, length, pairs) if own else (length, pairs)
    turn = torch.polar(torch.ones(tables), 7 * torch.randn(tables, generator=generator))
    cos, sin = turn.real, turn.imag
    kernels = target.kernels("rotate_pairs", *order)
    there = [tensor.to(target.device) for tensor in (x, cos, sin)]
    found = rotate_by_kernel(kernels, *there, False, plain)
    assert found.dtype == dtype
    # a processor may fuse what complex numbers multiply and add
    close = {"rtol": torch.finfo(dtype).eps, "atol": 1e-4}
    torch.testing.assert_close(found.cpu(), rotate_pairs(x, cos, sin, plain), **close)
    back = rotate_by_kernel(kernels, *there, True, plain)
    torch.testing.assert_close(back.cpu(), rotate_pairs(x, cos, -sin, plain), **close)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_16_bit_number_is_read_and_written(
    target: Target, dtype: torch.dtype
) -> None:
    bits = torch.arange(-(2**15), 2**15).to(torch.int16)
    numbers = bits.view(dtype).view(-1, 2)
    one, zero = torch.ones(2**15, 1), torch.zeros(2**15, 1)
    # times 1 and times a third: exact, and rounded in all ways
    for factor in (one, one / 3, 3 * one):
        there = [tensor.to(target.device) for tensor in (numbers, factor, zero)]
        found = rotate_by_kernel(target.kernels("rotate_pairs"), *there, False).cpu()
        expected = rotate_pairs(numbers, factor, zero)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
