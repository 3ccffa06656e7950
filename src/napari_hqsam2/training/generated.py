"""Procedural scenes as a source that never shows the same one twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.synthetic import make_clip, make_image
from napari_hqsam2.training.sources import Clip, Frame

if TYPE_CHECKING:
    import numpy as np

    from napari_hqsam2._types import HW

SIDES = (224, 256, 320, 416)
"""Sides of the square scenes, in pixels; the model sees small ones magnified."""
PHOTO = 0.12
"""Share of scenes that are everyday pictures for certain; of the others few are."""


def _draw_size(rng: np.random.Generator) -> HW:
    side = int(rng.choice(SIDES))
    return side, side


def _draw_modality(rng: np.random.Generator) -> str | None:
    return "photo" if rng.random() < PHOTO else None


@dataclass(frozen=True)
class Generated:
    """Scenes drawn when they are asked for."""

    name: str
    films: bool
    """Whether there are clips, in time or through depth, and not pictures alone."""

    def still(self, rng: np.random.Generator) -> Frame:
        """Draw a picture."""
        scene = make_image(rng, _draw_size(rng), _draw_modality(rng))
        return Frame(scene.image, scene.labels)

    def clip(self, rng: np.random.Generator, length: int) -> Clip | None:
        """Draw a clip of `length` frames; None if there are none."""
        return self.film(rng, length) if self.films else None

    def film(self, rng: np.random.Generator, length: int) -> Clip:
        """Draw a clip of `length` frames."""
        film = make_clip(rng, length, _draw_size(rng), _draw_modality(rng))
        return Clip(film.images, film.labels)
