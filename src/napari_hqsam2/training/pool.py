"""A pool of procedural scenes, drawn once so that training never waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.synthetic import make_clip, make_image

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2._types import AnyArray

STILLS_NAME, CLIPS_NAME = "synthetic.npz", "synthetic_tyx.npz"


def write_pool(
    folder: Path, stills: int, clips: int, *, frames: int = 8, seed: int = 0
) -> None:
    """Write scenes as archives that `sources.load_sources` reads.

    Parameters
    ----------
    folder : Path
        Made if it is not there; archives in it that have the same names are replaced.
    stills, clips : int
        How many of each; every second clip sweeps through a volume.
    frames : int
        Length of the clips.
    seed : int
        Scene number i depends on it and on i alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs: dict[str, AnyArray] = {}
    for index in range(stills):
        rng = np.random.default_rng((seed, 0, index))
        scene = make_image(rng, (256, 256))
        pairs[f"{index:05d}.image"], pairs[f"{index:05d}.labels"] = (
            scene.image,
            scene.labels,
        )
    _write(folder / STILLS_NAME, pairs)
    pairs = {}
    for index in range(clips):
        rng = np.random.default_rng((seed, 1, index))
        clip = make_clip(rng, frames, (256, 256))
        pairs[f"{index:05d}.image"], pairs[f"{index:05d}.labels"] = (
            clip.images,
            clip.labels,
        )
    _write(folder / CLIPS_NAME, pairs)


def _write(path: Path, pairs: dict[str, AnyArray]) -> None:
    if pairs:
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **pairs)
