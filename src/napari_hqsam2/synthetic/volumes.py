"""Volumes, and volumes over time: sweeps of the focal plane through solid objects."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_hqsam2.synthetic.arrays import F32Array, I32Array, U16Array
from napari_hqsam2.synthetic.choreography import draw_motion, draw_sweep
from napari_hqsam2.synthetic.recipes import MODALITIES, SceneRecipe, draw_recipe
from napari_hqsam2.synthetic.scenes import MIN_SIDE, check_size, number_ids, to_counts
from napari_hqsam2.synthetic.style import MotionStyle
from napari_hqsam2.synthetic.tissue import largest_pieces
from napari_hqsam2.synthetic.world import (
    MIN_PIXELS,
    World,
    build_world,
    draw_diameter,
    drop_remnants,
)

VOLUME_MODALITIES = tuple(
    name
    for name, recipe in MODALITIES.items()
    if recipe.sweep >= 0.3 and name != "histology"
)


@dataclass(frozen=True)
class Volume:
    """A stack of planes and its solid objects.

    Attributes
    ----------
    image : (Z, Y, X) uint8 or uint16
        Grey.
    labels : (Z, Y, X) uint16
        0 is background; ids are 1 to N, each one connected piece.
    modality : str
        Name of the recipe in `MODALITIES`.
    """

    image: npt.NDArray[Any]
    labels: U16Array
    modality: str


@dataclass(frozen=True)
class TimeVolume:
    """Volumes at successive moments and their solid objects.

    Attributes
    ----------
    images : (T, Z, Y, X) uint8 or uint16
        Grey.
    labels : (T, Z, Y, X) uint16
        0 is background; an object has one id at all times; ids are 1 to N, each one
        connected piece at a time.
    modality : str
        Name of the recipe in `MODALITIES`.
    """

    images: npt.NDArray[Any]
    labels: U16Array
    modality: str


def make_volume(
    rng: np.random.Generator,
    size: tuple[int, int, int] = (32, 256, 256),
    modality: str | None = None,
    *,
    dtype: npt.DTypeLike = np.uint8,
) -> Volume:
    """Draw a volume with exact labels; the same generator state gives the same one.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    size : (Z, Y, X)
        In voxels, Y and X at least 32.
    modality : str, optional
        A name from `VOLUME_MODALITIES`; None draws one.
    dtype : dtype-like
        uint8, or uint16 for the same volume at 16 bits.

    Returns
    -------
    Volume

    Raises
    ------
    ValueError
        If the size, the modality or the dtype is not allowed.
    """
    stack = make_time_volume(rng, (1, *size), modality, dtype=dtype)
    return Volume(stack.images[0], stack.labels[0], stack.modality)


def make_time_volume(
    rng: np.random.Generator,
    size: tuple[int, int, int, int] = (4, 16, 128, 128),
    modality: str | None = None,
    *,
    dtype: npt.DTypeLike = np.uint8,
) -> TimeVolume:
    """Draw moving solid objects; the same generator state gives the same ones.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    size : (T, Z, Y, X)
        In frames and voxels, Y and X at least 32.
    modality : str, optional
        A name from `VOLUME_MODALITIES`; None draws one.
    dtype : dtype-like
        uint8, or uint16 for the same volumes at 16 bits.

    Returns
    -------
    TimeVolume

    Raises
    ------
    ValueError
        If the size, the modality or the dtype is not allowed.
    """
    check_size(size[2:], MIN_SIDE)
    check_size(size[:2], 1)
    name, recipe = _draw_solid(rng, modality)
    diameter = draw_diameter(rng, recipe, size[2:])
    style = _draw_style(rng, recipe, size[:2], diameter)
    world = build_world(rng, recipe, size[2:], style, diameter)
    blur = float(rng.uniform(0.3, 0.8)) if recipe.dim else 0.0
    images, owners = [], []
    for moment in range(size[0]):
        levels, owner = _film_stack(rng, world, moment, blur)
        images.append(to_counts(levels, dtype))
        owners.append(owner)
    ids, _ = number_ids(owners)
    return TimeVolume(np.stack(images), ids[np.stack(owners)], name)


def _draw_solid(
    rng: np.random.Generator, modality: str | None
) -> tuple[str, SceneRecipe]:
    if modality is None:
        modality = VOLUME_MODALITIES[rng.integers(len(VOLUME_MODALITIES))]
    if modality not in VOLUME_MODALITIES:
        known = ", ".join(VOLUME_MODALITIES)
        msg = f"modality {modality!r} has no volumes; choose one of {known}, or None"
        raise ValueError(msg)
    return draw_recipe(rng, modality)


def _draw_style(
    rng: np.random.Generator, recipe: SceneRecipe, size_tz: tuple[int, int], d: float
) -> MotionStyle:
    moments, planes = size_tz
    sweep = draw_sweep(rng, moments * planes, d)
    if moments == 1:
        return replace(sweep, planes=0)
    lapse = draw_motion(rng, recipe, moments)
    return replace(
        lapse, frames=moments * planes, z_step=sweep.z_step, planes=planes, division=0.0
    )


def _film_stack(
    rng: np.random.Generator, world: World, moment: int, blur: float
) -> tuple[F32Array, I32Array]:
    """Levels and owners (Z, Y, X) of one moment."""
    planes = world.style.planes or world.style.frames
    frames = range(moment * planes, (moment + 1) * planes)
    shots = [world.show(frame) for frame in frames]
    ideal = np.stack([p.mean(axis=2) if p.ndim == 3 else p for p, _ in shots])
    if blur:
        ideal = ndimage.gaussian_filter1d(ideal, blur, axis=0, mode="nearest")
    levels = [
        world.camera.expose(rng, plane, frame)
        for plane, frame in zip(ideal, frames, strict=True)
    ]
    owner = largest_pieces(np.stack([o for _, o in shots]))
    return np.stack(levels), drop_remnants(owner, 2 * MIN_PIXELS)
