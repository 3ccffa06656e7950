"""Attention against the plain formula in float64, whichever way it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_hqsam2.modeling.attention import Attention
from napari_hqsam2.modeling.two_way_transformer import TwoWayTransformer

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS, KEY_CHANNELS, HEADS, FEW = 12, 8, 2, 3
"""With a downsample rate of 2, FEW tokens are as many as a head has channels."""
WAYS = ("_from_few", "_to_few", "_project_all")


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention(dropout: float = 0.0) -> Attention:
    part = Attention(
        CHANNELS, HEADS, downsample_rate=2, key_channels=KEY_CHANNELS, dropout=dropout
    )
    return part.double()


def by_formula(part: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Row by row and head by head."""
    rows = []
    for n in range(max(map(len, (q, k, v)))):
        query, key, value = (
            layer(x[n % len(x)])
            for layer, x in ((part.q_proj, q), (part.k_proj, k), (part.v_proj, v))
        )
        heads = [
            (a @ b.T / a.shape[1] ** 0.5).softmax(1) @ c
            for a, b, c in zip(
                *(x.chunk(part.num_heads, dim=1) for x in (query, key, value)),
                strict=True,
            )
        ]
        rows.append(part.out_proj(torch.cat(heads, dim=1)))
    return torch.stack(rows)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of up to three rows; some shared by all of them."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    count = draw(st.integers(1, 3))
    rows = st.sampled_from((1, count))
    lengths = st.sampled_from((1, FEW, FEW + 1, 9))
    length = draw(lengths)
    return (
        random(draw(rows), draw(lengths), CHANNELS),
        random(draw(rows), length, KEY_CHANNELS),
        random(draw(rows), length, KEY_CHANNELS),
    )


@given(inputs(), st.booleans())
def test_every_way_follows_the_formula(
    given_inputs: tuple[Tensor, Tensor, Tensor], training: bool
) -> None:
    part = attention().train(training)
    with torch.inference_mode():
        expected = by_formula(part, *given_inputs)
        got = part(*given_inputs)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@given(inputs())
@settings(max_examples=20)
def test_gradients_follow_the_formula(
    given_inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    part = attention().train()
    wanted = [*(x.requires_grad_() for x in given_inputs), *part.parameters()]
    got, expected = part(*given_inputs), by_formula(part, *given_inputs)
    direction = torch.randn_like(got)
    ours, theirs = (
        torch.autograd.grad((out * direction).sum(), wanted) for out in (got, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("queries", "keys", "way"),
    [
        ((2, FEW), (2, 9), "_from_few"),
        ((2, 9), (2, FEW), "_to_few"),
        ((1, 9), (2, FEW), "_to_few"),
        ((2, 9), (2, FEW + 1), "_project_all"),
        # all prompts look at one image: together they are many
        ((2, FEW), (1, 9), "_project_all"),
    ],
)
def test_few_tokens_are_carried(
    queries: tuple[int, int], keys: tuple[int, int], way: str
) -> None:
    part = attention(dropout=0.5).eval()
    q, k = random(*queries, CHANNELS), random(*keys, KEY_CHANNELS)
    for others in (True, False):
        taken = "_project_all" if others else way
        with (
            torch.set_grad_enabled(others),
            patch.object(part, taken, wraps=getattr(part, taken)) as called,
        ):
            part(q, k, k)
            assert called.called
    with torch.no_grad(), patch.object(part, way) as called:
        part.train()(q, k, k)
        assert called.called == (way == "_project_all")


@pytest.mark.parametrize("own_images", [True, False])
def test_the_two_way_transformer_gives_the_same_with_gradients(
    own_images: bool,
) -> None:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(CHANNELS, 2, mlp_dim=16).double()
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.5)
    image = random(2 if own_images else 1, CHANNELS, 4, 3)
    arguments = (image, random(1, CHANNELS, 4, 3), random(2, FEW, CHANNELS))
    expected = transformer(*arguments)
    with torch.inference_mode():
        got = transformer(*arguments)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)
