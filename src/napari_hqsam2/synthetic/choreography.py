"""Draws how the objects of a clip move, or how a focal plane sweeps through them."""

import numpy as np

from napari_hqsam2.synthetic.arrays import F64Array
from napari_hqsam2.synthetic.recipes import SceneRecipe
from napari_hqsam2.synthetic.style import STILL, MotionStyle


def draw_motion(
    rng: np.random.Generator, recipe: SceneRecipe, frames: int
) -> MotionStyle:
    """Draw the common movements of a time-lapse of scenes of this recipe."""
    if frames == 1:
        return STILL
    pace = float(np.exp(rng.uniform(*np.log(recipe.speed))))
    packed = recipe.layout == "colony"
    return MotionStyle(
        frames,
        speed=pace,
        cohesion=float(rng.uniform(0.85, 0.98) if packed else rng.uniform(0, 0.9)),
        persistence=float(rng.uniform(0.3, 0.98)),
        spin=float(rng.uniform(0, 0.6) * min(pace * 2, 0.5)) * (0.1 if packed else 1),
        wobble=float(rng.uniform(0.05, 0.5)),
        grain=float(rng.uniform(0.0, 0.3)),
        repulsion=float(rng.uniform(0.6, 0.95) * (rng.random() > recipe.crossing)),
        stage=_stage(rng, frames) if rng.random() < 0.3 else None,
        division=recipe.division * float(rng.random() < 0.6),
    )


def draw_sweep(rng: np.random.Generator, frames: int, diameter: float) -> MotionStyle:
    """Draw a sweep of the focal plane through objects of this diameter."""
    return MotionStyle(
        frames,
        speed=float(rng.uniform(0, 0.03)),
        cohesion=float(rng.uniform(0.5, 1.0)),
        persistence=0.98,
        spin=float(rng.uniform(0, 0.04)),
        wobble=float(rng.uniform(0.02, 0.25)),
        z_step=float(rng.uniform(0.03, 0.22)) * diameter,
        grain=float(rng.uniform(0.1, 0.7)),
    )


def _stage(rng: np.random.Generator, frames: int) -> F64Array:
    steps = rng.normal(rng.normal(0, 1.5, 2), rng.uniform(0.1, 1.5), (frames, 2))
    steps[0] = 0
    path: F64Array = np.cumsum(steps, axis=0, dtype=np.float64)
    return path
