"""Moving small things to a device without waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from napari_hqsam2._types import AnyArray


def to_device(values: AnyArray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move values of this process to a device.

    A plain copy to a GPU waits until the GPU has done all that it was told before; one
    from pinned memory takes its place in the queue.
    """
    tensor = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
