"""Memory, pointers and position codes against the formulas, written out in float64.

The golden vectors never see an object come back after frames without it; here it does.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.build import build_sam2
from napari_hqsam2.modeling.hqsam2 import OUT_OF_VIEW_LOGIT, HqSam2
from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.outputs import ModelPrompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

H, W, C, CM = 4, 6, 192, 64
PIXELS = (16 * H, 16 * W)


@pytest.fixture(scope="module")
def model() -> HqSam2:
    """The nano model with lively random weights."""
    torch.manual_seed(3)
    model = build_sam2("sam2.1_hq_hiera_nano", device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("image_encoder"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def weights(model: HqSam2, name: str) -> Array:
    return model.state_dict()[name].double().numpy()


def linear(model: HqSam2, name: str, x: Array) -> Array:
    return x @ weights(model, f"{name}.weight").T + weights(model, f"{name}.bias")


def layer_norm(model: HqSam2, name: str, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normed * weights(model, f"{name}.weight") + weights(model, f"{name}.bias")


def sine_grid(channels: int) -> Array:
    """(H * W, channels): y first, then x, positions 1 to H over H, times 2 pi."""
    half = channels // 2
    out = np.zeros((H, W, channels))
    for i in range(half):
        period = 10000 ** (2 * (i // 2) / half)
        wave = math.sin if i % 2 == 0 else math.cos
        for y in range(H):
            out[y, :, i] = wave((y + 1) / (H + 1e-6) * 2 * math.pi / period)
        for x in range(W):
            out[:, x, half + i] = wave((x + 1) / (W + 1e-6) * 2 * math.pi / period)
    return out.reshape(H * W, channels)


def turned(x: Array) -> Array:
    """Rotate the channel pairs of one grid as complex numbers: x first, then y."""
    quarter = C // 4
    frequency = 1 / 10000 ** (np.arange(0, C, 4)[:quarter] / C)
    y, column = np.divmod(np.arange(H * W), W)
    angle = np.concatenate(
        (np.outer(column, frequency), np.outer(y, frequency)), axis=1
    )
    pairs = x.reshape(H * W, C // 2, 2)
    rotated = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angle)
    return np.stack((rotated.real, rotated.imag), -1).reshape(H * W, C)


def attention(
    model: HqSam2, name: str, q: Array, k: Array, v: Array, grids: int
) -> Array:
    q = turned(linear(model, f"{name}.q_proj", q))
    k, v = linear(model, f"{name}.k_proj", k), linear(model, f"{name}.v_proj", v)
    k = k.copy()
    for grid in range(grids):
        part = slice(grid * H * W, (grid + 1) * H * W)
        k[part] = turned(k[part])
    logits = q @ k.T / math.sqrt(C)
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    return linear(model, f"{name}.out_proj", share @ v)


def fused_by_hand(
    model: HqSam2,
    embedding: Array,
    memories: list[tuple[int, Array]],
    pointers: list[tuple[float, Array]],
) -> Array:
    times = weights(model, "maskmem_tpos_enc").reshape(7, CM)
    values = [features for _, features in memories]
    positions = [sine_grid(CM) + times[6 - slot] for slot, _ in memories]
    for distance, pointer in pointers:
        half = C // 2
        period = 10000 ** (2 * (np.arange(half) // 2) / half)
        code = np.concatenate((np.sin(distance / period), np.cos(distance / period)))
        code = linear(model, "obj_ptr_tpos_proj", code)
        values.append(pointer.reshape(C // CM, CM))
        positions.append(np.tile(code, (C // CM, 1)))
    value, position = np.concatenate(values), np.concatenate(positions)
    x = embedding + 0.1 * sine_grid(C)
    for layer in range(2):
        name = f"memory_attention.layers.{layer}"
        y = layer_norm(model, f"{name}.norm1", x)
        x = x + attention(model, f"{name}.self_attn", y, y, y, 1)
        y = layer_norm(model, f"{name}.norm2", x)
        x = x + attention(
            model,
            f"{name}.cross_attn_image",
            y,
            value + position,
            value,
            len(memories),
        )
        y = layer_norm(model, f"{name}.norm3", x)
        hidden = np.maximum(linear(model, f"{name}.linear1", y), 0)
        x = x + linear(model, f"{name}.linear2", hidden)
    return layer_norm(model, "memory_attention.norm", x)


def grid_of(rows: Array) -> torch.Tensor:
    """(H * W, channels) as (1, channels, H, W)."""
    return torch.from_numpy(rows.T.reshape(1, -1, H, W))


@torch.inference_mode()
def test_memory_attention_over_absence_and_return(model: HqSam2) -> None:
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((H * W, C))
    seen = [rng.standard_normal((H * W, CM)) for _ in range(3)]
    absent = seen[1] + weights(model, "no_obj_embed_spatial")
    memories = [(0, seen[0]), (5, absent), (6, seen[2])]
    nobody = weights(model, "no_obj_ptr")[0]
    pointers = [(3 / 7, rng.standard_normal(C)), (1 / 7, nobody), (-2 / 7, nobody)]

    expected = fused_by_hand(model, embedding, memories, pointers)
    exact = deepcopy(model).double()
    got = exact.fuse_memory(
        exact.attend_frame(grid_of(embedding)),
        [SpatialMemory(slot, grid_of(features)) for slot, features in memories],
        [
            PointerMemory(*(torch.from_numpy(np.array(x)[None]) for x in (d, p)))
            for d, p in pointers
        ],
    )
    assert got.shape == (1, C, H, W)
    assert got[0].flatten(1).T.numpy() == pytest.approx(expected, abs=1e-9)


@torch.inference_mode()
def test_absent_objects_leave_their_mark(model: HqSam2) -> None:
    embedding = torch.randn(1, C, H, W)
    low_res = torch.randn(2, 1, 4 * H, 4 * W)
    scores = torch.tensor([[2.0], [-0.5]])
    memory = model.encode_memory(embedding, low_res, scores, binarize=False)
    both_seen = model.encode_memory(embedding, low_res, scores.abs(), binarize=False)
    mark = model.no_obj_embed_spatial[0][:, None, None].expand(-1, H, W)
    assert memory[0].numpy() == pytest.approx(both_seen[0].numpy(), abs=1e-5)
    assert (memory - both_seen)[1].numpy() == pytest.approx(mark.numpy(), abs=1e-5)


@torch.inference_mode()
def test_memory_of_a_prompted_frame_sees_a_binary_mask(model: HqSam2) -> None:
    embedding = torch.randn(1, C, H, W)
    low_res = torch.full((1, 1, 4 * H, 4 * W), -0.3)
    low_res[..., : 2 * W] = 0.2
    seen = torch.ones(1, 1)
    binary = model.encode_memory(embedding, low_res, seen, binarize=True)
    soft = model.encode_memory(embedding, low_res, seen, binarize=False)
    steep = model.encode_memory(embedding, 1e4 * low_res, seen, binarize=False)
    assert not torch.allclose(soft, binary, atol=1e-3)
    assert torch.allclose(steep, binary, atol=1e-3)
    assert binary.shape == (1, CM, H, W)


@pytest.fixture
def object_bias(model: HqSam2) -> Iterator[torch.Tensor]:
    """What shifts all object scores; the old value comes back."""
    bias = model.sam_mask_decoder.pred_obj_score_head.layers[2].bias.data
    before = bias.clone()
    yield bias
    bias.copy_(before)


@torch.inference_mode()
@pytest.mark.parametrize("hq", ["add", "only", "off"])
@pytest.mark.parametrize("seen", [True, False])
def test_out_of_view_objects_have_no_mask_and_no_pointer(
    model: HqSam2, object_bias: torch.Tensor, hq: str, *, seen: bool
) -> None:
    features = model.encode_image(torch.randn(1, 3, *PIXELS))
    prompts = ModelPrompts(torch.rand(2, 1, 2), torch.ones(2, 1, dtype=torch.int32))
    fused = model.without_memory(features.embedding)
    object_bias.fill_(1000.0 if seen else -1000.0)
    got = model.predict_objects(
        fused, features.high_res, prompts, multimask=True, hq=hq
    )
    assert ((got.object_score > 0) == seen).all()
    assert (got.low_res == OUT_OF_VIEW_LOGIT).all().item() is not seen
    is_nobody = (got.pointer == model.no_obj_ptr).all(dim=1)
    assert (is_nobody != seen).all()


@torch.inference_mode()
def test_nowhere_is_a_point_that_is_none(model: HqSam2) -> None:
    encoder = model.sam_prompt_encoder
    no_point = torch.full((3, 1), -1, dtype=torch.int32)
    points, dense = encoder(ModelPrompts(torch.rand(3, 1, 2), no_point))
    nowhere, same = encoder(ModelPrompts(nowhere=3))
    assert torch.equal(nowhere, points)
    assert torch.equal(same, dense)


@torch.inference_mode()
def test_the_best_candidate_is_chosen(model: HqSam2, object_bias: torch.Tensor) -> None:
    features = model.encode_image(torch.randn(1, 3, *PIXELS))
    prompts = ModelPrompts(torch.rand(4, 1, 2), torch.ones(4, 1, dtype=torch.int32))
    fused = model.without_memory(features.embedding)
    object_bias.fill_(1000.0)
    every = model.predict_masks(fused, features.high_res, prompts, multimask=True)
    chosen = model.predict_objects(fused, features.high_res, prompts, multimask=True)
    for row, best in enumerate(every.iou_scores.argmax(1).tolist()):
        torch.testing.assert_close(
            chosen.low_res[row, 0], every.masks[row, best], rtol=0, atol=1e-5
        )
        assert chosen.iou_score[row] == every.iou_scores[row, best]
