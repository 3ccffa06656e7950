"""The kinds of pictures that the generator knows, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from napari_hqsam2.synthetic import looks_dense, looks_light, looks_stained
from napari_hqsam2.synthetic.looks import Look, Setting
from napari_hqsam2.synthetic.outlines import OutlineKind

Span: TypeAlias = tuple[float, float]
Layout: TypeAlias = Literal["scatter", "colony", "tissue", "neuropil", "organelles"]


@dataclass(frozen=True)
class SceneRecipe:
    """One kind of picture. A span is what one scene's value is drawn from.

    Attributes
    ----------
    draw_look : callable
        Draws a microscope, its stain and its background.
    kinds : tuple of str
        Families of outlines; one is drawn for each scene.
    layout : str
        "scatter" (free or in clumps), "colony" (packed rods, at times scattered),
        "tissue" (cells fill the plane), "neuropil" (the same with branching cells and
        unlabelled organelles) or "organelles" (of such cells).
    diameter : span
        Typical diameter in pixels.
    variety : span
        Deviation of the logarithm of the diameters within a scene.
    coverage : span
        Share of the picture that objects cover.
    closeness : span
        Least distance of two objects in sums of their radii; below 1 they overlap.
    elongation, roughness : span
        Of the outlines, see `OutlineStyle`.
    waviness : span
        How bent the walls of a tissue are, in cell diameters.
    speed : span
        Step per frame in diameters.
    crossing : float
        Chance of a clip to let objects pass over each other.
    division, sweep : float
        Chance of an object to divide, and of a clip to be a sweep through depth.
    nucleus : span
        How much more than its object a nucleus in it takes up of a stain; 0 leaves it
        to chance whether lobed objects have one.
    sharpness, dim : float
        See `draw_camera`.
    weight : float
        How often `make_image` picks this recipe when none is named.
    """

    draw_look: Callable[[np.random.Generator, Setting], Look]
    kinds: tuple[OutlineKind, ...] = ("nucleus",)
    layout: Layout = "scatter"
    diameter: Span = (12.0, 60.0)
    variety: Span = (0.05, 0.3)
    coverage: Span = (0.05, 0.35)
    closeness: Span = (0.75, 1.2)
    elongation: Span = (1.0, 1.8)
    roughness: Span = (0.02, 0.2)
    waviness: Span = (0.02, 0.26)
    speed: Span = (0.015, 0.35)
    crossing: float = 0.3
    division: float = 0.1
    sweep: float = 0.3
    nucleus: Span = (0.0, 0.0)
    sharpness: float = 1.0
    dim: float = 0.0
    weight: float = 1.0


MODALITIES: Mapping[str, SceneRecipe] = MappingProxyType(
    {
        "nuclei": SceneRecipe(looks_light.draw_fluorescence, dim=0.5, weight=2.0),
        "nuclei_small": SceneRecipe(
            looks_light.draw_fluorescence,
            diameter=(6.0, 15.0),
            coverage=(0.02, 0.25),
            dim=0.5,
            sharpness=1.3,
        ),
        "nuclei_crowded": SceneRecipe(
            looks_light.draw_fluorescence,
            diameter=(14.0, 45.0),
            coverage=(0.4, 0.8),
            closeness=(0.6, 0.95),
            speed=(0.005, 0.1),
            dim=0.3,
            weight=1.5,
        ),
        "nuclei_large": SceneRecipe(
            looks_light.draw_fluorescence,
            diameter=(50.0, 120.0),
            coverage=(0.15, 0.6),
            roughness=(0.02, 0.35),
            dim=0.4,
        ),
        "cells_fluorescent": SceneRecipe(
            looks_light.draw_fluorescence,
            kinds=("lobed", "spindle"),
            diameter=(20.0, 90.0),
            coverage=(0.1, 0.6),
            closeness=(0.7, 1.1),
            elongation=(1.0, 3.0),
            roughness=(0.1, 0.6),
            dim=0.3,
            weight=1.5,
        ),
        "membranes": SceneRecipe(
            looks_light.draw_membrane,
            layout="tissue",
            diameter=(14.0, 70.0),
            variety=(0.05, 0.35),
            speed=(0.002, 0.06),
            sweep=0.4,
            weight=1.5,
        ),
        "phase_bacteria": SceneRecipe(
            looks_light.draw_phase_bacteria,
            kinds=("rod",),
            layout="colony",
            diameter=(12.0, 42.0),
            elongation=(2.0, 6.0),
            roughness=(0.02, 0.2),
            speed=(0.005, 0.12),
            crossing=1.0,
            division=0.3,
            sweep=0.0,
        ),
        "fluorescent_bacteria": SceneRecipe(
            looks_light.draw_fluorescence,
            kinds=("rod",),
            layout="colony",
            diameter=(9.0, 40.0),
            elongation=(1.5, 6.0),
            roughness=(0.02, 0.2),
            speed=(0.005, 0.12),
            crossing=1.0,
            division=0.3,
            sweep=0.0,
            dim=0.3,
        ),
        "phase_cells": SceneRecipe(
            looks_light.draw_phase_cells,
            kinds=("lobed", "spindle", "nucleus"),
            diameter=(20.0, 80.0),
            coverage=(0.08, 0.5),
            closeness=(0.8, 1.2),
            elongation=(1.0, 4.0),
            roughness=(0.05, 0.6),
            speed=(0.01, 0.2),
            sweep=0.0,
            weight=1.5,
        ),
        "dic": SceneRecipe(
            looks_light.draw_dic,
            kinds=("nucleus", "lobed", "rod"),
            diameter=(20.0, 100.0),
            coverage=(0.08, 0.5),
            roughness=(0.02, 0.3),
            elongation=(1.0, 2.5),
            sweep=0.1,
        ),
        "brightfield": SceneRecipe(
            looks_light.draw_brightfield,
            kinds=("nucleus", "nucleus", "rod"),
            diameter=(12.0, 70.0),
            coverage=(0.05, 0.5),
            closeness=(0.85, 1.1),
            roughness=(0.0, 0.1),
            elongation=(1.0, 1.6),
            sweep=0.1,
        ),
        "filaments": SceneRecipe(
            looks_light.draw_fluorescence,
            kinds=("filament",),
            diameter=(24.0, 90.0),
            coverage=(0.2, 1.0),
            closeness=(0.3, 0.8),
            elongation=(1.0, 2.0),
            roughness=(0.1, 0.4),
            speed=(0.01, 0.1),
            crossing=1.0,
            division=0.0,
            sweep=0.0,
            weight=0.5,
        ),
        "histology": SceneRecipe(
            looks_stained.draw_stain,
            kinds=("nucleus",),
            diameter=(9.0, 60.0),
            coverage=(0.05, 0.5),
            closeness=(0.7, 1.2),
            elongation=(1.0, 2.6),
            roughness=(0.05, 0.35),
            weight=1.5,
        ),
        "cytology": SceneRecipe(
            looks_stained.draw_smear,
            kinds=("nucleus", "nucleus", "lobed"),
            diameter=(16.0, 90.0),
            variety=(0.1, 0.45),
            coverage=(0.05, 0.5),
            closeness=(0.7, 1.2),
            elongation=(1.0, 1.6),
            roughness=(0.02, 0.35),
            nucleus=(2.0, 6.0),
            division=0.0,
            sweep=0.0,
        ),
        "electron_cells": SceneRecipe(
            looks_dense.draw_electron,
            kinds=("nucleus", "rod"),
            layout="neuropil",
            diameter=(14.0, 90.0),
            variety=(0.3, 1.2),
            elongation=(1.0, 3.0),
            roughness=(0.05, 0.3),
            waviness=(0.06, 0.4),
            speed=(0.002, 0.04),
            division=0.0,
            sweep=0.9,
            weight=2.0,
        ),
        "electron_organelles": SceneRecipe(
            looks_dense.draw_electron,
            kinds=("nucleus", "rod", "rod"),
            layout="organelles",
            diameter=(10.0, 70.0),
            variety=(0.2, 0.6),
            elongation=(1.0, 3.0),
            roughness=(0.05, 0.3),
            waviness=(0.06, 0.4),
            speed=(0.002, 0.04),
            division=0.0,
            sweep=0.9,
            sharpness=1.3,
        ),
        "axons": SceneRecipe(
            looks_dense.draw_axons,
            diameter=(7.0, 40.0),
            variety=(0.3, 0.7),
            coverage=(0.3, 0.9),
            closeness=(1.05, 1.35),
            elongation=(1.0, 1.6),
            roughness=(0.05, 0.3),
            speed=(0.005, 0.05),
            division=0.0,
            sharpness=1.2,
            weight=1.5,
        ),
        "particles": SceneRecipe(
            looks_dense.draw_particles,
            diameter=(6.0, 50.0),
            coverage=(0.03, 0.4),
            closeness=(0.7, 1.2),
            elongation=(1.0, 1.3),
            roughness=(0.0, 0.15),
            division=0.0,
            sweep=0.1,
            weight=0.7,
        ),
        "photo": SceneRecipe(
            looks_dense.draw_photo,
            kinds=("nucleus", "lobed", "rod", "spindle"),
            diameter=(16.0, 110.0),
            variety=(0.2, 0.7),
            coverage=(0.1, 0.7),
            closeness=(0.3, 1.1),
            elongation=(1.0, 3.0),
            roughness=(0.0, 0.5),
            speed=(0.01, 0.35),
            crossing=0.8,
            division=0.0,
            sweep=0.0,
            weight=1.0,
        ),
    }
)


def draw_recipe(
    rng: np.random.Generator, modality: str | None
) -> tuple[str, SceneRecipe]:
    """Look a recipe up by name, or draw one by its weight when there is no name.

    Raises
    ------
    ValueError
        If there is no recipe of this name.
    """
    if modality is None:
        names = list(MODALITIES)
        weights = np.array([MODALITIES[name].weight for name in names])
        modality = names[rng.choice(len(names), p=weights / weights.sum())]
    if modality not in MODALITIES:
        known = ", ".join(MODALITIES)
        msg = f"unknown modality {modality!r}; choose one of {known}, or None for any"
        raise ValueError(msg)
    return modality, MODALITIES[modality]
