"""One policy for the arithmetic of inference."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA devices that have it in hardware, float32 elsewhere."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        return torch.bfloat16
    return torch.float32


@contextmanager
def inference(device: torch.device, *, keep_casts: bool = True) -> Iterator[None]:
    """Run without gradients, with autocast where the device gains from it.

    Parameters
    ----------
    device : torch.device
        What is computed on.
    keep_casts : bool
        Keep parameters that were cast for their next use. All threads share what is
        kept, whatever their streams: not for what may run beside others.
    """
    dtype = compute_dtype(device)
    with (
        torch.inference_mode(),
        torch.autocast(
            device.type,
            dtype,
            enabled=dtype != torch.float32,
            cache_enabled=keep_casts,
        ),
    ):
        yield
