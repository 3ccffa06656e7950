"""What one object remembers, and which of it a frame may read."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

ARCHIVED_LOGIT = 10.0
"""Size of the logits that an archived mask comes back with."""


@dataclass(frozen=True)
class FrameOutput:
    """Result for one object on one frame."""

    low_res: Tensor | None
    """(1, 1, 4h, 4w) mask logits; None once they are out of reach and archived."""
    pointer: Tensor
    """(1, C) object pointer."""
    object_score: Tensor
    """(1, 1) logit that the object is in view."""
    iou_score: Tensor
    """(1,) predicted IoU."""
    memory: Tensor | None = None
    """(1, Cm, h, w) features; None before they are encoded and when out of reach."""


@dataclass(frozen=True)
class MemorySelection:
    """Frames that one frame reads, in the order in which attention sees them."""

    spatial: tuple[tuple[int, int], ...]
    """(slot, frame): slot 0 for conditioning frames, 1 (farthest) to 6 (nearest) for
    others."""
    pointers: tuple[tuple[int, int], ...]
    """(signed distance, frame)."""


@dataclass(frozen=True)
class MemoryReach:
    """How far a frame looks back."""

    num_memories: int
    """Temporal slots, one of them for conditioning frames."""
    max_pointers: int
    """Frames that pointers are read from, conditioning ones apart."""
    max_conditioning: int
    """Most conditioning frames, the closest first; -1 for all."""

    @property
    def spatial(self) -> int:
        """Distance in frames of the farthest tracked memory."""
        return self.num_memories - 1

    @property
    def pointer(self) -> int:
        """Distance in frames of the farthest tracked pointer."""
        return self.max_pointers - 1


def closest_conditioning(frame: int, frames: Collection[int], most: int) -> list[int]:
    """Select conditioning frames to attend to; upstream ``select_closest_cond_frames``.

    The closest one before and the closest one from `frame` on come first, then others
    by distance, up to `most` (-1 for all of them).
    """
    if most == -1 or len(frames) <= most:
        return list(frames)
    before = max((t for t in frames if t < frame), default=None)
    after = min((t for t in frames if t >= frame), default=None)
    chosen = [t for t in (before, after) if t is not None]
    rest = sorted((t for t in frames if t not in chosen), key=lambda t: abs(t - frame))
    return chosen + rest[: most - len(chosen)]


def select_memory_frames(
    frame: int,
    conditioning: Collection[int],
    tracked: Collection[int],
    reach: MemoryReach,
    *,
    reverse: bool,
) -> MemorySelection:
    """Choose what a frame reads; upstream ``_prepare_memory_conditioned_features``.

    Parameters
    ----------
    frame : int
        The frame that reads.
    conditioning, tracked : collection of int
        Frames with a memory, prompted and not.
    reach : MemoryReach
        Limits; `max_pointers` already capped by the number of frames.
    reverse : bool
        Tracking runs towards frame 0.

    Notes
    -----
    Conditioning frames that were not selected still count as tracked ones. Pointers of
    conditioning frames are read from the past only, in the direction of tracking.
    """
    past = 1 if reverse else -1
    selected = closest_conditioning(frame, conditioning, reach.max_conditioning)
    others = set(tracked) | (set(conditioning) - set(selected))
    spatial = [(0, t) for t in selected]
    for slot in range(1, reach.num_memories):
        t = frame + past * (reach.num_memories - slot)
        if t in others:
            spatial.append((slot, t))
    pointers = [(past * (t - frame), t) for t in selected if past * (t - frame) >= 0]
    for distance in range(1, reach.max_pointers):
        t = frame + past * distance
        if t in others:
            pointers.append((distance, t))
    return MemorySelection(tuple(spatial), tuple(pointers))


@dataclass
class MemoryBank:
    """Outputs of one object that can still be read; its other masks, archived."""

    conditioning: dict[int, FrameOutput] = field(default_factory=dict)
    """Outputs of prompted frames, by frame."""
    tracked: dict[int, FrameOutput] = field(default_factory=dict)
    """Outputs of other frames, by frame."""
    archive: dict[int, bytes] = field(default_factory=dict)
    """Compressed binary masks of frames whose logits were dropped."""

    def __getitem__(self, frame: int) -> FrameOutput:
        """Output of a frame, prompted or tracked."""
        return (
            self.conditioning[frame]
            if frame in self.conditioning
            else self.tracked[frame]
        )

    def get(self, frame: int) -> FrameOutput | None:
        """Output of a frame, or None."""
        return self.conditioning.get(frame) or self.tracked.get(frame)

    def previous_logits(self, frame: int) -> Tensor | None:
        """(1, 1, 4h, 4w) logits of an earlier result of a frame, or None."""
        output = self.get(frame)
        if output is not None and output.low_res is not None:
            return output.low_res
        return _unpack(self.archive[frame]) if frame in self.archive else None

    def add_tracked(self, frame: int, output: FrameOutput) -> None:
        """Hold the result of tracking a frame."""
        self.tracked[frame] = output
        self.archive.pop(frame, None)

    def forget_out_of_reach(self, frame: int, reach: MemoryReach) -> None:
        """Drop what neither `frame` nor a run from a conditioning frame can read."""
        anchors = (frame, *self.conditioning)
        for t, output in list(self.tracked.items()):
            distance = min(abs(t - anchor) for anchor in anchors)
            if distance <= reach.spatial:
                continue
            if output.low_res is not None:
                self.archive[t] = _pack(output.low_res)
                self.tracked[t] = replace(output, low_res=None, memory=None)
            if distance > reach.pointer:
                del self.tracked[t]

    def clear_around(self, frame: int, distance: int) -> None:
        """Drop tracked memories within `distance` frames."""
        for t in [t for t in self.tracked if abs(t - frame) <= distance]:
            del self.tracked[t]


def _pack(low_res: Tensor) -> bytes:
    mask = (low_res[0, 0] > 0).cpu().numpy()
    header = np.array(mask.shape, dtype="<u2").tobytes()
    return header + zlib.compress(np.packbits(mask).tobytes(), level=1)


def _unpack(packed: bytes) -> Tensor:
    height, width = np.frombuffer(packed[:4], dtype="<u2").astype(int)
    bits = np.frombuffer(zlib.decompress(packed[4:]), dtype=np.uint8)
    mask = np.unpackbits(bits, count=height * width).reshape(1, 1, height, width)
    return (
        torch.from_numpy(mask.astype(np.float32)) * (2 * ARCHIVED_LOGIT)
        - ARCHIVED_LOGIT
    )
