"""Generated scenes that the batches of a round share.

To draw a scene takes much longer than to cut a crop out of it, and a crop is only a
part of its scene. So the batches of a round cut their crops out of a few scenes, which
are drawn when one of them is first needed, and forgotten with the round. What a batch
gets depends on the seed and on its number alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.training.generated import Generated
from napari_hqsam2.training.sources import Clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2.training.sources import Mixture, Source

USES, FILM_USES = 4, 8
"""How often a scene is used, about; films give other frames too when used again."""
ROUND = 256
"""Crops of a round, about: many enough to hide that scenes come again, few enough to be
prepared ahead."""


def round_length(crops: float) -> int:
    """Batches in a round, if a batch has so many crops on average."""
    return max(1, round(ROUND / crops))


@dataclass
class ScenePool:
    """Scenes of one round; those of another one take their place."""

    mixture: Mixture
    seed: tuple[int, ...]
    """With the number of the round, decides what is drawn."""
    crops: float
    """Crops of a round."""
    longest: int = 1
    """Frames of a film."""
    number: int = -1
    """Of the round whose scenes are kept."""
    kept: dict[tuple[str, int], Clip] = field(default_factory=dict)

    def hand(self, number: int, rng: np.random.Generator) -> Hand:
        """Scenes for one batch of a round."""
        if number != self.number:
            self.number, self.kept = number, {}
        return Hand(self, rng)

    def size(self, source: Generated) -> int:
        """How many scenes of a source a round has."""
        uses = FILM_USES if source.films and self.longest > 1 else USES
        return max(1, ceil(self.mixture.share(source) * self.crops / uses))

    def get(
        self,
        name: str,
        number: int,
        draw: Callable[[np.random.Generator], Clip],
    ) -> Clip:
        """Scene of a source and a number, drawn if it is not there."""
        if (name, number) not in self.kept:
            seed = (*self.seed, self.number, number, *name.encode())
            self.kept[name, number] = draw(np.random.default_rng(seed))
        return self.kept[name, number]


@dataclass
class Hand:
    """Scenes of one batch, which meets none of them twice while there are others."""

    pool: ScenePool
    rng: np.random.Generator
    left: dict[str, list[int]] = field(default_factory=dict)

    def _scene(
        self, source: Generated, draw: Callable[[np.random.Generator], Clip]
    ) -> Clip:
        left = self.left.setdefault(source.name, [])
        if not left:
            left += self.rng.permutation(self.pool.size(source)).tolist()
        return self.pool.get(source.name, left.pop(), draw)

    def still(self, source: Source) -> Clip:
        """Draw a clip of one frame."""

        def draw(rng: np.random.Generator) -> Clip:
            frame = source.still(rng)
            return Clip(frame.image[None], frame.labels[None])

        if isinstance(source, Generated):
            return self._scene(source, draw)
        return draw(self.rng)

    def clip(self, source: Source, length: int) -> Clip | None:
        """Draw `length` consecutive frames; None if the source holds no sequences."""
        if not isinstance(source, Generated):
            return source.clip(self.rng, length)
        if not source.films:
            return None
        scene = self._scene(source, lambda rng: source.film(rng, self.pool.longest))
        start = int(self.rng.integers(len(scene.images) - length + 1))
        part = slice(start, start + length)
        return Clip(scene.images[part], scene.labels[part])
