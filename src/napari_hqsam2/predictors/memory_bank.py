"""What one object remembers, and which of it a frame may read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hqsam2.predictors.mask_archive import MaskArchive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from torch import Tensor

    from napari_hqsam2.predictors.local_windows import Sighting

LOW_RES_PER_CELL = 4
"""Pixels of a mask of the network along a cell of its grid."""
ARCHIVED_LOGIT = 10.0
"""Size of the logits that an archived mask comes back with."""


@dataclass(frozen=True)
class Glimpse:
    """What a memory will be made of."""

    embedding: Tensor
    """(1, C, h, w) of the frame; all objects of the frame share it."""
    low_res: Tensor
    """(1, 1, 4h, 4w) mask logits as the network gave them, or those of the sighting's
    window."""


@dataclass(frozen=True)
class FrameOutput:
    """Result for one object on one frame."""

    low_res: Tensor | None
    """(1, 1, 4h, 4w) mask logits; None once they are archived as a mask."""
    pointer: Tensor
    """(1, C) object pointer."""
    object_score: Tensor
    """(1, 1) logit that the object is in view."""
    iou_score: Tensor
    """(1,) predicted IoU."""
    memory: Tensor | None = None
    """(1, Cm, h, w) features, or (1, Cm, side, side) of the sighting's window; None
    before they are encoded and when out of reach."""
    glimpse: Glimpse | None = None
    """Set where a memory is encoded once it is read: on the frame tracked last."""
    sighting: Sighting | None = None
    """Where the object was looked for and seen; None if the whole grid was searched
    and nobody asked."""


def glimpsed_cells(output: FrameOutput) -> int:
    """Cells of the grid or the window that a memory is to be made of."""
    if output.glimpse is None:
        return 0
    height, width = output.glimpse.low_res.shape[-2:]
    return height * width // LOW_RES_PER_CELL**2


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
    num_frames: int
    """Length of the video."""

    @property
    def spatial(self) -> int:
        """Distance in frames of the farthest tracked memory."""
        return self.num_memories - 1

    @property
    def pointer(self) -> int:
        """Distance in frames of the farthest tracked pointer."""
        return self.max_pointers - 1

    def has_frames_beyond(self, start: int, t: int) -> bool:
        """Whether a run can leave `start` so that it has frame `t` behind it."""
        return start > 0 if t > start else start < self.num_frames - 1


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
    unselected = set(conditioning).difference(selected)
    spatial = [(0, t) for t in selected]
    for slot in range(1, reach.num_memories):
        t = frame + past * (reach.num_memories - slot)
        if t in tracked or t in unselected:
            spatial.append((slot, t))
    pointers = [(past * (t - frame), t) for t in selected if past * (t - frame) >= 0]
    for distance in range(1, reach.max_pointers):
        t = frame + past * distance
        if t in tracked or t in unselected:
            pointers.append((distance, t))
    return MemorySelection(tuple(spatial), tuple(pointers))


@dataclass
class MemoryBank:
    """Outputs of one object that can still be read; its other masks, archived."""

    conditioning: dict[int, FrameOutput] = field(default_factory=dict)
    """Outputs of prompted frames, by frame."""
    tracked: dict[int, FrameOutput] = field(default_factory=dict)
    """Outputs of other frames, by frame."""
    archive: MaskArchive = field(default_factory=MaskArchive)
    """Masks of frames whose logits were dropped."""
    _head: int | None = field(default=None, repr=False)
    """Frame from which everything was released that it could not read; None after a
    change that was not one more step of tracking."""

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
        if frame not in self.archive:
            return None
        mask = torch.from_numpy(self.archive.get(frame))[None, None]
        return mask * (2 * ARCHIVED_LOGIT) - ARCHIVED_LOGIT

    def unencoded(self, reader: int | None) -> list[int]:
        """Frames, other than the one that reads, whose memory is to be encoded."""
        return [
            t
            for t, output in self.tracked.items()
            if output.glimpse is not None and t != reader
        ]

    def add_conditioning(self, frame: int, output: FrameOutput) -> None:
        """Hold the result of prompts."""
        self.conditioning[frame] = output
        self.tracked.pop(frame, None)
        self.archive.discard(frame)

    def demote_conditioning(self, frame: int) -> bool:
        """Make a prompted frame a tracked one; whether it was a prompted one."""
        output = self.conditioning.pop(frame, None)
        if output is None:
            return False
        self.add_tracked(frame, output)
        return True

    def add_tracked(self, frame: int, output: FrameOutput) -> None:
        """Hold the result of a frame that is not prompted (any more)."""
        self.tracked[frame] = output
        self.archive.discard(frame)
        self._head = None

    def advance(
        self, frame: int, output: FrameOutput, reach: MemoryReach
    ) -> list[OldMask]:
        """Hold the result of tracking one more frame, and `release` what it ends.

        A run pays for the one or two frames that fall out of reach, not for all that
        are held.
        """
        self.tracked[frame] = output
        self.archive.discard(frame)
        return self.release(frame, reach)

    def release(self, frame: int, reach: MemoryReach) -> list[OldMask]:
        """Drop what neither `frame` nor a run from a conditioning frame can read.

        A run from the first frame has nothing behind it, and so for the last one. With
        a memory go the logits of the frames behind it that have read it: they are fed
        back when a frame is corrected, and without that memory no correction is what it
        would have been.

        Returns
        -------
        list of OldMask
            Logits that were dropped; `archive_masks` keeps them as masks.
        """
        step = 0 if self._head is None else frame - self._head
        self._head = frame
        limits = (reach.spatial + 1, reach.pointer + 1)
        old = []
        candidates = (
            [frame - step * limit for limit in limits]
            if abs(step) == 1
            else list(self.tracked)
        )
        for t in candidates:
            output = self.tracked.get(t)
            if output is None:
                continue
            starts = (c for c in self.conditioning if reach.has_frames_beyond(c, t))
            distance = min(abs(t - anchor) for anchor in (frame, *starts))
            if distance <= reach.spatial:
                continue
            is_read = output.memory is not None and abs(step) == 1
            readers = range(t + step, frame, step) if is_read else ()
            old += [mask for u in (t, *readers) for mask in self._take_mask(u)]
            self.tracked[t] = replace(self.tracked[t], memory=None, glimpse=None)
            if distance > reach.pointer:
                del self.tracked[t]
        return old

    def _take_mask(self, frame: int) -> list[OldMask]:
        """Drop the logits of a tracked frame if it has any."""
        output = self.tracked.get(frame)
        if output is None or output.low_res is None:
            return []
        self.tracked[frame] = replace(output, low_res=None)
        return [OldMask(self.archive, frame, output.low_res)]

    def forget_out_of_reach(self, frame: int, reach: MemoryReach) -> None:
        """`release`, and archive the masks."""
        archive_masks(self.release(frame, reach))

    def clear_around(self, frame: int, distance: int) -> None:
        """Drop tracked memories within `distance` frames."""
        for t in [t for t in self.tracked if abs(t - frame) <= distance]:
            del self.tracked[t]


@dataclass(frozen=True, slots=True, eq=False)
class OldMask:
    """Logits that tracking needs no more, and where their mask belongs."""

    archive: MaskArchive
    frame: int
    low_res: Tensor
    """(1, 1, 4h, 4w) mask logits."""


def archive_masks(old: Iterable[OldMask]) -> None:
    """Archive masks of many objects, with one transfer from their device."""
    old = list(old)
    if not old:
        return
    masks = (torch.cat([item.low_res for item in old])[:, 0] > 0).cpu().numpy()
    for item, mask in zip(old, masks, strict=True):
        item.archive.put(item.frame, np.ascontiguousarray(mask))
