"""Objects that read alike on a frame, as the batches that the network wants."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.windows import GridWindows
from napari_hqsam2.predictors.memory_bank import select_memory_frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from napari_hqsam2._types import HW
    from napari_hqsam2.predictors.local_windows import Window
    from napari_hqsam2.predictors.memory_bank import (
        FrameOutput,
        MemoryBank,
        MemoryReach,
    )
    from napari_hqsam2.predictors.session import ObjectState


class ReadingKind(NamedTuple):
    """What objects of one batch have in common."""

    side: int | None
    """Side of the window that is looked at; None for the whole grid."""
    memories: tuple[tuple[int, int | None], ...]
    """Slot and side of every memory."""
    num_pointers: int
    has_mask: bool
    """Whether the masks of the frame before are known."""

    def extent(self, grid: HW, tokens_per_pointer: int) -> tuple[int, int]:
        """Cells that are looked at, and memory tokens that are read."""
        whole = grid[0] * grid[1]
        cells = [side**2 if side else whole for _, side in self.memories]
        tokens = sum(cells) + self.num_pointers * tokens_per_pointer
        return self.side**2 if self.side else whole, tokens


class PastOutput(NamedTuple):
    """An earlier or later result that a frame reads."""

    place: int
    """Slot of a memory; signed distance in frames of a pointer."""
    frame: int
    output: FrameOutput


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one object reads on a frame, and where it is looked for."""

    obj_id: int
    spatial: tuple[PastOutput, ...]
    """Memories, in the order in which attention sees them."""
    pointers: tuple[PastOutput, ...]
    window: Window | None = None
    """Where the object is looked for; None for the whole grid."""
    mask: Tensor | None = None
    """(1, 1, 4h, 4w) logits on the frame before, to be moved to this one; None if only
    memory says where the object is."""

    @property
    def kind(self) -> ReadingKind:
        """What decides which objects may share a batch."""
        return ReadingKind(
            _side(self.window),
            tuple((past.place, _side(window_of(past.output))) for past in self.spatial),
            len(self.pointers),
            self.mask is not None,
        )


def read_bank(
    obj_id: int, bank: MemoryBank, frame: int, reach: MemoryReach, *, reverse: bool
) -> Reading:
    """What an object reads on a frame, looked for on the whole grid."""
    selection = select_memory_frames(
        frame, bank.conditioning, bank.tracked, reach, reverse=reverse
    )
    spatial = (PastOutput(slot, t, bank[t]) for slot, t in selection.spatial)
    return Reading(
        obj_id,
        tuple(past for past in spatial if past.output.memory is not None),
        tuple(PastOutput(place, t, bank[t]) for place, t in selection.pointers),
    )


def with_masks(
    readings: Sequence[Reading], objects: Mapping[int, ObjectState], before: int
) -> list[Reading]:
    """Readings with the masks of the frame before, of objects that were in view."""
    logits = [objects[reading.obj_id].seen(before) for reading in readings]
    known = [each for each in logits if each is not None]
    if not known:
        return list(readings)
    in_view = iter((torch.cat(known) > 0).flatten(1).any(1).tolist())
    return [
        reading if each is None or not next(in_view) else replace(reading, mask=each)
        for reading, each in zip(readings, logits, strict=True)
    ]


def group_readings(readings: Iterable[Reading]) -> dict[ReadingKind, list[Reading]]:
    """Objects by kind, each group in the given order."""
    groups: dict[ReadingKind, list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[reading.kind].append(reading)
    return groups


def to_windows(
    windows: Sequence[Window | None], grid: HW, device: torch.device
) -> GridWindows | None:
    """Windows of one side as the network takes them; None for the whole grid."""
    given = [window for window in windows if window is not None]
    if not given:
        return None
    corners = _sent(torch.tensor([(w.top, w.left) for w in given]), device)
    return GridWindows(corners[:, 0], corners[:, 1], given[0].side, grid)


def to_memories(
    readings: Sequence[Reading], grid: HW, device: torch.device
) -> list[SpatialMemory]:
    """Spatial memories of one batch."""
    memories = []
    for rows in zip(*(reading.spatial for reading in readings), strict=True):
        outputs = [past.output for past in rows]
        features = [out.memory for out in outputs if out.memory is not None]
        windows = to_windows([window_of(out) for out in outputs], grid, device)
        memories.append(
            SpatialMemory(rows[0].place, _joined(features).to(device), windows)
        )
    return memories


def to_pointers(
    readings: Sequence[Reading],
    span: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> list[PointerMemory]:
    """Object pointers of one batch; distances are counted in `span` frames."""
    pasts = [past for reading in readings for past in reading.pointers]
    if not pasts:
        return []
    places = torch.tensor([past.place / span for past in pasts])
    distances = _sent(places, device).view(len(readings), -1)
    pointers = torch.cat([past.output.pointer for past in pasts]).to(dtype=dtype)
    columns = pointers.view(*distances.shape, -1).unbind(1)
    return list(map(PointerMemory, distances.unbind(1), columns))


def window_of(output: FrameOutput) -> Window | None:
    """Where an object was looked for; None for the whole grid."""
    return None if output.sighting is None else output.sighting.window


def _joined(rows: Sequence[Tensor]) -> Tensor:
    """The rows of a batch; a single one as it is."""
    return rows[0] if len(rows) == 1 else torch.cat(list(rows))


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Send a few values from the host; nothing waits for what a GPU is at."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _side(window: Window | None) -> int | None:
    return None if window is None else window.side
