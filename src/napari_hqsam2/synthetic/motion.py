"""Clips: objects that keep their ids while they move, divide, come and go."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import U16Array
from napari_hqsam2.synthetic.choreography import draw_motion, draw_sweep
from napari_hqsam2.synthetic.recipes import draw_recipe
from napari_hqsam2.synthetic.scenes import MIN_SIDE, check_size, number_ids, to_counts
from napari_hqsam2.synthetic.world import build_world, draw_diameter


@dataclass(frozen=True)
class Clip:
    """Frames and their objects.

    Attributes
    ----------
    images : (T, H, W) or (T, H, W, 3) uint8 or uint16
        Grey, or RGB where the modality has colour.
    labels : (T, H, W) uint16
        0 is background; an object has one id in all frames; ids are 1 to N.
    parents : dict of int to int
        Id of an object born by division to the id of its mother.
    modality : str
        Name of the recipe in `MODALITIES`.
    is_sweep : bool
        Whether the frames are planes of a volume rather than moments in time.
    """

    images: npt.NDArray[Any]
    labels: U16Array
    parents: dict[int, int]
    modality: str
    is_sweep: bool


def make_clip(
    rng: np.random.Generator,
    frames: int = 8,
    size: HW = (256, 256),
    modality: str | None = None,
    *,
    sweep: bool | None = None,
    dtype: npt.DTypeLike = np.uint8,
) -> Clip:
    """Film a scene with exact labels; the same generator state gives the same clip.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    frames : int
        T, at least 1.
    size : (H, W)
        In pixels, at least 32 x 32.
    modality : str, optional
        A name from `MODALITIES`; None draws one.
    sweep : bool, optional
        True sweeps through the depth of a volume, False films in time, None lets the
        modality decide.
    dtype : dtype-like
        uint8, or uint16 for the same pictures at 16 bits.

    Returns
    -------
    Clip

    Raises
    ------
    ValueError
        If the number of frames, the size, the modality or the dtype is not allowed.
    """
    check_size(size, MIN_SIDE)
    if frames < 1:
        msg = f"a clip has at least 1 frame, got {frames}"
        raise ValueError(msg)
    name, recipe = draw_recipe(rng, modality)
    diameter = draw_diameter(rng, recipe, size)
    if sweep is None:
        sweep = frames > 1 and bool(rng.random() < recipe.sweep)
    if sweep:
        style = draw_sweep(rng, frames, diameter)
    else:
        style = draw_motion(rng, recipe, frames)
    world = build_world(rng, recipe, size, style, diameter)
    shots = [world.film(rng, frame) for frame in range(frames)]
    ids, id_of = number_ids([owner for _, owner in shots])
    parents = {
        id_of[child + 1]: id_of[mother + 1]
        for child, mother in world.cast.parents.items()
        if child + 1 in id_of and mother + 1 in id_of
    }
    return Clip(
        images=np.stack([to_counts(levels, dtype) for levels, _ in shots]),
        labels=np.stack([ids[owner] for _, owner in shots]),
        parents=parents,
        modality=name,
        is_sweep=world.style.is_sweep,
    )
