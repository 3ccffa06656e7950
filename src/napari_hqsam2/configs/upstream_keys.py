"""Where upstream's override keys live in our configuration."""

from __future__ import annotations

MOVED_OVERRIDES = {
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": (
        "model.mask_decoder.stability.delta"
    ),
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": (
        "model.mask_decoder.stability.threshold"
    ),
    "model.num_maskmem": "model.num_memories",
    "model.max_obj_ptrs_in_encoder": "tracking.max_object_pointers",
    **{
        f"model.{name}": f"tracking.{name}"
        for name in (
            "fill_hole_area",
            "binarize_mask_from_pts_for_mem_enc",
            "non_overlap_masks",
            "add_all_frames_to_correct_as_cond",
            "clear_non_cond_mem_around_input",
            "max_cond_frames_in_attn",
        )
    },
}
"""Ours by upstream's."""
STABILITY_SWITCH = "model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability"
"""Upstream's key for what is a part here: there (true, the default) or not (false)."""


def moved(override: str) -> str:
    """An override with our key in the place of upstream's."""
    key, separator, value = override.partition("=")
    bare = key.lstrip("+~")
    prefix = key[: len(key) - len(bare)]
    return f"{prefix}{MOVED_OVERRIDES.get(bare, bare)}{separator}{value}"


def stability_switch(override: str) -> bool | None:
    """Whether an override wants the stability fallback; None if it is of another."""
    key, _, value = override.partition("=")
    return (
        value.strip().lower() == "true" if key.lstrip("+") == STABILITY_SWITCH else None
    )
