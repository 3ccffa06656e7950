"""Fills a scene: who is there, where, how large, and what becomes of them."""

from dataclasses import dataclass, field

import numpy as np

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F64Array
from napari_hqsam2.synthetic.canvas import Actor, Inner
from napari_hqsam2.synthetic.layout import (
    Placement,
    Region,
    brick_colony,
    draw_clumps,
    scatter,
)
from napari_hqsam2.synthetic.outlines import OutlineStyle, draw_outline
from napari_hqsam2.synthetic.recipes import SceneRecipe, Span
from napari_hqsam2.synthetic.shapes import Star
from napari_hqsam2.synthetic.style import MotionStyle
from napari_hqsam2.synthetic.tissue import Tissue
from napari_hqsam2.synthetic.tissue_cast import TissueForm, cast_organelles, cast_tissue
from napari_hqsam2.synthetic.tracks import divide, make_paths, margin_of

_MAX_OBJECTS = 150
_VIEW_AREA = 256 * 256


@dataclass(frozen=True)
class Cast:
    """Everything that appears in a scene.

    Attributes
    ----------
    actors : tuple of Actor
        In the order in which they are drawn.
    hosts : tuple of int
        Index of the cell that each actor lies inside; empty if they lie free.
    tissue : Tissue or None
        Cells that fill the plane.
    labels_tissue : bool
        Whether the cells are the objects, rather than the actors.
    parents : dict of int to int
        Index of an object born by division to the index of its mother.
    """

    actors: tuple[Actor, ...]
    hosts: tuple[int, ...] = ()
    tissue: Tissue | None = None
    labels_tissue: bool = False
    parents: dict[int, int] = field(default_factory=dict)


def draw_cast(
    rng: np.random.Generator,
    recipe: SceneRecipe,
    size: HW,
    diameter: float,
    style: MotionStyle,
) -> Cast:
    """Draw everything that appears in a scene of this recipe."""
    if recipe.layout in ("tissue", "neuropil", "organelles"):
        return _draw_tissue(rng, recipe, size, diameter, style)
    placements = _place(rng, recipe, size, diameter, style)
    paths = make_paths(rng, style, placements)
    spread = rng.uniform(0.02, 0.5)
    nucleated = "lobed" in recipe.kinds and rng.random() < 0.6
    factor = float(rng.choice([rng.uniform(0.2, 0.8), rng.uniform(1.1, 1.6)]))
    if recipe.nucleus[1]:
        nucleated, factor = True, float(rng.uniform(*recipe.nucleus))
    actors = []
    for placement, path in zip(placements, paths, strict=True):
        inner = (_nucleus_of(rng, placement, factor),) if nucleated else ()
        actors.append(
            Actor(
                placement.shape,
                path,
                brightness=float(np.clip(rng.lognormal(0, spread), 0.2, 1.6)),
                texel_yx=(float(rng.uniform(0, 256)), float(rng.uniform(0, 256))),
                inner=inner,
            )
        )
    actors, parents = _divide_some(rng, actors, style)
    return Cast(tuple(actors), parents=parents)


def _draw_tissue(
    rng: np.random.Generator,
    recipe: SceneRecipe,
    size: HW,
    diameter: float,
    style: MotionStyle,
) -> Cast:
    inside = recipe.layout == "organelles"
    spacing = diameter * (rng.uniform(1.3, 2.5) if inside else 1.0)
    form = TissueForm(
        spacing,
        float(rng.uniform(*recipe.variety)),
        _low_span(rng, recipe.waviness),
        0.0 if recipe.layout == "tissue" else float(rng.uniform(0, 0.6)),
    )
    tissue, parents = cast_tissue(rng, size, form, style)
    if recipe.layout == "tissue":
        return Cast((), (), tissue, labels_tissue=True, parents=parents)
    outline = _outline_style(rng, recipe)
    share = diameter if inside else spacing * rng.uniform(0.3, 0.9)
    actors, hosts = cast_organelles(rng, tissue, outline, float(share), style)
    if not inside:
        return Cast(actors, hosts, tissue, labels_tissue=True, parents=parents)
    return Cast(actors, hosts, tissue)


def _outline_style(rng: np.random.Generator, recipe: SceneRecipe) -> OutlineStyle:
    kind = recipe.kinds[rng.integers(len(recipe.kinds))]
    return OutlineStyle(
        kind, float(rng.uniform(*recipe.elongation)), _low_span(rng, recipe.roughness)
    )


def _place(
    rng: np.random.Generator,
    recipe: SceneRecipe,
    size: HW,
    diameter: float,
    style: MotionStyle,
) -> list[Placement]:
    outlines = [_outline_style(rng, recipe) for _ in range(rng.choice([1, 3]))]
    outline = outlines[0]
    limit = int(_MAX_OBJECTS * max(size[0] * size[1] / _VIEW_AREA, 0.3))
    if recipe.layout == "colony" and rng.random() < 0.7:
        ratio = max(outline.elongation, 1.5)
        width = max(diameter * (np.pi / 4 / ratio) ** 0.5, 4.0)
        rods = brick_colony(rng, size, width, ratio, limit)
        if rods:
            return rods
    margin = margin_of(style, diameter, size)
    depth = (-diameter / 2, style.depth + diameter / 2)
    region = Region.around(size, margin, depth if style.is_sweep else (0.0, 0.0))
    radii = _radii(rng, recipe, region, diameter, style.is_sweep)[:limit]
    clumps = draw_clumps(rng, region, diameter) if rng.random() < 0.3 else None
    anchor = np.array([style.depth / 2, *(rng.uniform(0.3, 0.7, 2) * size)])
    closeness = float(rng.uniform(*recipe.closeness))
    if outline.kind == "rod":
        closeness /= max(outline.elongation, 1.0) ** 0.5
    positions, radii = scatter(rng, region, radii, closeness, anchor, clumps)
    common = rng.uniform(-np.pi, np.pi)
    order = rng.choice([0.2, 3.0])
    return [
        Placement(
            (float(z), float(y), float(x)),
            float(common + order * rng.uniform(-1, 1)),
            draw_outline(rng, outlines[rng.integers(len(outlines))], 2 * radius),
            float(2 * radius),
        )
        for (z, y, x), radius in zip(positions, radii, strict=True)
    ]


def _radii(
    rng: np.random.Generator,
    recipe: SceneRecipe,
    region: Region,
    diameter: float,
    sweep: bool,
) -> F64Array:
    extent = np.subtract(region.high, region.low)
    coverage = _log_span(rng, recipe.coverage)
    if sweep:
        count = coverage * float(extent.prod()) / (np.pi / 6 * diameter**3)
    else:
        count = coverage * float(extent[1:].prod()) / (np.pi / 4 * diameter**2)
    variety = rng.uniform(*recipe.variety)
    sizes = np.exp(variety * rng.normal(size=max(int(count), 1)))
    radii = diameter / 2 * np.clip(sizes, 0.4, 2.2)
    return np.maximum(radii, 3.0)


def _low_span(rng: np.random.Generator, span: Span) -> float:
    return float(span[0] + (span[1] - span[0]) * rng.random() ** 1.7)


def _log_span(rng: np.random.Generator, span: Span) -> float:
    return float(np.exp(rng.uniform(*np.log(span))))


def _nucleus_of(rng: np.random.Generator, placement: Placement, factor: float) -> Inner:
    radius = placement.shape.thickness * rng.uniform(0.4, 0.6)
    shape = Star(float(radius * rng.uniform(1, 1.25)), float(radius))
    offset = rng.normal(0, 0.15, 2) * placement.shape.thickness
    return Inner(shape, (float(offset[0]), float(offset[1])), factor)


def _divide_some(
    rng: np.random.Generator, actors: list[Actor], style: MotionStyle
) -> tuple[list[Actor], dict[int, int]]:
    """Replace some actors by mothers and append their daughters."""
    parents: dict[int, int] = {}
    if style.frames < 4 or not style.division or style.is_sweep:
        return actors, parents
    actors = list(actors)
    for index in np.flatnonzero(rng.random(len(actors)) < style.division):
        frame = int(rng.integers(2, style.frames - 1))
        mother, first, second = divide(rng, actors[index], frame)
        actors[index] = mother
        for daughter in (first, second):
            parents[len(actors)] = int(index)
            actors.append(daughter)
    return actors, parents
