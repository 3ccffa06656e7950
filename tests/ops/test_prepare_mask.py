"""The memory encoder's mask against the obvious torch code."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_hqsam2.ops.prepare_mask import prepare_mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("binarize", [True, False])
def test_upsampled_and_scaled(binarize: bool, dtype: torch.dtype) -> None:
    logits = torch.randn(2, 1, 6, 9, generator=torch.Generator().manual_seed(0))
    logits = logits.to(dtype)
    large = F.interpolate(logits.double(), scale_factor=4, mode="bilinear")
    mask = (large > 0).double() if binarize else large.sigmoid()
    found = prepare_mask(logits, binarize=binarize)
    assert found.dtype == dtype
    tolerance = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        found.double(), mask * 20 - 10, rtol=tolerance, atol=tolerance
    )
    half = prepare_mask(
        logits, binarize=binarize, scale=2.0, bias=1.0, dtype=torch.half
    )
    assert half.dtype == torch.half
    torch.testing.assert_close(half.double(), mask * 2 + 1, rtol=1e-3, atol=1e-3)


def test_gradients_flow_and_the_logits_stay() -> None:
    logits = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: prepare_mask(x, binarize=False), logits)
    before = logits.detach().clone()
    with torch.inference_mode():
        prepare_mask(logits, binarize=True)
    assert torch.equal(logits, before)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, 1, h, w\) logits, got torch.float32"):
        prepare_mask(torch.zeros(4, 4), binarize=True)
