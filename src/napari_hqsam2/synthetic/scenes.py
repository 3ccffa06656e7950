"""Still pictures with exact instance labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array, I32Array, U16Array
from napari_hqsam2.synthetic.recipes import draw_recipe
from napari_hqsam2.synthetic.style import STILL
from napari_hqsam2.synthetic.world import build_world, draw_diameter

MIN_SIDE = 32


@dataclass(frozen=True)
class Scene:
    """A picture and its objects.

    Attributes
    ----------
    image : (H, W) or (H, W, 3) uint8 or uint16
        Grey, or RGB where the modality has colour.
    labels : (H, W) uint16
        0 is background; ids are 1 to N without gaps.
    modality : str
        Name of the recipe in `MODALITIES`.
    """

    image: npt.NDArray[Any]
    labels: U16Array
    modality: str


def make_image(
    rng: np.random.Generator,
    size: HW = (256, 256),
    modality: str | None = None,
    *,
    dtype: npt.DTypeLike = np.uint8,
) -> Scene:
    """Draw a picture with exact labels; the same generator state gives the same one.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    size : (H, W)
        In pixels, at least 32 x 32.
    modality : str, optional
        A name from `MODALITIES`; None draws one.
    dtype : dtype-like
        uint8, or uint16 for the same picture at 16 bits.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If the size, the modality or the dtype is not one of these.
    """
    check_size(size, MIN_SIDE)
    name, recipe = draw_recipe(rng, modality)
    diameter = draw_diameter(rng, recipe, size)
    levels, owner = build_world(rng, recipe, size, STILL, diameter).film(rng, 0)
    ids, _ = number_ids([owner])
    return Scene(to_counts(levels, dtype), ids[owner], name)


def number_ids(owners: list[I32Array]) -> tuple[U16Array, dict[int, int]]:
    """Give the visible objects the ids 1 to N.

    Parameters
    ----------
    owners : list of (H, W) int32
        1 + index of the object in each pixel of each frame, 0 elsewhere.

    Returns
    -------
    ids : (M,) uint16
        Id by owner, 0 for those never seen.
    id_of : dict of int to int
        The same for visible owners only.
    """
    top = max(int(owner.max()) for owner in owners)
    seen = np.zeros(top + 1, bool)
    for owner in owners:
        seen |= np.bincount(owner.ravel(), minlength=top + 1) > 0
    seen[0] = False
    ids = (np.cumsum(seen) * seen).astype(np.uint16)
    return ids, {int(i): int(ids[i]) for i in np.flatnonzero(seen)}


def to_counts(levels: F32Array, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Round camera levels in [0, 255] to uint8, or to uint16 at 257 times the scale."""
    kind = np.dtype(dtype)
    if kind == np.uint8:
        return (levels + np.float32(0.5)).astype(np.uint8)
    if kind == np.uint16:
        return (levels * np.float32(257) + np.float32(0.5)).astype(np.uint16)
    msg = f"pictures are uint8 or uint16, got dtype {kind}"
    raise ValueError(msg)


def check_size(size: tuple[int, ...], least: int) -> None:
    """Refuse sizes that are too small to hold an object.

    Raises
    ------
    ValueError
        If a side is shorter than ``least`` pixels.
    """
    if min(size) < least:
        msg = f"every side must be at least {least} pixels, got size {size}"
        raise ValueError(msg)
