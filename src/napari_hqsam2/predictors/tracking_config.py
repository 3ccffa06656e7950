"""How a video is tracked, as opposed to what the network is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

TrackingMode = Literal["exact", "local"]
"""Whether objects are looked for on the whole frame or around where they were."""


@dataclass(frozen=True)
class TrackingConfig:
    """Policy of the video predictor; names and defaults are upstream's."""

    fill_hole_area: int = 8
    """Holes of at most this many pixels of the low-resolution mask are filled; 0 fills
    none."""
    one_piece: bool = False
    """Only the largest connected piece of a mask is kept, in memory too; upstream keeps
    all of them."""
    binarize_mask_from_pts_for_mem_enc: bool = True
    """Memories of prompted frames are made from thresholded masks."""
    non_overlap_masks: bool = False
    """Where output masks overlap, only the one with the largest logit stays."""
    add_all_frames_to_correct_as_cond: bool = False
    """A corrected frame becomes a conditioning frame; otherwise tracking may change it
    again."""
    clear_non_cond_mem_around_input: bool = False
    """Forget tracked memories within reach of a frame that gets new prompts."""
    max_cond_frames_in_attn: int = -1
    """Most conditioning frames that are attended to, the closest first; -1 for all."""
    max_object_pointers: int = 16
    """Object pointers are read from at most this many frames."""
    moved_share: float = 0.0
    """Share of a mask that comes from the frame before, moved as the image moves in
    between. The network says the rest; the moved mask is a prompt to it, beside what it
    remembers. Where the frame before has no mask, and with 0, upstream's, memory says
    all."""
    small_corrections: bool = False
    """Points that correct a mask of a stack change no more of it than they ask for, see
    `segmentation.corrections`; upstream takes what the network answers."""
    tracking: TrackingMode = "exact"
    """"local" looks for small objects, and remembers them, in windows around them: much
    faster where objects are many and small, and not quite what SAM 2 computes."""
    max_batch: int | None = None
    """Most objects that are worked on at once; by default as many as fit into memory
    and gain from it."""
    prefetch: int = 2
    """Frames that are read ahead (on CUDA also encoded) while one is tracked."""

    @property
    def moves_masks(self) -> bool:
        """Whether masks are moved from frame to frame."""
        return self.moved_share > 0

    def __post_init__(self) -> None:
        if self.fill_hole_area < 0:
            msg = (
                "fill_hole_area is a number of pixels, 0 or more, "
                f"got {self.fill_hole_area}."
            )
            raise ValueError(msg)
        if self.max_cond_frames_in_attn in (0, 1):
            msg = (
                "max_cond_frames_in_attn must be -1 (all) or at least 2, "
                f"got {self.max_cond_frames_in_attn}."
            )
            raise ValueError(msg)
        if not 0 <= self.moved_share < 1:
            msg = f"moved_share is from 0 to less than 1, got {self.moved_share}."
            raise ValueError(msg)
        if self.tracking not in get_args(TrackingMode):
            msg = f"tracking must be 'exact' or 'local', got {self.tracking!r}."
            raise ValueError(msg)
        if self.max_batch is not None and self.max_batch < 1:
            msg = (
                "max_batch must be None (what fits into memory) or at least 1, "
                f"got {self.max_batch}."
            )
            raise ValueError(msg)
        if self.prefetch < 0:
            msg = f"prefetch is a number of frames, 0 or more, got {self.prefetch}."
            raise ValueError(msg)
