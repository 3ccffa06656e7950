"""Scenes come again within a round, and depend on seed and number alone."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
import torch

from napari_hqsam2.training.clips import ClipBatches, MixedBatches
from napari_hqsam2.training.data import BatchShape, ImageBatches
from napari_hqsam2.training.generated import Generated
from napari_hqsam2.training.scene_pool import USES, ScenePool
from napari_hqsam2.training.sources import Clip, Frame, Mixture
from napari_hqsam2.training.steps import Steps


class Counted(Generated):
    """Tiny scenes that say how often they were drawn."""

    drawn: ClassVar[Counter[int]] = Counter()

    def still(self, rng: np.random.Generator) -> Frame:
        number = int(rng.integers(2**31))
        self.drawn[number] += 1
        image = np.random.default_rng(number).integers(0, 255, (64, 64))
        labels = np.zeros((64, 64), np.uint16)
        labels[10:30, 20:50] = 1
        return Frame(image.astype(np.uint8), labels)

    def film(self, rng: np.random.Generator, length: int) -> Clip:
        frames = [self.still(rng) for _ in range(length)]
        images = np.stack([frame.image for frame in frames])
        return Clip(images, np.stack([frame.labels for frame in frames]))


@pytest.fixture
def mixture() -> Mixture:
    Counted.drawn.clear()
    return Mixture((Counted("drawn", films=True),))


def test_a_round_draws_every_scene_once_and_uses_it_some_times(
    mixture: Mixture,
) -> None:
    batches = ImageBatches(mixture, [BatchShape(64, 4, 1)], 0, together=8)
    for index in range(16):
        batches[index]
    assert set(Counted.drawn.values()) == {1}
    assert len(Counted.drawn) == 2 * 8 * 4 / USES


def test_no_scene_comes_twice_in_a_batch(mixture: Mixture) -> None:
    pool = ScenePool(mixture, (0,), crops=40)
    (source,) = mixture.sources
    for batch in range(4):
        hand = pool.hand(0, np.random.default_rng(batch))
        seen = [hand.still(source).images.tobytes() for _ in range(10)]
        assert len(set(seen)) == 10
    assert len(Counted.drawn) == 10


def test_films_are_cut_to_the_length_of_a_clip(mixture: Mixture) -> None:
    pool = ScenePool(mixture, (0,), crops=4, longest=6)
    (source,) = mixture.sources
    hand = pool.hand(0, np.random.default_rng(0))
    whole = hand.clip(source, 6)
    assert whole is not None
    starts = set()
    for _ in range(20):
        part = hand.clip(source, 3)
        assert part is not None
        (start,) = (
            s for s in range(4) if (whole.images[s : s + 3] == part.images).all()
        )
        starts.add(start)
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize("workers", [0, 1])
def test_steps_give_the_same_batches_however_they_are_made(
    mixture: Mixture, workers: int
) -> None:
    def made() -> MixedBatches:
        shapes = [BatchShape(64, 2, 1)]
        clips = ClipBatches(mixture, shapes, 3, (2, 3))
        clips.together = 2
        return MixedBatches(clips, ImageBatches(mixture, shapes, 3, together=2), 2)

    alone = [made()[index].to(torch.device("cpu")) for index in range(3, 11)]
    steps = iter(Steps(made(), 3, workers, pinned=False))
    for expected in alone:
        found = next(steps).to(torch.device("cpu"))
        torch.testing.assert_close(found.images, expected.images, rtol=0, atol=0)
