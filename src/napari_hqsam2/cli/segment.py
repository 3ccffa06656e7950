"""``napari-hqsam2 segment``."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_hqsam2.cli.app import app, errors_as_messages, terminated_as_ctrl_c
from napari_hqsam2.cli.segmenting import expanded, part, segment_many, segment_one
from napari_hqsam2.cli.values import (
    checked_crop,
    checked_gamma,
    checked_resolution,
    integers,
    limits,
    pair,
)
from napari_hqsam2.predictors.slow_reads import DEFAULT_TIMEOUT
from napari_hqsam2.weights import registry


class DirectionChoice(StrEnum):
    """Values of --direction."""

    forward = "forward"
    backward = "backward"
    both = "both"


class HqChoice(StrEnum):
    """Values of --hq."""

    add = "add"
    only = "only"
    off = "off"


class TrackingChoice(StrEnum):
    """Values of --tracking."""

    exact = "exact"
    local = "local"


StacksArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="STACK...",
        help="TIFF, OME-TIFF, Zarr, .npy, folder of images, or video; one or many, or "
        "a pattern in quotes.",
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="OME-TIFF of labels to write (.tif); a folder for those of many stacks.",
    ),
]
PointsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of clicks: t,y,x,object_id,label (or z, ...), or a Points layer "
        "saved by napari. Coordinates are pixel indices. For many stacks also a "
        "folder, with a table named after each: cells.csv for cells.tif."
    ),
]
BoxesOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of boxes: t,y0,x0,y1,x1,object_id, or a Shapes layer saved by napari "
        "(rectangles); for many stacks also a folder."
    ),
]
EverythingOption = Annotated[
    bool,
    typer.Option(
        "--everything",
        help="Instead of prompts: find all objects of one frame, and follow them.",
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        help="That frame: one index for each axis but Y, X and C, such as 3,0; else "
        "the first."
    ),
]
AxesOption = Annotated[
    str | None,
    typer.Option(help="Axes of the stack, such as TZYX or TYXC; else what it says."),
]
AxisOption = Annotated[
    str | None,
    typer.Option(
        help="Axis to follow objects along; else the last that is not Y, X or C."
    ),
]
ModelOption = Annotated[str, typer.Option(help="Name as in 'napari-hqsam2 models'.")]
CheckpointOption = Annotated[
    Path | None, typer.Option(help="Weights file of your own for this model.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
DirectionOption = Annotated[
    DirectionChoice, typer.Option(help="Way to go from an object's first prompt.")
]
FramesOption = Annotated[
    str | None, typer.Option(help="start,stop along the axis; stop is not included.")
]
ContrastOption = Annotated[
    list[str] | None,
    typer.Option(
        help="low,high intensities shown as black and white; once, or once for each "
        "channel."
    ),
]
GammaOption = Annotated[
    float,
    typer.Option(
        help="Power to which intensities between the limits are raised; less than 1 "
        "lightens what is dark."
    ),
]
ChannelsOption = Annotated[
    str | None, typer.Option(help="One to three channel indices, such as 0,2.")
]
HqOption = Annotated[HqChoice, typer.Option(help="Use of the high-quality mask.")]
OnePieceOption = Annotated[
    bool,
    typer.Option(
        "--one-piece",
        help="Keep the largest piece of each mask only, for objects that are in one "
        "piece on every frame.",
    ),
]
TrackingOption = Annotated[
    TrackingChoice,
    typer.Option(
        help="Where an object is looked for: on the whole frame, or around where it "
        "was, which is much faster for many small objects and gives nearly the same "
        "masks."
    ),
]
ResolutionOption = Annotated[
    int | None,
    typer.Option(
        help="Side of the square that the model sees, in px: a multiple of 32, such "
        "as 256; else the model's own. Less is much faster and loses detail.",
    ),
]
CropOption = Annotated[
    str,
    typer.Option(
        help="Windows in which objects of large frames are seen at full resolution: "
        "auto (where frames are larger than one and a half times what the model sees), "
        "off, or their side in px, such as 512.",
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the model first, which takes minutes: for long runs on a GPU.",
    ),
]
ReadTimeoutOption = Annotated[
    float,
    typer.Option(
        help="Seconds to wait for a frame of a slow disk or network; 0 waits for ever.",
        min=0,
    ),
]
PictureOption = Annotated[
    Path | None,
    typer.Option(
        help="Also draw frames with outlines (.png); for many stacks a folder."
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Also replace labels and pictures that this command did not write, or "
        "that were changed since.",
    ),
]
IndexOption = Annotated[
    int | None,
    typer.Option(
        help="Of many stacks, only every --of-th from this one on, counted from 0: one "
        "part for each task of a job array.",
        min=0,
    ),
]
OfOption = Annotated[
    int | None, typer.Option(help="Number of parts, see --index.", min=1)
]


@app.command()
def segment(  # noqa: PLR0913 - one argument per option
    stacks: StacksArgument,
    *,
    output: OutputOption,
    points: PointsOption = None,
    boxes: BoxesOption = None,
    everything: EverythingOption = False,
    at: AtOption = None,
    axes: AxesOption = None,
    axis: AxisOption = None,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    direction: DirectionOption = DirectionChoice.both,
    frames: FramesOption = None,
    contrast: ContrastOption = None,
    gamma: GammaOption = 1.0,
    channels: ChannelsOption = None,
    hq: HqOption = HqChoice.add,
    one_piece: OnePieceOption = False,
    tracking: TrackingOption = TrackingChoice.exact,
    resolution: ResolutionOption = None,
    crop: CropOption = "auto",
    compile: CompileOption = False,  # noqa: A002 - as in torch
    read_timeout: ReadTimeoutOption = DEFAULT_TIMEOUT,
    picture: PictureOption = None,
    overwrite: OverwriteOption = False,
    index: IndexOption = None,
    of: OfOption = None,
) -> None:
    """Segment prompted objects through stacks and write their labels.

    Without a column object_id every click and every box is an object of its own.

    Ctrl-C or SIGTERM writes the frames that are finished and exits with 130; so does a
    frame that cannot be read, and exits with 1. The same command goes on from there,
    also after it was killed: a minute of work is lost at most. What is finished is not
    done again, unless inputs, settings or version have changed.

    Many stacks are done one after the other. One that fails does not stop the others; a
    table at the end says what came of each, and the exit code is 1 if any failed.
    Several processes, on any machines, may be given the same stacks: none begins what
    another is at, and exits with 75 if something was left to another. A process that
    died on another machine counts as being at it for five minutes.
    """
    from napari_hqsam2.batch import SegmentJob  # noqa: PLC0415 - loads torch

    job = SegmentJob(
        stack=stacks[0],
        output=output,
        points=points,
        boxes=boxes,
        everything=everything,
        at=None if at is None else integers("--at", at),
        axes=axes,
        axis=axis,
        model=model,
        checkpoint=checkpoint,
        device=device,
        direction=direction.value,
        frames=pair("--frames", frames),
        contrast_limits=tuple(limits(text) for text in contrast or ()) or None,
        gamma=checked_gamma(gamma),
        channels=None if channels is None else integers("--channels", channels),
        hq_mode=hq.value,
        one_piece=one_piece,
        tracking=tracking.value,
        resolution=checked_resolution(resolution),
        crop=checked_crop(crop),
        compile=compile,
        read_timeout=read_timeout or None,
        picture=picture,
        overwrite=overwrite,
    )
    with errors_as_messages(), terminated_as_ctrl_c():
        found = expanded(stacks)
        if len(found) > 1 or index is not None or output.is_dir() or not output.suffix:
            segment_many(part(found, index, of), job)
        else:
            segment_one(replace(job, stack=found[0]))
