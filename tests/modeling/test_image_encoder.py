"""Trunk and pyramid in float64 against the formulas, whole and in pieces."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling import hiera
from napari_hqsam2.modeling.hiera import BlockShape, Hiera, MultiScaleBlock
from napari_hqsam2.modeling.image_encoder import FpnNeck, ImageEncoder


@pytest.fixture
def trunk() -> Hiera:
    """Windows that fit and that do not, pooling, and global blocks."""
    torch.manual_seed(0)
    trunk = Hiera(8, 1, (1, 2, 3, 1), (4,), (3, 3), (4, 4, 6, 2)).double()
    for parameter in trunk.parameters():
        nn.init.normal_(parameter, std=0.3)
    return trunk


def block_by_formula(block: MultiScaleBlock, x: torch.Tensor) -> torch.Tensor:
    """Each window on its own; x is (B, H, W, C)."""
    shape = block.shape
    window = shape.window or max(x.shape[1:3])
    step = window // (2 if shape.pools else 1)
    normed = block.norm1(x)
    far = (-x.shape[2] % window, -x.shape[1] % window) if shape.window else (0, 0)
    padded = F.pad(normed, (0, 0, 0, far[0], 0, far[1]))

    def pool(y: torch.Tensor) -> torch.Tensor:
        if not shape.pools:
            return y
        return F.max_pool2d(y.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    rows = []
    for top in range(0, padded.shape[1], window):
        row = []
        for left in range(0, padded.shape[2], window):
            part = padded[:, top : top + window, left : left + window]
            q, k, v = block.attn.qkv(part).chunk(3, dim=-1)
            heads = [
                (a @ b.mT / a.shape[-1] ** 0.5).softmax(-1) @ c
                for a, b, c in zip(
                    *(
                        y.flatten(1, 2).chunk(shape.num_heads, dim=-1)
                        for y in (pool(q), k, v)
                    ),
                    strict=True,
                )
            ]
            out = block.attn.proj(torch.cat(heads, dim=-1))
            row.append(out.unflatten(1, pool(q).shape[1:3]))
        rows.append(torch.cat(row, dim=2))
    attended = torch.cat(rows, dim=1)
    assert not shape.window or attended.shape[1] % step == 0
    shortcut = pool(block.proj(normed)) if hasattr(block, "proj") else x
    x = shortcut + attended[:, : shortcut.shape[1], : shortcut.shape[2]]
    first, second = block.mlp.layers
    return x + second(F.gelu(first(block.norm2(x))))


@pytest.mark.parametrize("piece", [1, 40, 10**6])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_trunk_follows_the_formula(
    trunk: Hiera, monkeypatch: pytest.MonkeyPatch, batch: int, piece: int
) -> None:
    monkeypatch.setattr(hiera, "PIECE_TOKENS", piece)
    image = torch.randn(batch, 3, 96, 64, dtype=torch.float64)
    with torch.inference_mode():
        got = trunk(image)
    x = F.conv2d(
        image, trunk.patch_embed.proj.weight, trunk.patch_embed.proj.bias, 4, 3
    )
    size = x.shape[-2:]
    x = x + F.interpolate(trunk.pos_embed, size=size, mode="bicubic")
    x = x + trunk.pos_embed_window.tile(1, 1, *(-(-n // 4) for n in size))
    x = x.permute(0, 2, 3, 1)
    expected = []
    for index, block in enumerate(trunk.blocks):
        assert isinstance(block, MultiScaleBlock)
        x = block_by_formula(block, x)
        if index in trunk.stage_ends:
            expected.append(x.permute(0, 3, 1, 2))
    with_gradients = trunk(image)
    for ours, trained, theirs in zip(got, with_gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
        torch.testing.assert_close(trained, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("grid", [(8, 4), (8, 12), (6, 9)])
def test_a_block_leaves_what_it_is_given(
    grid: tuple[int, int], channels_last: bool
) -> None:
    block = MultiScaleBlock(BlockShape(8, 8, 2, 4, pools=False))
    given = torch.randn(2, *grid, 8)
    if not channels_last:
        given = given.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    x = given.clone()
    assert x.stride() == given.stride()
    with torch.inference_mode():
        got = block(x)
    assert torch.equal(x, given)
    torch.testing.assert_close(got, block_by_formula(block, x), rtol=0, atol=1e-5)


def test_the_pyramid_follows_the_formula(trunk: Hiera) -> None:
    heads = [nn.Conv2d(6, width, 1).double() for width in (2, 3)]
    encoder = ImageEncoder(trunk, 6).double()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        got = encoder(image, heads)
        maps = trunk(image)
        neck = encoder.neck
        assert isinstance(neck, FpnNeck)
        laterals = [
            conv(level) for conv, level in zip(neck.convs, maps[::-1], strict=True)
        ][::-1]
        coarse = F.interpolate(laterals[3], scale_factor=2.0, mode="nearest")
        expected = [heads[0](laterals[0]), heads[1](laterals[1]), laterals[2] + coarse]
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
