"""How many crops for training a processor core prepares in a second.

``python -m tests.benchmarks.training_crops --data FOLDER`` measures every source by
itself and the mixtures that a GPU is fed with, in processor time of this process and
over whole rounds, as scenes are drawn for a round. ``--stages`` says what the time goes
into.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.training.clips import ClipBatches
from napari_hqsam2.training.config import Budget, large_phase
from napari_hqsam2.training.data import BatchShape, ImageBatches
from napari_hqsam2.training.generated import Generated
from napari_hqsam2.training.sources import Mixture, load_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hqsam2.training.sources import Source

BEFORE = {
    512: {
        "axondeepseg": 14.3,
        "dsb2018": 36.7,
        "fib25_zyx": 30.4,
        "omnipose": 20.4,
        "usiigaci_tyx": 26.5,
        "synthetic": 10.8,
        "synthetic_tyx": 9.4,
        "all stills": 14.9,
        "all clips": 4.0,
    },
    256: {
        "axondeepseg": 44.8,
        "dsb2018": 125.2,
        "fib25_zyx": 88.0,
        "omnipose": 87.0,
        "usiigaci_tyx": 77.5,
        "synthetic": 13.9,
        "synthetic_tyx": 15.8,
        "all stills": 35.2,
        "all clips": 6.5,
    },
}
"""Crops or clips a second when processes resized and changed them, and drew a scene for
each; one core of an Intel Xeon (Sapphire Rapids)."""
STAGES = {
    "drawing scenes": ("make_image", "make_clip"),
    "finding objects": ("targets_of", "counted", "label"),
    "choosing prompts": ("prompt_objects",),
    "contrast": ("_contrast",),
    "shrinking": ("_shrunk", "resize_labels"),
    "packing": ("of",),
}
"""Functions whose time, with all that they call, counts as a stage."""


def measured(batches: ImageBatches | ClipBatches, rounds: int) -> tuple[int, float]:
    """Crops or clips of some rounds, and seconds of processor time."""
    count, start = 0, time.process_time()
    for index in range(rounds * batches.together):
        count += len(batches[index].sources)
    return count, time.process_time() - start


def cases(
    sources: Sequence[Source], size: int
) -> Iterable[tuple[str, ImageBatches | ClipBatches]]:
    """What is measured at one size of crops, by name."""
    shape = BatchShape(size, 32, 6) if size == 512 else BatchShape(size, 64, 8)
    for source in sources:
        yield source.name, ImageBatches(Mixture((source,)), [shape], 0)
    shares = large_phase("image", Budget(1)).shares
    yield "all stills", ImageBatches(Mixture(sources, shares), [shape], 0)
    clip = large_phase("clip", Budget(1))
    shapes = [each for each in clip.shapes if each.size == size]
    mixture = Mixture(sources, clip.shares)
    yield "all clips", ClipBatches(mixture, shapes, 0, clip.lengths)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each source and size."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.training_crops")
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 256])
    parser.add_argument("--only", nargs="+", help="names of sources and mixtures")
    parser.add_argument("--stages", action="store_true")
    options = parser.parse_args(arguments)
    sources = [*load_sources(options.data, "train")]
    sources += [Generated("synthetic", films=False), Generated("synthetic_tyx", True)]
    for size in options.sizes:
        for name, batches in cases(sources, size):
            if options.only and name not in options.only:
                continue
            profile = cProfile.Profile()
            if options.stages:
                profile.enable()
            count, seconds = measured(batches, options.rounds)
            profile.disable()
            rate, each = count / seconds, 1000 * seconds / count
            line = f"{name:16} {size} px  {rate:6.1f} a second, {each:6.2f} ms each"
            before = BEFORE.get(size, {}).get(name)
            line += f", {rate / before:.1f}x of before" if before else ""
            sys.stdout.write(f"{line}\n")
            if options.stages:
                sys.stdout.write(_stages(pstats.Stats(profile), count))


def _stages(stats: pstats.Stats, count: int) -> str:
    """Milliseconds a crop of each stage."""
    lines = []
    for stage, names in STAGES.items():
        found = (
            values[3]
            for (path, _, name), values in stats.stats.items()  # type: ignore[attr-defined]
            if name in names and "site-packages/scipy" not in path
        )
        lines.append(f"    {stage:18} {1000 * sum(found) / count:6.2f} ms\n")
    return "".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
