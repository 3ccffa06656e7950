"""Sizes of the square that a model sees images as; no torch, no Hydra."""

from __future__ import annotations

STEP = 32
"""The encoder halves its grid five times."""
SMALLEST, LARGEST = 64, 4096
STANDARD, NANO = 1024, 512
"""What models were trained at; as ``image_size`` in ``size/*.yaml``."""
DRAFTS = (768, 512, 384, 256)
"""Resolutions worth a choice, where they are below the model's own."""


def own_resolution(model: str) -> int:
    """Side in pixels of the input that a model was trained at, from its name."""
    return NANO if "nano" in model else STANDARD


def draft_resolutions(model: str) -> tuple[int, ...]:
    """Smaller inputs that are offered for a model, the largest first.

    The largest model's smallest draft is half of its own size: below that, cells of a
    few pixels are gone.
    """
    own = own_resolution(model)
    return tuple(draft for draft in DRAFTS if own // 2 <= draft < own)


def check_resolution(resolution: int) -> None:
    """Refuse a size that no model can work at.

    Raises
    ------
    ValueError
        It is not a multiple of 32 from 64 to 4096.
    """
    if SMALLEST <= resolution <= LARGEST and resolution % STEP == 0:
        return
    nearest = min(max(round(resolution / STEP) * STEP, SMALLEST), LARGEST)
    msg = (
        f"resolution={resolution} is not a multiple of {STEP} from {SMALLEST} to "
        f"{LARGEST}; use {nearest}, or None for the model's own."
    )
    raise ValueError(msg)
