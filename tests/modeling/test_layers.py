"""Windows, stability and small layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.modeling.hiera import add_windows, to_windows
from napari_hqsam2.modeling.layers import MLP, Doubling, Gelu, LayerNorm2d
from napari_hqsam2.modeling.mask_decoder import StabilityFallback

SIDE = st.integers(1, 20)


@given(st.integers(1, 3), SIDE, SIDE, st.integers(1, 9))
def test_windows_come_back(batch: int, height: int, width: int, size: int) -> None:
    x = torch.arange(batch * height * width * 2.0).reshape(batch, height, width, 2)
    windows = to_windows(x, size)
    rows, columns = -(-height // size), -(-width // size)
    assert windows.shape == (batch * rows * columns, size, size, 2)
    assert torch.equal(add_windows(10 * x, windows), 11 * x)
    assert torch.equal(windows[0, 0, 0], x[0, 0, 0])
    assert windows.sum() == x.sum()


def test_layer_norm_is_over_channels() -> None:
    x = torch.randn(2, 5, 3, 4)
    normed = LayerNorm2d(5)(x)
    assert normed.shape == x.shape
    assert normed.mean(1).abs().max() < 1e-5
    assert (normed.var(1, correction=0) - 1).abs().max() < 1e-3


@given(st.integers(1, 3), st.booleans(), st.integers(1, 5), st.integers(1, 5))
def test_a_map_grows_as_by_transposed_convolution(
    count: int, shared: bool, height: int, width: int
) -> None:
    doubling = Doubling(3, 5).double()
    x = torch.randn(count, 3, height, width, dtype=torch.float64)
    skip = torch.randn(
        1 if shared else count, 5, 2 * height, 2 * width, dtype=torch.float64
    )
    got = doubling.add_to(skip, x.permute(0, 2, 3, 1))
    torch.testing.assert_close(got, doubling(x) + skip, rtol=0, atol=1e-12)
    assert got.permute(0, 2, 3, 1).is_contiguous()


def test_gelu_keeps_what_gradients_need() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    before, expected = x.clone(), torch.nn.functional.gelu(x)
    assert torch.equal(Gelu()(x), expected)
    assert torch.equal(x, before)
    with torch.no_grad():
        assert Gelu()(x) is x
    assert torch.equal(x, expected)


def test_mlp_has_no_activation_at_its_end() -> None:
    mlp = MLP((2, 8, 1))
    assert [layer.out_features for layer in mlp.layers] == [8, 1]
    torch.nn.init.constant_(mlp.layers[1].bias, -50.0)
    x = torch.randn(64, 2)
    assert (mlp(x) < 0).all()
    squashed = MLP((2, 8, 1), sigmoid_output=True)(x)
    assert ((squashed > 0) & (squashed < 1)).all()


@pytest.mark.parametrize(
    ("logits", "stable"),
    [
        ([0.06] * 98 + [0.0] * 2, True),
        ([0.06] * 97 + [0.0] * 3, False),
        ([-1.0] * 100, True),
        ([0.04] * 100, False),
    ],
)
def test_stability(logits: list[float], stable: bool) -> None:
    grid = torch.tensor(logits).reshape(1, 10, 10)
    assert StabilityFallback().is_stable(grid).tolist() == [stable]
