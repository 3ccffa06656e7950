"""What objects remember as tokens for memory attention, with their positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.casting import lowered, lowered_sum, product_dtype
from napari_hqsam2.modeling.position_encoding import sine_time_encoding, table_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from napari_hqsam2.modeling.position_encoding import Rope
    from napari_hqsam2.modeling.windows import GridWindows


@dataclass(frozen=True)
class SpatialMemory:
    """Memory features of one frame, seen from the frame that reads them."""

    slot: int
    """Temporal slot: 0 for a conditioning frame, 1 (farthest) to 6 (nearest) for
    tracked ones."""
    features: Tensor
    """(N, Cm, h, w), or (N, Cm, side, side) with windows."""
    windows: GridWindows | None = None
    """Where the objects' features lie on the grid; None for the whole grid."""


@dataclass(frozen=True)
class PointerMemory:
    """Object pointer of one frame, seen from the frame that reads it."""

    distance: Tensor
    """(N,) signed number of frames from that frame to the reader, over the longest
    distance read."""
    pointer: Tensor
    """(N, C)."""


@dataclass(frozen=True)
class TokenPart:
    """Tokens of N objects, and what is added to them as keys."""

    values: Tensor
    """(N, K, Cm)."""
    keys: Tensor
    """(N, K, Cm) values with their position encoding added."""


def place_codes(
    memories: Sequence[SpatialMemory], times: Tensor, sine: Tensor
) -> Tensor:
    """(1 or N, K, Cm) position encoding of memories, in space and in time.

    Parameters
    ----------
    memories : sequence of SpatialMemory
        At least one.
    times : Tensor
        (slots, 1, 1, Cm) code of each temporal slot, the last for slot 0.
    sine : Tensor
        (h * w, Cm) sine position encoding of the grid.
    """
    codes = [
        (sine if memory.windows is None else sine[memory.windows.index()])
        + times[len(times) - 1 - memory.slot]
        for memory in memories
    ]
    count = max(map(len, codes))
    return torch.cat([code.expand(count, -1, -1) for code in codes], dim=1)


def spatial_tokens(memories: Sequence[SpatialMemory], places: Tensor) -> TokenPart:
    """Tokens of memories, one after the other; `places` from `place_codes`."""
    tokens = [memory.features.flatten(2).transpose(1, 2) for memory in memories]
    features = torch.cat(tokens, dim=1)
    dtype = places.dtype if torch.is_grad_enabled() else product_dtype(places)
    return TokenPart(features.to(dtype), lowered_sum(features, places))


def pointer_tokens(
    pointers: Sequence[PointerMemory], project: nn.Linear, channels: int
) -> TokenPart:
    """Pointers cut into tokens.

    Parameters
    ----------
    pointers : sequence of PointerMemory
        At least one.
    project : Linear
        From the sines of a distance in time to a position encoding.
    channels : int
        Cm, of which C is a multiple.
    """
    dtype, device = project.weight.dtype, project.weight.device
    pointer = torch.stack([memory.pointer for memory in pointers], dim=1).to(dtype)
    distance = torch.stack([memory.distance for memory in pointers], dim=1)
    time = sine_time_encoding(
        distance.to(device, table_dtype(dtype)), pointer.shape[-1]
    )
    values = pointer.unflatten(-1, (-1, channels))
    keys = lowered_sum(values, project(time.to(dtype))[:, :, None])
    return TokenPart(lowered(values).flatten(1, 2), keys.flatten(1, 2))


def rope_of(memories: Sequence[SpatialMemory], rope: Rope) -> Rope:
    """Angles for all memories, one table if each covers the whole grid.

    Parameters
    ----------
    memories : sequence of SpatialMemory
        In the order of their tokens.
    rope : Rope
        Angles of the grid.
    """
    if all(memory.windows is None for memory in memories):
        return rope
    cells = torch.arange(len(rope.cos), device=rope.cos.device)
    everywhere = cells.expand(len(memories[0].features), -1)
    parts = [
        everywhere if memory.windows is None else memory.windows.index()
        for memory in memories
    ]
    return rope.at(torch.cat(parts, dim=1))
