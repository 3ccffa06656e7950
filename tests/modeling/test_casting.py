"""What is cast once gives, bit by bit, what autocast gives that casts in every call."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_hqsam2.build import build_sam2
from napari_hqsam2.modeling import (
    attention,
    casting,
    layers,
    mask_decoder,
    memory_attention,
)
from napari_hqsam2.modeling.casting import Conv2d, Linear, lowered, lowered_sum
from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.outputs import ModelPrompts

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2

SIZE, GRID = 128, 8
DTYPES = st.sampled_from((torch.float32, torch.bfloat16))


def bfloat16() -> torch.autocast:
    """As on a GPU."""
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


@pytest.fixture(scope="module")
def model() -> HqSam2:
    """The nano model with lively random weights."""
    torch.manual_seed(4)
    overrides = [f"model.image_size={SIZE}"]
    model = build_sam2(
        "sam2.1_hq_hiera_nano", device="cpu", hydra_overrides_extra=overrides
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    # what is out of view says nothing
    torch.nn.init.constant_(
        model.sam_mask_decoder.pred_obj_score_head.layers[2].bias, 1
    )
    return model


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole tensors and plain projections."""
    for module in (attention, layers, mask_decoder, memory_attention):
        monkeypatch.setattr(module, "works_in_pieces", lambda _: False)


@torch.inference_mode()
def everything(model: HqSam2, count: int) -> list[Tensor]:
    """What all verbs of a model say, in bfloat16."""
    numbers = torch.Generator().manual_seed(7)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=numbers)

    with bfloat16():
        features = model.encode_image(drawn(1, 3, SIZE, SIZE))
        frame = model.attend_frame(features.embedding)
        memories = [
            SpatialMemory(slot, drawn(count, 64, GRID, GRID).bfloat16())
            for slot in (0, 5, 6)
        ]
        pointer = drawn(count, model.no_obj_ptr.shape[-1])
        pointers = [PointerMemory(drawn(count).abs(), pointer)] * 2
        fused = model.fuse_memory(frame, memories, pointers)
        found = model.predict_objects(
            fused, features.high_res, ModelPrompts(nowhere=count), multimask=True
        )
        coords = drawn(count, 2, 2).sigmoid()
        labels = torch.ones(count, 2, dtype=torch.int32)
        prompts = ModelPrompts(coords, labels, drawn(count, 1, 4 * GRID, 4 * GRID))
        clicked = model.predict_masks(
            model.without_memory(features.embedding),
            features.high_res,
            prompts,
            multimask=False,
        )
        refined = model.refine_masks(clicked.masks, features.picture, prompts, "add")
        memory = model.encode_memory(
            features.embedding, found.low_res, found.object_score, binarize=False
        )
        masks = (drawn(count, 1, SIZE, SIZE) > 0).float()
        adopted = model.adopt_masks(features, masks)
    pixels = (features.embedding, *features.high_res, fused, clicked.masks, refined)
    return [
        *pixels,
        memory,
        found.low_res,
        found.pointer,
        found.iou_score,
        adopted.pointer,
    ]


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("count", [1, 3])
def test_all_verbs_are_those_of_plain_autocast(
    model: HqSam2, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = everything(model, count), everything(model, count)
    monkeypatch.setattr(
        casting, "product_dtype", lambda x, dtype=None: dtype or x.dtype
    )
    expected = everything(model, count)
    for one, other, plain in zip(first, again, expected, strict=True):
        assert plain.isfinite().all()
        assert torch.equal(one.float(), plain.float())
        assert torch.equal(other.float(), plain.float())


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_parameters_that_change_are_cast_anew(model: HqSam2) -> None:
    changing = deepcopy(model)
    before = everything(changing, 1)
    with torch.no_grad():
        for parameter in changing.parameters():
            parameter.mul_(1.1)
    changed = everything(changing, 1)
    fresh = deepcopy(changing)
    for old, new, expected in zip(before, changed, everything(fresh, 1), strict=True):
        assert not torch.equal(old, new)
        assert torch.equal(new, expected)
    changing.load_state_dict(model.state_dict())
    for old, new in zip(before, everything(changing, 1), strict=True):
        assert torch.equal(old, new)


def pairs() -> list[tuple[nn.Module, nn.Module, Tensor]]:
    """Layers, torch's with the same parameters, and inputs."""
    made: list[tuple[nn.Module, nn.Module, Tensor]] = [
        (Linear(5, 3), nn.Linear(5, 3), torch.randn(2, 4, 5)),
        (Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3), torch.randn(2, 2, 6, 7)),
    ]
    for ours, plain, _ in made:
        ours.load_state_dict(plain.state_dict())
    return made


def test_gradients_are_those_of_plain_layers() -> None:
    for ours, plain, x in pairs():
        for layer in (ours, plain):
            with bfloat16():
                y = layer(x)
            assert y.dtype == torch.bfloat16
            y.float().square().sum().backward()
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            assert torch.equal(one.grad, other.grad)


@torch.inference_mode()
def test_without_autocast_parameters_are_what_they_are() -> None:
    for ours, plain, x in pairs():
        with bfloat16():
            ours(x)
        assert torch.equal(ours(x), plain(x))
        assert torch.equal(ours.double()(x.double()), plain.double()(x.double()))


def test_a_cast_is_kept_and_neither_copied_nor_moved_along() -> None:
    layer = Linear(5, 3)
    kept = layer._casts
    sources = (layer.weight, layer.bias)
    with bfloat16(), torch.no_grad():
        first, again = kept.get(sources), kept.get(sources)
    assert first[0].dtype == torch.bfloat16
    assert first[0] is again[0]
    assert deepcopy(layer)._casts is not kept
    restored = pickle.loads(pickle.dumps(layer))  # noqa: S301
    assert torch.equal(restored.weight, layer.weight)
    layer.to(torch.float64)
    assert layer._casts is not kept


def test_threads_agree() -> None:
    layer, x = Linear(64, 64), torch.randn(8, 64)

    def work(_: int) -> Tensor:
        with bfloat16(), torch.inference_mode():
            return layer(x)

    expected = F.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    with ThreadPoolExecutor(4) as threads:
        for got in threads.map(work, range(32)):
            assert torch.equal(got, expected)


@given(DTYPES, DTYPES, st.integers(1, 3), st.integers(1, 3))
def test_a_lowered_sum_is_the_sum_lowered(
    one: torch.dtype, other: torch.dtype, rows: int, columns: int
) -> None:
    x, y = torch.randn(rows, 1, 4).to(one), torch.randn(columns, 4).to(other)
    assert torch.equal(lowered_sum(x, y), x + y)
    with bfloat16(), torch.no_grad():
        got = lowered_sum(x, y)
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, lowered(x + y))
    x.requires_grad_()
    with bfloat16():
        assert lowered_sum(x, y).dtype == (x + y).dtype
        assert lowered(x) is x


@pytest.mark.needs_cuda
@torch.inference_mode()
def test_a_cast_is_complete_for_other_streams() -> None:
    size = 4096
    side = torch.cuda.Stream()
    for _ in range(5):
        layer = Linear(size, size).cuda()
        x = torch.randn(16, size, device="cuda")
        side.wait_stream(torch.cuda.current_stream())
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            with torch.cuda.stream(side):
                torch.cuda._sleep(10_000_000)
                layer(x)
            got = layer(x)
        factors = (layer.weight.bfloat16(), layer.bias.bfloat16())
        assert torch.equal(got, F.linear(x.bfloat16(), *factors))
