"""Attention in pieces is attention, however far apart its scores are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.modeling import chunked_attention
from napari_hqsam2.modeling.chunked_attention import FARTHEST, attend_in_chunks

CHANNELS, WIDTH = 8, 3


@pytest.fixture(scope="module", autouse=True)
def _small_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_attention, "ROWS", 4)
        patch.setattr(chunked_attention, "KEYS", 5)
        yield


def drawn(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@given(
    seed=st.integers(0, 99),
    objects=st.integers(1, 3),
    length=st.integers(1, 9),
    tokens=st.integers(1, 13),
    spread=st.sampled_from((0.0, 1.0, 30.0, 1e4)),
    shares_queries=st.booleans(),
)
def test_pieces_give_what_the_whole_gives(
    seed, objects, length, tokens, spread, shares_queries
):
    rows = 1 if shares_queries else objects
    queries = drawn(seed, rows, length, CHANNELS) * spread
    keys = drawn(seed + 100, objects, tokens, CHANNELS)
    values = drawn(seed + 200, objects, tokens, WIDTH)
    shares = (queries @ keys.mT / math.sqrt(CHANNELS)).softmax(dim=-1)
    found = attend_in_chunks(queries, keys, values)
    torch.testing.assert_close(found, shares @ values, rtol=1e-9, atol=1e-12)


def test_no_share_is_subnormal_and_none_is_missed():
    """The share that counts as farthest is a normal number, and vanishes in a sum."""
    for dtype in (torch.float32, torch.float64):
        share = torch.tensor(FARTHEST, dtype=dtype).exp()
        most = torch.ones((), dtype=dtype)
        assert share > 1e6 * torch.finfo(torch.float32).tiny
        assert most + 2**20 * share == most


def test_what_is_no_number_stays_that():
    keys = drawn(1, 1, 7, CHANNELS)
    keys[0, 6] = torch.nan
    found = attend_in_chunks(drawn(2, 1, 3, CHANNELS), keys, drawn(3, 1, 7, WIDTH))
    assert found.isnan().all()
