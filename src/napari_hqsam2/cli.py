"""The command line: ``napari-hqsam2 segment``, ``models``, ``download``, ``info``."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

import napari_hqsam2
from napari_hqsam2.errors import HqSam2Error
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
"""As shells report a process that ended with Ctrl-C."""

app = typer.Typer(
    name="napari-hqsam2",
    help="Segment microscopy stacks with HQ-SAM 2.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
out = Console()
err = Console(stderr=True)


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


@contextmanager
def _errors_as_messages() -> Iterator[None]:
    """Show errors that explain themselves without a traceback, and exit with 1."""
    try:
        yield
    except (HqSam2Error, OSError) as error:
        err.print(f"[bold red]Error:[/] {escape(str(error))}")
        raise typer.Exit(EXIT_FAILED) from error


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"napari-hqsam2 {napari_hqsam2.__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say what is being done.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Segment microscopy stacks with HQ-SAM 2."""
    del version
    handler = RichHandler(console=err, show_path=False)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[handler],
    )


StackArgument = Annotated[
    Path,
    typer.Argument(help="TIFF, OME-TIFF, Zarr, .npy, folder of images, or video."),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="OME-TIFF of labels to write (.tif).")
]
PointsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of clicks: t,y,x,object_id,label (or z, ...), or a Points layer "
        "saved by napari. Coordinates are pixel indices."
    ),
]
BoxesOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of boxes: t,y0,x0,y1,x1,object_id, or a Shapes layer saved by napari "
        "(rectangles)."
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
ChannelsOption = Annotated[
    str | None, typer.Option(help="One to three channel indices, such as 0,2.")
]
HqOption = Annotated[HqChoice, typer.Option(help="Use of the high-quality mask.")]
PictureOption = Annotated[
    Path | None, typer.Option(help="Also draw frames with outlines (.png).")
]


@app.command()
def segment(  # noqa: PLR0913 - one argument per option
    stack: StackArgument,
    *,
    output: OutputOption,
    points: PointsOption = None,
    boxes: BoxesOption = None,
    axes: AxesOption = None,
    axis: AxisOption = None,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = "auto",
    direction: DirectionOption = DirectionChoice.both,
    frames: FramesOption = None,
    contrast: ContrastOption = None,
    channels: ChannelsOption = None,
    hq: HqOption = HqChoice.add,
    picture: PictureOption = None,
) -> None:
    """Segment prompted objects through a stack and write their labels.

    Without a column object_id every click and every box is an object of its own.

    Ctrl-C writes the frames that are finished and exits with 130.
    """
    from napari_hqsam2.batch import SegmentJob  # noqa: PLC0415 - loads torch

    job = SegmentJob(
        stack=stack,
        output=output,
        points=points,
        boxes=boxes,
        axes=axes,
        axis=axis,
        model=model,
        checkpoint=checkpoint,
        device=device,
        direction=direction.value,
        frames=_pair("--frames", frames),
        contrast_limits=tuple(_limits(text) for text in contrast or ()) or None,
        channels=None if channels is None else _integers("--channels", channels),
        hq_mode=hq.value,
        picture=picture,
    )
    with _errors_as_messages():
        summary = job.run(err)
    for path in summary.written:
        out.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    if summary.interrupted:
        err.print(f"Interrupted; {summary.frames_done} frames are finished.")
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
def models() -> None:
    """List the models, their sizes, where they come from and whether they are here."""
    from napari_hqsam2.weights.cache import cache_folder  # noqa: PLC0415
    from napari_hqsam2.weights.download import cached_path  # noqa: PLC0415

    table = Table(title="Models")
    for heading in ("name", "size", "here", "source", "licence"):
        table.add_column(heading, no_wrap=heading == "name")
    for spec in registry.REGISTRY.values():
        path = cached_path(spec.name)
        is_here = path.is_file()
        size = path.stat().st_size if is_here else spec.size
        host = urlsplit(spec.url or "").netloc or "not published"
        table.add_row(
            spec.name,
            f"{size / 1e6:.0f} MB" if size else "",
            "yes" if is_here else "no",
            "built in" if spec.packaged else host,
            spec.licence,
        )
    out.print(table)
    out.print(f"The default is {registry.DEFAULT_MODEL}.")
    out.print(f"Downloads are kept in {cache_folder()}", soft_wrap=True)


@app.command("download")
def download_model(
    name: Annotated[str, typer.Argument(help="Name as in 'napari-hqsam2 models'.")],
) -> None:
    """Download the weights of a model, to be used offline later."""
    from napari_hqsam2.batch import download_with_bar  # noqa: PLC0415 - loads torch

    with _errors_as_messages():
        path = download_with_bar(name, err)
    out.print(f"{name} is at {path}", soft_wrap=True)


@app.command()
def info() -> None:
    """Show versions, devices and folders, as wanted in a bug report."""
    import platform  # noqa: PLC0415

    import torch  # noqa: PLC0415 - seconds

    from napari_hqsam2.build import resolve_device  # noqa: PLC0415
    from napari_hqsam2.weights.cache import cache_folder  # noqa: PLC0415

    device = resolve_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    table = Table(show_header=False)
    for row in (
        ("napari-hqsam2", napari_hqsam2.__version__),
        ("Python", platform.python_version()),
        ("system", platform.platform()),
        ("torch", torch.__version__),
        ("device", str(name)),
        ("threads", str(torch.get_num_threads())),
        ("default model", registry.DEFAULT_MODEL),
        ("downloads", str(cache_folder())),
    ):
        table.add_row(*row)
    out.print(table)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{text!r} is not a list of numbers with commas between them."
        raise typer.BadParameter(msg, param_hint=option) from error


def _integers(option: str, text: str) -> tuple[int, ...]:
    numbers = _numbers(option, text)
    if any(number != int(number) for number in numbers):
        msg = f"{text!r} must be whole numbers."
        raise typer.BadParameter(msg, param_hint=option)
    return tuple(int(number) for number in numbers)


def _pair(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    numbers = _integers(option, text)
    if len(numbers) != 2:
        msg = f"{text!r} must be two numbers with a comma between them."
        raise typer.BadParameter(msg, param_hint=option)
    return numbers[0], numbers[1]


def _limits(text: str) -> tuple[float, float]:
    numbers = _numbers("--contrast", text)
    if len(numbers) != 2 or not numbers[0] <= numbers[1]:
        msg = f"{text!r} must be low,high with low not above high."
        raise typer.BadParameter(msg, param_hint="--contrast")
    return numbers[0], numbers[1]
