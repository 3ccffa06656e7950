"""Rotary encoding against complex multiplication, its derivative, and shared tables."""

from __future__ import annotations

import pytest
import torch

from napari_hqsam2.ops.rotate import rotate_pairs


def angles(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    angle = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    return angle.cos(), angle.sin()


def test_a_pair_is_a_complex_number() -> None:
    cos, sin = angles(7, 4)
    x = torch.randn(2, 3, 14, 8, dtype=torch.float64)
    turned = torch.view_as_complex(x.unflatten(-1, (4, 2)))
    turned = turned * torch.complex(cos, sin).repeat(2, 1)
    expected = torch.view_as_real(turned).flatten(-2)
    torch.testing.assert_close(rotate_pairs(x, cos, sin), expected, rtol=0, atol=1e-12)


def test_objects_may_have_tables_of_their_own() -> None:
    cos, sin = angles(3, 5, 2)
    x = torch.randn(3, 2, 15, 4, dtype=torch.float64)
    found = rotate_pairs(x, cos, sin)
    for index in range(3):
        one = rotate_pairs(x[index], cos[index], sin[index])
        assert torch.equal(found[index], one)


@pytest.mark.parametrize("own", [True, False])
def test_tokens_at_the_end_may_stay(own: bool) -> None:
    cos, sin = angles(2, 3, 4) if own else angles(3, 4)
    x = torch.randn(2, 2 * 3 + 5, 8, dtype=torch.float64)
    found = rotate_pairs(x, cos, sin, 5)
    assert torch.equal(found[:, :6], rotate_pairs(x[:, :6], cos, sin))
    assert torch.equal(found[:, 6:], x[:, 6:])
    assert torch.equal(rotate_pairs(x, cos, sin, 11), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    cos, sin = angles(5, 2, dtype=torch.float32)
    x = torch.randn(2, 5, 4).to(dtype)
    found = rotate_pairs(x, cos, sin)
    assert found.dtype == dtype
    assert torch.equal(found, rotate_pairs(x.float(), cos, sin).to(dtype))


def test_tokens_may_begin_anywhere_in_memory() -> None:
    cos, sin = angles(3, 2, dtype=torch.float32)
    memory = torch.randn(2 * 13)
    for x in (memory[1:13].view(3, 4), memory.view(13, 2).T[:, :12].view(2, 3, 4)):
        expected = rotate_pairs(x.clone(), cos, sin)
        assert torch.equal(rotate_pairs(x, cos, sin), expected)


@pytest.mark.parametrize("plain", [0, 2])
@pytest.mark.parametrize("operator", [True, False])
def test_derivative(operator: bool, plain: int) -> None:
    cos, sin = angles(3, 2)
    x = torch.randn(2, 6 + plain, 4, dtype=torch.float64, requires_grad=True)

    def turn(x: torch.Tensor) -> torch.Tensor:
        if operator:
            return torch.ops.hqsam2.rotate_pairs(x, cos, sin, False, plain)
        return rotate_pairs(x, cos, sin, plain)

    assert torch.autograd.gradcheck(turn, x)


@pytest.mark.parametrize(
    ("x", "table", "plain"),
    [
        ((2, 7, 4), (3, 2), 0),
        ((2, 7, 4), (3, 2), 2),
        ((2, 7, 4), (3, 2), -2),
        ((2, 6, 4), (3, 2), 9),
        ((2, 6, 6), (3, 2), 0),
        ((2, 6, 4), (3, 3, 2), 0),
        ((6, 4), (6, 3, 2), 0),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    x: tuple[int, ...], table: tuple[int, ...], plain: int
) -> None:
    with pytest.raises(ValueError, match="do not fit tokens"):
        rotate_pairs(torch.zeros(x), torch.zeros(table), torch.zeros(table), plain)
