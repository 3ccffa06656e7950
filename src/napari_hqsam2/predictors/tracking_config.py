"""How a video is tracked, as opposed to what the network is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingConfig:
    """Policy of the video predictor; names and defaults are upstream's."""

    fill_hole_area: int = 8
    """Holes of at most this many pixels of the low-resolution mask are filled; 0 fills
    none."""
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
