"""What objects remember as tokens for memory attention, with their positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

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


def spatial_tokens(memory: SpatialMemory, times: Tensor, sine: Tensor) -> TokenPart:
    """Tokens of one frame.

    Parameters
    ----------
    memory : SpatialMemory
        The frame.
    times : Tensor
        (slots, 1, 1, Cm) code of each temporal slot, the last for slot 0.
    sine : Tensor
        (h * w, Cm) sine position encoding of the grid.
    """
    values = memory.features.to(times.dtype).flatten(2).transpose(1, 2)
    place = sine if memory.windows is None else sine[memory.windows.index()]
    return TokenPart(values, values + (place + times[len(times) - 1 - memory.slot]))


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
    keys = values + project(time.to(dtype))[:, :, None]
    return TokenPart(values.flatten(1, 2), keys.flatten(1, 2))


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
