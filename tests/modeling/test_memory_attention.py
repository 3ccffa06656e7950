"""Batched memory attention against the plain formula, object by object, in float64.

The formula projects values before it mixes them, shares nothing between objects and
turns complex numbers by angles of absolute cells; rounding apart, nothing may differ.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_hqsam2.build import build_sam2
from napari_hqsam2.modeling import chunked_attention, hqsam2, memory_attention
from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.position_encoding import (
    axial_rope,
    sine_position_encoding,
)
from napari_hqsam2.modeling.windows import GridWindows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_hqsam2.modeling.attention import RopeAttention
    from napari_hqsam2.modeling.hqsam2 import HqSam2

C, CM = 192, 64
SLOTS = 7


@pytest.fixture(scope="module")
def model() -> HqSam2:
    """The nano model in float64 with lively random weights."""
    torch.manual_seed(3)
    model = build_sam2("sam2.1_hq_hiera_nano", device="cpu").double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("image_encoder"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", autouse=True)
def _small_pieces() -> Iterator[None]:
    """Chunks and groups that small grids fill more than once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_attention, "ROWS", 5)
        patch.setattr(chunked_attention, "KEYS", 7)
        patch.setattr(memory_attention, "TOKENS", 11)
        yield


@dataclass(frozen=True)
class Scene:
    """What N objects read on a frame."""

    embedding: Tensor
    """(1 or N, C, h, w)."""
    memories: list[SpatialMemory]
    pointers: list[PointerMemory]
    windows: GridWindows | None

    def __len__(self) -> int:
        return len(self.memories[0].features)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.embedding.shape[-2:]
        return height, width

    def __getitem__(self, n: int) -> Scene:
        """Object `n` alone."""
        row = slice(n, n + 1)

        def cut(part: GridWindows | None) -> GridWindows | None:
            return None if part is None else part[row]

        return Scene(
            self.embedding if len(self.embedding) == 1 else self.embedding[row],
            [
                SpatialMemory(m.slot, m.features[row], cut(m.windows))
                for m in self.memories
            ],
            [PointerMemory(p.distance[row], p.pointer[row]) for p in self.pointers],
            cut(self.windows),
        )

    def fuse(self, model: HqSam2) -> Tensor:
        """What the model makes of it."""
        frame = model.attend_frame(self.embedding)
        return model.fuse_memory(frame, self.memories, self.pointers, self.windows)


def cells_of(part: GridWindows | None, grid: tuple[int, int]) -> Tensor:
    """Flat cells of a single object's window."""
    return torch.arange(grid[0] * grid[1]) if part is None else part.index()[0]


def sine(grid: tuple[int, int], channels: int) -> Tensor:
    """(h * w, channels) position encoding: y in the first half, then x."""
    half = channels // 2
    period = 10000.0 ** (2 * (torch.arange(half) // 2).double() / half)
    y, x = (torch.arange(1.0, n + 1).double() / (n + 1e-6) for n in grid)

    def waves(position: Tensor) -> Tensor:
        angle = 2 * torch.pi * position[:, None] / period
        return torch.where(torch.arange(half) % 2 == 0, angle.sin(), angle.cos())

    yy = waves(y)[:, None].expand(*grid, half)
    xx = waves(x)[None].expand(*grid, half)
    return torch.cat((yy, xx), dim=-1).reshape(-1, channels)


def turned(x: Tensor, cells: Tensor, width: int) -> Tensor:
    """Rotate the pairs of (K, D) tokens: a quarter of the channels by x, then by y."""
    depth = x.shape[-1]
    frequency = 10000.0 ** (-torch.arange(0, depth, 4).double() / depth)
    where = torch.cat(
        (cells[:, None] % width * frequency, cells[:, None] // width * frequency), dim=1
    )
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.exp(1j * where)).flatten(-2)


def attention(
    part: RopeAttention,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    places: tuple[Tensor, Tensor, int],
) -> Tensor:
    """Projections, rotations, softmax; `places`: cells of q and k, width of the grid.

    Keys beyond the cells of k have no place.
    """
    of_queries, of_keys, width = places
    q, k, v = part.q_proj(q), part.k_proj(k), part.v_proj(v)
    q = turned(q, of_queries, width)
    k = torch.cat((turned(k[: len(of_keys)], of_keys, width), k[len(of_keys) :]))
    return part.out_proj((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)


def remembered(model: HqSam2, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Values, positions and cells of what a single object remembers."""
    values, positions, cells = [], [], []
    for memory in scene.memories:
        at = cells_of(memory.windows, scene.grid)
        values.append(memory.features[0].flatten(1).T)
        time = model.maskmem_tpos_enc[SLOTS - 1 - memory.slot, 0]
        positions.append(sine(scene.grid, CM)[at] + time)
        cells.append(at)
    period = 10000.0 ** (2 * (torch.arange(C // 2) // 2).double() / (C // 2))
    for pointer in scene.pointers:
        angle = pointer.distance.double() / period
        time = model.obj_ptr_tpos_proj(torch.cat((angle.sin(), angle.cos())))
        values.append(pointer.pointer.reshape(C // CM, CM))
        positions.append(time.expand(C // CM, CM))
    return torch.cat(values), torch.cat(positions), torch.cat(cells)


def by_formula(model: HqSam2, scene: Scene) -> Tensor:
    """(1, C, ...) of a single object."""
    value, position, of_memory = remembered(model, scene)
    every, width = torch.arange(scene.grid[0] * scene.grid[1]), scene.grid[1]
    here = cells_of(scene.windows, scene.grid)
    x = scene.embedding[0].flatten(1).T + 0.1 * sine(scene.grid, C)
    for depth, layer in enumerate(model.memory_attention.layers):
        y = layer.norm1(x)
        around = every if depth == 0 else here
        x = x + attention(layer.self_attn, y, y, y, (around, around, width))
        if depth == 0:
            x = x[here]
        places = (here, of_memory, width)
        x = x + attention(
            layer.cross_attn_image, layer.norm2(x), value + position, value, places
        )
        x = x + layer.linear2(layer.linear1(layer.norm3(x)).relu())
    shape = scene.grid if scene.windows is None else (scene.windows.side,) * 2
    return model.memory_attention.norm(x).T.reshape(1, C, *shape)


@st.composite
def window(draw: st.DrawFn, grid: tuple[int, int], count: int) -> GridWindows | None:
    """The whole grid, or N windows of one side."""
    side = draw(st.integers(0, min(grid)))
    if side == 0:
        return None
    corner = st.tuples(*(st.integers(0, length - side) for length in grid))
    corners = draw(st.lists(corner, min_size=count, max_size=count))
    return GridWindows(*torch.tensor(corners).T, side, grid)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Up to three objects with up to three memories and pointers, seen or not."""
    grid = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    count = draw(st.integers(1, 3))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    memories = []
    for slot in draw(st.lists(st.integers(0, SLOTS - 1), min_size=1, max_size=3)):
        part = draw(window(grid, count))
        shape = grid if part is None else (part.side, part.side)
        features = torch.randn(count, CM, *shape, dtype=torch.float64)
        memories.append(SpatialMemory(slot, features, part))
    pointers = [
        PointerMemory(
            torch.randint(-15, 16, (count,)).double() / 15,
            torch.randn(count, C, dtype=torch.float64),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    images = draw(st.sampled_from((1, count)))
    embedding = torch.randn(images, C, *grid, dtype=torch.float64)
    return Scene(embedding, memories, pointers, draw(window(grid, count)))


def largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


@given(scenes())
@settings(max_examples=40)
def test_batches_follow_the_formula(model: HqSam2, scene: Scene) -> None:
    with torch.no_grad():
        got = scene.fuse(model)
        expected = torch.cat([by_formula(model, scene[n]) for n in range(len(scene))])
    assert got.shape == expected.shape
    assert largest(got - expected) < 1e-9


@given(scenes())
@settings(max_examples=15)
def test_gradients_follow_the_formula(model: HqSam2, scene: Scene) -> None:
    """Training goes another way, through projected values and torch's own attention."""
    inputs = [
        scene.embedding,
        *(memory.features for memory in scene.memories),
        *(pointer.pointer for pointer in scene.pointers),
    ]
    weights = list(model.memory_attention.layers[0].cross_attn_image.parameters())
    for tensor in inputs:
        tensor.requires_grad_()
    got = scene.fuse(model)
    direction = torch.randn_like(got)
    expected = torch.cat([by_formula(model, scene[n]) for n in range(len(scene))])
    assert largest(got - expected) < 1e-9
    gradients = [
        torch.autograd.grad((out * direction).sum(), [*inputs, *weights])
        for out in (got, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        assert largest(ours - theirs) < 1e-8 * max(1.0, largest(theirs))


@given(scenes())
@settings(max_examples=15)
def test_accelerators_go_another_way(model: HqSam2, scene: Scene) -> None:
    """Operators for the rotation and the mask, values as wide as keys."""

    def by_operator(low_res: Tensor, **options: Any) -> Tensor:
        prepared: Tensor = torch.ops.hqsam2.prepare_mask(low_res, *options.values())
        return prepared

    low_res = torch.randn(1, 1, *(4 * length for length in scene.grid)).double()
    score = torch.ones(1, 1)
    with torch.inference_mode():
        expected = torch.cat([by_formula(model, scene[n]) for n in range(len(scene))])
        memory = model.encode_memory(
            scene.embedding[:1], low_res, score, binarize=False
        )
        with pytest.MonkeyPatch.context() as patch:
            # compilers take the operators too
            patch.setattr(torch.compiler, "is_compiling", lambda: True)
            patch.setattr(hqsam2, "prepare_mask", by_operator)
            got = scene.fuse(model)
            other = model.encode_memory(
                scene.embedding[:1], low_res, score, binarize=False
            )
    assert largest(got - expected) < 1e-9
    assert largest(other - memory) < 1e-12


def typical_scene(side: int = 4, *, windows: bool = False) -> Scene:
    """Three objects, two memories and two pointers on a square grid."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    corner = torch.zeros(3, dtype=torch.int64)
    part = GridWindows(corner, corner, side, (side, side)) if windows else None
    return Scene(
        random(1, C, side, side),
        [SpatialMemory(slot, random(3, CM, side, side), part) for slot in (0, 6)],
        [PointerMemory(random(3), random(3, C)) for _ in range(2)],
        part,
    )


@torch.inference_mode()
def test_windows_over_the_whole_grid_change_nothing(model: HqSam2) -> None:
    whole, within = typical_scene(), typical_scene(windows=True)
    assert largest(whole.fuse(model) - within.fuse(model)) < 1e-12
    mixed = replace(within, windows=None)
    assert largest(whole.fuse(model) - mixed.fuse(model)) < 1e-12


@torch.inference_mode()
def test_objects_of_a_batch_do_not_see_each_other(model: HqSam2) -> None:
    scene, single = typical_scene(), deepcopy(model).float()
    scene = Scene(
        scene.embedding.float(),
        [replace(m, features=m.features.float()) for m in scene.memories],
        [PointerMemory(p.distance, p.pointer.float()) for p in scene.pointers],
        None,
    )
    together = scene.fuse(single)
    for n in range(len(scene)):
        assert largest(scene[n].fuse(single) - together[n : n + 1]) < 2e-6


@torch.inference_mode()
def test_memories_are_stored_in_less_precision(model: HqSam2) -> None:
    scene = typical_scene()
    stored = [replace(m, features=m.features.bfloat16()) for m in scene.memories]
    rounded = [replace(m, features=m.features.double()) for m in stored]
    assert (
        largest(
            replace(scene, memories=stored).fuse(model)
            - replace(scene, memories=rounded).fuse(model)
        )
        == 0
    )


@torch.inference_mode()
def test_it_runs_under_autocast(model: HqSam2) -> None:
    scene, single = typical_scene(), deepcopy(model).float()
    expected = scene.fuse(model)
    memories = [replace(m, features=m.features.float()) for m in scene.memories]
    scene = replace(scene, embedding=scene.embedding.float(), memories=memories)
    with torch.autocast("cpu", torch.bfloat16):
        got = scene.fuse(single)
    assert largest(got - expected) < 0.3


@torch.inference_mode()
def test_only_training_drops_out(model: HqSam2) -> None:
    scene, lively = typical_scene(), deepcopy(model)
    for part in lively.memory_attention.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    assert torch.equal(scene.fuse(model), scene.fuse(lively))
    lively.train()
    assert largest(scene.fuse(lively) - scene.fuse(model)) > 0.01


@pytest.mark.parametrize("binarize", [True, False])
@pytest.mark.parametrize("side", [2, 5])
@torch.inference_mode()
def test_memories_are_encoded_in_their_windows(
    model: HqSam2, side: int, *, binarize: bool
) -> None:
    """Each object on its own crop, written out; the whole grid with side 5."""
    embedding = torch.randn(1, C, 5, 5, dtype=torch.float64)
    low_res = 5 * torch.randn(3, 1, 4 * side, 4 * side, dtype=torch.float64)
    score = torch.tensor([[1.0], [-1.0], [1.0]])
    top, left = torch.tensor([[0, 5 - side, 1], [5 - side, 0, 2]]) % (6 - side)
    part = GridWindows(top, left, side, (5, 5))
    got = model.encode_memory(
        embedding, low_res, score, binarize=binarize, windows=part
    )
    encoder = model.memory_encoder
    for n in range(3):
        rows = slice(int(top[n]), int(top[n]) + side)
        columns = slice(int(left[n]), int(left[n]) + side)
        logits = torch.nn.functional.interpolate(
            low_res[n : n + 1], scale_factor=4, mode="bilinear"
        )
        mask = (logits > 0).double() if binarize else logits.sigmoid()
        x = encoder.pix_feat_proj(embedding[..., rows, columns])
        x = encoder.out_proj(
            encoder.fuser(x + encoder.mask_downsampler(20 * mask - 10))
        )
        if score[n] < 0:
            x = x + model.no_obj_embed_spatial[..., None, None]
        assert largest(got[n] - x[0]) < 1e-9
    if side == 5:
        whole = model.encode_memory(embedding, low_res, score, binarize=binarize)
        assert largest(got - whole) < 1e-12


def test_tables_that_inference_made_serve_training(model: HqSam2) -> None:
    scene = typical_scene(3)
    axial_rope.cache_clear()
    sine_position_encoding.cache_clear()
    with torch.inference_mode():
        scene.fuse(model)
    model.memory_attention.zero_grad()
    scene.fuse(model).sum().backward()
    gradient = model.memory_attention.layers[0].cross_attn_image.k_proj.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    model.memory_attention.zero_grad()
