"""Train the built-in model: ``python -m napari_hqsam2.training``."""

from __future__ import annotations

import argparse
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.build import resolve_device
from napari_hqsam2.training.config import (
    PHASES,
    Budget,
    RunConfig,
    default_phase,
    large_phase,
)
from napari_hqsam2.training.run import train_phase

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

MINUTE_SHARES = {"image": 0.25, "clip": 0.55, "hq": 0.1, "iou": 0.1}


def parser() -> argparse.ArgumentParser:
    """Command line of the trainer."""
    result = argparse.ArgumentParser(
        prog="python -m napari_hqsam2.training",
        description="Train sam2.1_hq_hiera_nano: images, then clips, then the HQ head, "
        "then the head that predicts IoUs. "
        "A run that was stopped goes on where it was if the command is given again.",
    )
    result.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="folders of .npz archives: images and generated scenes",
    )
    result.add_argument(
        "--generate",
        action="store_true",
        help="draw scenes anew for every crop, beside those in the folders",
    )
    result.add_argument("--out", type=Path, required=True, help="folder for the run")
    result.add_argument("--minutes", type=float, help="time for all phases together")
    result.add_argument("--steps", type=int, help="steps of each phase")
    result.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    result.add_argument(
        "--start", type=Path, help="weights to start the first phase from"
    )
    result.add_argument(
        "--keeps-memory",
        action="store_true",
        help="the start weights can track already",
    )
    result.add_argument(
        "--override",
        action="append",
        default=[],
        help="of the model's configuration, such as model.channels=128",
    )
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--device", default="auto")
    result.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    result.add_argument(
        "--workers", type=int, default=1, help="processes that load data"
    )
    result.add_argument("--no-bf16", action="store_true", help="compute in float32")
    result.add_argument(
        "--batches",
        choices=("auto", "small", "large"),
        default="auto",
        help="small for a CPU, large for a GPU; auto goes by the device",
    )
    result.add_argument(
        "--sitting",
        type=float,
        default=math.inf,
        help="stop after so many minutes, to go on with the same command",
    )
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the phases that were asked for, one after the other."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    run = RunConfig(
        data=tuple(options.data),
        out=options.out,
        generates=options.generate,
        keeps_memory=options.keeps_memory,
        overrides=tuple(options.override),
        seed=options.seed,
        device=options.device,
        bf16=not options.no_bf16,
        workers=options.workers,
    )
    total = sum(MINUTE_SHARES[name] for name in options.phases)
    is_large = options.batches == "large" or (
        options.batches == "auto" and resolve_device(options.device).type == "cuda"
    )
    recipe = large_phase if is_large else default_phase
    end = time.monotonic() + options.sitting * 60
    weights: Path | None = options.start
    for name in options.phases:
        minutes = options.minutes and options.minutes * MINUTE_SHARES[name] / total
        phase = recipe(name, Budget(options.steps, minutes))
        weights = train_phase(run, phase, weights, lambda *_: time.monotonic() >= end)
        if weights is None:
            logger.info("Stopped in phase %s; the same command goes on.", name)
            return


if __name__ == "__main__":
    main()
