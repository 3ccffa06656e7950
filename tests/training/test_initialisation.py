"""The start values do what they promise before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.position_encoding import axial_rope
from napari_hqsam2.training.initialisation import (
    initialise_memory,
    where_channels,
)

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2


def cell_codes(model: HqSam2, side: int) -> torch.Tensor:
    grid = model.sam_prompt_encoder.pe_layer.grid(side, side)
    return grid.flatten(2).transpose(1, 2)


def test_attention_of_a_click_peaks_at_the_click(micro: HqSam2) -> None:
    codes = cell_codes(micro, 16)
    for layer in micro.sam_mask_decoder.transformer.layers:
        attention = layer.cross_attn_token_to_image
        q = attention._heads(attention.q_proj(codes))
        k = attention._heads(attention.k_proj(codes))
        logits = (q @ k.transpose(-1, -2)).mean(1)[0]
        here = torch.arange(256)
        assert (logits.argmax(1) == here).float().mean() > 0.95


def test_what_a_click_writes_does_not_depend_on_where_it_is(micro: HqSam2) -> None:
    codes = cell_codes(micro, 16)[0]
    where = where_channels(64, 32)
    elsewhere = codes.clone()
    elsewhere[:, where] = codes[:, where].roll(5, dims=0)
    assert not torch.equal(codes, elsewhere)
    for layer in micro.sam_mask_decoder.transformer.layers:
        value = layer.cross_attn_image_to_token.v_proj
        torch.testing.assert_close(value(codes), value(elsewhere))


def test_memory_is_first_read_at_its_own_place(micro: HqSam2) -> None:
    initialise_memory(micro, token_std=0.5)
    attention = micro.memory_attention.layers[0].cross_attn_image
    seen: list[torch.Tensor] = []
    values = torch.eye(64)[None]
    with torch.no_grad():
        attention.v_proj.weight.zero_()
        attention.v_proj.weight[:, :64] = torch.eye(64)
        attention.v_proj.bias.zero_()
        attention.out_proj.weight.copy_(torch.eye(64))
        attention.out_proj.bias.zero_()
        flat = torch.zeros(1, 64, 64)
        rope = axial_rope(8, 8, 64, flat.device)
        queries, keys = attention.queries(flat, rope), attention.keys(flat, rope)
        seen.append(attention.attend(queries, keys, values))
    weights = seen[0][0]
    assert torch.equal(weights.argmax(dim=1), torch.arange(64))
