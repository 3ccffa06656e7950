"""Layers that a saved session was shown as colours, found again by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_hqsam2.segmentation.mixing import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hqsam2.plugin.snapshots import Handle, LayerChoice

Mixed = tuple["Handle | None", "Handle | None", "Handle | None"]


def find_mixed(
    described: str, choices: Iterable[LayerChoice]
) -> tuple[Mixed | None, tuple[str, ...]]:
    """Layers of a mix, and the names of those that are missing.

    Parameters
    ----------
    described
        As of `Mix.described`: "red: nuclei, green: membranes".
    choices
        Layers that can be mixed.

    Returns
    -------
    tuple
        Red, green and blue, None if one is missing; and the names that were not found.
    """
    colours = "|".join(COLOURS)
    parts = re.split(f"(?:^|, )({colours}): ", described)[1:]
    names = dict(zip(parts[::2], parts[1::2], strict=True))
    handles = {choice.name: choice.handle for choice in choices}
    missing = tuple(name for name in names.values() if name not in handles)
    if missing or not names:
        return None, missing
    red, green, blue = (handles.get(names.get(colour, "")) for colour in COLOURS)
    return (red, green, blue), ()
