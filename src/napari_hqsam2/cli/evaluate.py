"""``napari-hqsam2 evaluate``: published protocols on the user's own data."""

from __future__ import annotations

import importlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_hqsam2.cli.app import app
from napari_hqsam2.cli.evaluation import Evaluation, interruptible
from napari_hqsam2.cli.segment import (
    CheckpointOption,
    DeviceOption,
    HqChoice,
    HqOption,
    ModelOption,
    ResolutionOption,
    TrackingChoice,
    TrackingOption,
)
from napari_hqsam2.cli.values import checked_resolution, integers
from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from napari_hqsam2.evaluation.results import Run, Table
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

evaluate = typer.Typer(
    name="evaluate",
    help="Measure a model on images or stacks whose true masks are known.",
    no_args_is_help=True,
)
app.add_typer(evaluate)


class MaskChoice(StrEnum):
    """Values of --masks."""

    auto = "auto"
    single = "single"
    multi = "multi"


class VideoLayoutChoice(StrEnum):
    """Values of --layout for videos."""

    davis2016 = "davis2016"
    davis2017 = "davis2017"
    mose = "mose"


class StackLayoutChoice(StrEnum):
    """Values of --layout for stacks."""

    ctc = "ctc"
    volumes = "volumes"


class StartChoice(StrEnum):
    """Values of --start."""

    mask = "mask"
    box = "box"
    click = "click"


OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder for csv files, summary.json and pictures. The same command with "
        "the same folder goes on where it was interrupted.",
    ),
]
HqListOption = Annotated[
    list[HqChoice],
    typer.Option("--hq", help="Use of the high-quality mask; may be repeated."),
]
MaskListOption = Annotated[
    list[MaskChoice],
    typer.Option(
        help="Single mask, best of three by predicted IoU (multi), or as SAM does: "
        "three for a single click only (auto); may be repeated."
    ),
]
HQ_ADDED = [HqChoice.add]
MASKS_AUTO = [MaskChoice.auto]
MASKS_BOTH = [MaskChoice.single, MaskChoice.multi]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="At most so many items, evenly spread.")
]
MinAreaOption = Annotated[
    int, typer.Option(min=1, help="Smaller objects (in pixels) are left out.")
]
StartOption = Annotated[
    StartChoice, typer.Option(help="Prompt from the truth that an object begins with.")
]


@evaluate.command("images")
def images_command(  # noqa: PLR0913 - one argument per option
    images: Annotated[Path, typer.Argument(help="Folder of images, or one stack.")],
    labels: Annotated[
        Path, typer.Argument(help="Folder of label images of the same names, or one.")
    ],
    *,
    output: OutputOption,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    resolution: ResolutionOption = None,
    hq: HqListOption = HQ_ADDED,
    masks: MaskListOption = MASKS_AUTO,
    clicks: Annotated[
        int, typer.Option(min=1, help="Most clicks for an object (NoC).")
    ] = 20,
    boundary_px: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Width of the rim of the boundary IoU in pixels; else 2 % of the "
            "image's diagonal.",
        ),
    ] = None,
    objects: Annotated[
        int | None, typer.Option(min=1, help="Most objects of an image.")
    ] = None,
    min_area: MinAreaOption = 10,
    split: Annotated[
        bool,
        typer.Option(
            "--split", help="Pieces of a label that do not touch count one by one."
        ),
    ] = False,
    channels: Annotated[
        str | None, typer.Option(help="One to three channel indices, such as 0,2.")
    ] = None,
    limit: LimitOption = None,
) -> None:
    """Measure clicks, corrections and boxes on images with label images.

    Every object gets one click, then up to --clicks in its largest error; a box; and a
    box with one click. Otsu's threshold with watershed, and the ellipse in the box, are
    printed beside the model.
    """
    from napari_hqsam2.evaluation import image_run, label_files  # noqa: PLC0415
    from napari_hqsam2.predictors.image_predictor import (  # noqa: PLC0415
        SAM2ImagePredictor,
    )

    options = image_run.ImageOptions(
        hq=tuple(each.value for each in hq),
        masks=tuple(each.value for each in masks),
        clicks=clicks,
        boundary_px=boundary_px,
        objects=objects,
        split=split,
        min_area=min_area,
        channels=None if channels is None else integers("--channels", channels),
    )
    with interruptible(output):
        pairs = _limited(label_files.pair_files(images, labels), limit)
        said = {"images": images, "labels": labels, "limit": limit} | vars(options)
        evaluation = Evaluation.of(
            model, checkpoint, device, said, checked_resolution(resolution)
        )
        predictor = SAM2ImagePredictor(evaluation.predictor.model)
        evaluation.finish(
            output,
            "files",
            lambda run: image_run.evaluate_images(predictor, pairs, options, run),
        )


@evaluate.command("coco")
def coco_command(  # noqa: PLR0913 - one argument per option
    images: Annotated[Path, typer.Argument(help="Folder of the images.")],
    annotations: Annotated[
        Path, typer.Argument(help="COCO annotations, such as instances_val2017.json.")
    ],
    *,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="A detector's boxes as a COCO results file; else the true boxes."
        ),
    ] = None,
    output: OutputOption,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    resolution: ResolutionOption = None,
    hq: HqListOption = HQ_ADDED,
    masks: MaskListOption = MASKS_BOTH,
    limit: LimitOption = None,
) -> None:
    """Measure COCO's average precision of the masks in a detector's boxes."""
    from napari_hqsam2.predictors.image_predictor import (  # noqa: PLC0415
        SAM2ImagePredictor,
    )

    with interruptible(output):
        coco_run = _coco_run()
        data = coco_run.open_coco(images, annotations, boxes, limit)
        uses = [each.value for each in hq], [each.value for each in masks]
        said: dict[str, object] = {"images": images, "boxes": boxes}
        said |= {"annotations": annotations, "limit": limit}
        said |= {"hq": uses[0], "masks": uses[1]}
        evaluation = Evaluation.of(
            model, checkpoint, device, said, checked_resolution(resolution)
        )
        predictor = SAM2ImagePredictor(evaluation.predictor.model)
        evaluation.finish(
            output,
            "images",
            lambda run: coco_run.evaluate_coco(predictor, data, *uses, run),
        )


def _coco_run() -> ModuleType:
    try:
        return importlib.import_module("napari_hqsam2.evaluation.coco_run")
    except ModuleNotFoundError as error:
        from napari_hqsam2.evaluation.ctc_metrics import EXTRA_HINT  # noqa: PLC0415

        msg = f"Average precision needs the package pycocotools. {EXTRA_HINT}"
        raise HqSam2Error(msg) from error


@evaluate.command("video")
def video_command(  # noqa: PLR0913 - one argument per option
    folder: Annotated[Path, typer.Argument(help="Data set as it was published.")],
    *,
    layout: Annotated[VideoLayoutChoice, typer.Option(help="Which data set it is.")],
    split: Annotated[
        str | None, typer.Option(help="Its part; else val (DAVIS) or valid (MOSE).")
    ] = None,
    output: OutputOption,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    resolution: ResolutionOption = None,
    hq: HqOption = HqChoice.add,
    tracking: TrackingOption = TrackingChoice.exact,
    start: StartOption = StartChoice.mask,
    limit: LimitOption = None,
) -> None:
    """Measure J and F of objects that are followed from their first masks."""
    from napari_hqsam2.evaluation import video_layouts, video_run  # noqa: PLC0415

    with interruptible(output):
        found = video_layouts.find_sequences(folder, layout.value, split)
        sequences = _limited(found, limit)
        said = {"folder": folder, "layout": layout, "split": split, "limit": limit}
        said |= {"hq": hq, "start": start}
        evaluation = Evaluation.of(
            *(model, checkpoint, device, said),
            checked_resolution(resolution),
            tracking.value,
        )
        evaluation.predictor.hq = hq.value
        evaluation.finish(
            output,
            "videos",
            lambda run: video_run.evaluate_videos(
                evaluation.predictor, sequences, start.value, run
            ),
        )


@evaluate.command("stacks")
def stacks_command(  # noqa: PLR0913 - one argument per option
    folder: Annotated[
        Path,
        typer.Argument(
            help="Cell Tracking Challenge: with 01 and 01_GT. Volumes: with images and "
            "labels."
        ),
    ],
    *,
    layout: Annotated[StackLayoutChoice, typer.Option(help="How the data lie there.")],
    output: OutputOption,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    resolution: ResolutionOption = None,
    hq: HqOption = HqChoice.add,
    tracking: TrackingOption = TrackingChoice.exact,
    start: StartOption = StartChoice.mask,
    min_area: MinAreaOption = 10,
    limit: LimitOption = None,
) -> None:
    """Measure tracking (SEG, DET, TRA) or 3D objects (matches at IoU thresholds)."""
    with interruptible(output):
        measure, count = _stack_work(layout, folder, start, min_area, limit)
        said = {"folder": folder, "layout": layout, "limit": limit, "hq": hq}
        said |= {"start": start, "min_area": min_area}
        evaluation = Evaluation.of(
            *(model, checkpoint, device, said),
            checked_resolution(resolution),
            tracking.value,
        )
        evaluation.predictor.hq = hq.value
        evaluation.finish(output, count, lambda run: measure(evaluation.predictor, run))


def _stack_work(
    layout: StackLayoutChoice,
    folder: Path,
    start: StartChoice,
    min_area: int,
    limit: int | None,
) -> tuple[Callable[[SAM2VideoPredictor, Run], Sequence[Table]], str]:
    """What is to be done with a predictor, and what is counted."""
    if layout is StackLayoutChoice.ctc:
        from napari_hqsam2.evaluation import ctc_layout, ctc_run  # noqa: PLC0415

        sequences = _limited(ctc_layout.find_ctc_sequences(folder), limit)
        return (
            lambda predictor, run: ctc_run.evaluate_ctc(
                predictor, sequences, start.value, run
            ),
            "sequences",
        )
    from napari_hqsam2.evaluation import volume_run  # noqa: PLC0415

    pairs = _limited(volume_run.find_volumes(folder), limit)
    return (
        lambda predictor, run: volume_run.evaluate_volumes(
            predictor, pairs, start.value, min_area, run
        ),
        "volumes",
    )


def _limited(items: list[Any], limit: int | None) -> list[Any]:
    """At most `limit` items, evenly spread."""
    from napari_hqsam2.outlines import spread  # noqa: PLC0415

    return [items[i] for i in spread(len(items), limit or len(items))]
