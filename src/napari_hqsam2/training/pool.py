"""A pool of procedural scenes, drawn once so that training never waits for them."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.synthetic import make_clip, make_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_hqsam2._types import AnyArray

    Pair = tuple[AnyArray, AnyArray]

STILLS_NAME, CLIPS_NAME = "synthetic.npz", "synthetic_tyx.npz"
HW = (256, 256)


def _still(seed: int, index: int) -> Pair:
    scene = make_image(np.random.default_rng((seed, 0, index)), HW)
    return scene.image, scene.labels


def _clip(seed: int, frames: int, index: int) -> Pair:
    clip = make_clip(np.random.default_rng((seed, 1, index)), frames, HW)
    return clip.images, clip.labels


def write_pool(
    folder: Path,
    stills: int,
    clips: int,
    *,
    frames: int = 8,
    seed: int = 0,
    workers: int = 1,
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
    workers : int
        Processes that draw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / STILLS_NAME, partial(_still, seed), stills, workers)
    _write(folder / CLIPS_NAME, partial(_clip, seed, frames), clips, workers)


def _write(path: Path, draw: Callable[[int], Pair], count: int, workers: int) -> None:
    if not count:
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as processes:
        drawn = list(processes.map(draw, range(count), chunksize=8))
    write_archive(path, drawn)


def write_archive(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs of image and labels as an archive that `sources.read_pairs` reads."""
    arrays: dict[str, AnyArray] = {}
    for index, (image, labels) in enumerate(pairs):
        arrays[f"{index:05d}.image"] = image
        arrays[f"{index:05d}.labels"] = labels
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a pool: ``python -m napari_hqsam2.training.pool``."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_hqsam2.training.pool",
        description="Draw procedural scenes to train on, with exact labels.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stills", type=int, default=6000)
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    write_pool(
        options.folder,
        options.stills,
        options.clips,
        seed=options.seed,
        workers=options.workers,
    )


if __name__ == "__main__":
    main()
