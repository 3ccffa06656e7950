"""Figures of the model card: ``python -m napari_hqsam2.training.report``."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hqsam2.build import build_sam2_video_predictor
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.training.predicting import evaluate_predictor
from napari_hqsam2.training.sources import (
    Clip,
    Frame,
    Movies,
    Stills,
    Volume,
    load_sources,
)
from napari_hqsam2.training.tracking import evaluate_tracking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.training.sources import Source

logger = logging.getLogger(__name__)
TRACKED_FRAMES = 8
SLICE_STEP = 4
HQ_SOURCE = "dsb2018"
"""Set on which the uses of the HQ mask are compared."""
BASELINES = ("box_filled", "box_ellipse", "otsu_watershed")


def frames_of(source: Source, most: int) -> list[Frame]:
    """Evenly spread frames of a source; slices of a volume along its first axis."""
    if isinstance(source, Stills):
        frames = list(source.frames)
    elif isinstance(source, Volume):
        frames = [
            Frame(source.image[z], source.labels[z])
            for z in range(0, len(source.image), SLICE_STEP)
        ]
    elif isinstance(source, Movies):
        frames = [
            Frame(clip.images[t], clip.labels[t])
            for clip in source.clips
            for t in range(0, len(clip.images), SLICE_STEP)
        ]
    else:
        frames = []
    index = np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)
    return [frames[i] for i in index]


def clip_of(source: Source) -> Clip | None:
    """First frames of a volume or movie."""
    if isinstance(source, Volume):
        return Clip(source.image[:TRACKED_FRAMES], source.labels[:TRACKED_FRAMES])
    if isinstance(source, Movies):
        clip = source.clips[0]
        return Clip(clip.images[:TRACKED_FRAMES], clip.labels[:TRACKED_FRAMES])
    return None


def report(
    weights: Path,
    data: Sequence[Path],
    *,
    sets: Sequence[str] = (),
    images: int = 60,
    objects: int = 6,
) -> dict[str, dict[str, float]]:
    """Scores of a weights file on every validation set, by set.

    Parameters
    ----------
    weights : Path
        File of `sam2.1_hq_hiera_nano`.
    data : sequence of Path
        Folders with the labelled images.
    sets : sequence of str
        Names of the sets; all of them if empty.
    images, objects : int
        At most this many images of a set, and objects of an image.
    """
    video = build_sam2_video_predictor("sam2.1_hq_hiera_nano", weights, device="cpu")
    result: dict[str, dict[str, float]] = {}
    for source in load_sources(data, "validation"):
        if sets and source.name not in sets:
            continue
        frames = frames_of(source, images)
        figures = _prompt_figures(video.model, frames, source.name, objects)
        figures |= _tracking_figures(video, source)
        result[source.name] = {name: round(value, 4) for name, value in figures.items()}
        logger.info("%s %s", source.name, json.dumps(result[source.name]))
    return result


def _prompt_figures(
    model: HqSam2, frames: Sequence[Frame], name: str, objects: int
) -> dict[str, float]:
    scores = evaluate_predictor(SAM2ImagePredictor(model), frames, objects=objects)
    figures = scores.means() | {"objects": float(len(scores.iou.get("box", ())))}
    modes: tuple[HqMode, ...] = ("off", "only") if name == HQ_SOURCE else ()
    for mode in modes:
        other = SAM2ImagePredictor(model, hq=mode)
        means = evaluate_predictor(other, frames, objects=objects).means()
        figures |= {
            f"{kind}_hq_{mode}": value
            for kind, value in means.items()
            if not kind.startswith(BASELINES)
        }
    return figures


def _tracking_figures(video: SAM2VideoPredictor, source: Source) -> dict[str, float]:
    clip = clip_of(source)
    if clip is None:
        return {}
    tracking = evaluate_tracking(video, clip)
    return {
        "tracked": tracking.tracked,
        "copied": tracking.copied,
        "tracked_objects": float(tracking.objects),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the figures of a weights file as JSON."""
    parser = argparse.ArgumentParser(prog="python -m napari_hqsam2.training.report")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--sets", nargs="*", default=[], help="sets; default: all")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--objects", type=int, default=6)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with torch.inference_mode():
        figures = report(
            options.weights,
            options.data,
            sets=options.sets,
            images=options.images,
            objects=options.objects,
        )
    options.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
