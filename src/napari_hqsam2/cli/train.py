"""``napari-hqsam2 train``."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from napari_hqsam2.cli.app import EXIT_INTERRUPTED, app, err, errors_as_messages, out
from napari_hqsam2.cli.values import integers
from napari_hqsam2.weights import own_files, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_hqsam2.training.fine_tuning.job import FineTuning, Outcome
    from napari_hqsam2.training.fine_tuning.measuring import Scores
    from napari_hqsam2.training.trainer import Watcher

KINDS = {
    "click_1": "1 click",
    "click_3": "3 clicks",
    "box": "box",
    "tracked": "mask, on later frames",
}


class TrainChoice(StrEnum):
    """Values of --train."""

    hq = "hq"
    decoder = "decoder"
    hq_decoder = "hq+decoder"
    all = "all"


ImagesArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder of images or stacks, or one file: TIFF, OME-TIFF, PNG, Zarr, .npy."
    ),
]
LabelsArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The same for labels, with the names of the images; left out, the folder "
        "of images holds x.tif and x_labels.tif (or _masks)."
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder for weights.safetensors, scores and log; the same command goes on "
        "with a run that was stopped.",
    ),
]
ValidationOption = Annotated[
    tuple[Path, Path] | None,
    typer.Option(help="Images and labels to measure on; else some are held out."),
]
HeldOutOption = Annotated[
    float,
    typer.Option(min=0, max=0.9, help="Share to hold out and measure on."),
]
ModelOption = Annotated[
    str, typer.Option(help="Model to start from, as in 'napari-hqsam2 models'.")
]
CheckpointOption = Annotated[
    Path | None, typer.Option(help="Weights file of your own to start from.")
]
TrainOption = Annotated[
    TrainChoice | None,
    typer.Option(
        help="What learns; else hq+decoder, or decoder where there is no HQ part. All "
        "is far slower: the image encoder learns too."
    ),
]
ClipsOption = Annotated[
    bool,
    typer.Option("--clips", help="Of stacks: also train what follows objects."),
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Default 300.")]
MinutesOption = Annotated[
    float | None, typer.Option(min=0.01, help="Time to train, instead of steps.")
]
LearningRateOption = Annotated[
    float | None, typer.Option(min=1e-8, max=1.0, help="Else what suits --train.")
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        help="Side of the crops to train on, in px: a multiple of 64, up to that of "
        "the model, which is the default. Less is faster, but masks from one click "
        "may get worse."
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Decides everything random.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; default: all cores.")
]
AxesOption = Annotated[
    str | None, typer.Option(help="Axes of the images, such as TZYX; else as they say.")
]
ChannelsOption = Annotated[
    str | None, typer.Option(help="One to three channel indices, such as 0,2.")
]


@app.command()
def train(  # noqa: PLR0913 - one argument per option
    images: ImagesArgument,
    labels: LabelsArgument = None,
    *,
    output: OutputOption,
    validation: ValidationOption = None,
    held_out: HeldOutOption = 0.2,
    model: ModelOption = registry.DEFAULT_MODEL,
    checkpoint: CheckpointOption = None,
    train: TrainOption = None,
    clips: ClipsOption = False,
    steps: StepsOption = None,
    minutes: MinutesOption = None,
    learning_rate: LearningRateOption = None,
    size: SizeOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    axes: AxesOption = None,
    channels: ChannelsOption = None,
) -> None:
    """Fine-tune a model on images and labels of your own.

    Ctrl-C saves and exits with 130; the same command goes on from there.
    """
    import torch  # noqa: PLC0415 - seconds

    from napari_hqsam2.batch.bars import download_with_bar  # noqa: PLC0415 - loads torch
    from napari_hqsam2.training.fine_tuning.data_files import (  # noqa: PLC0415
        DataFiles,
    )
    from napari_hqsam2.training.fine_tuning.job import FineTuning  # noqa: PLC0415

    if threads is not None:
        torch.set_num_threads(threads)
    with errors_as_messages():
        job = FineTuning(
            files=DataFiles(
                images=images,
                labels=labels,
                validation=validation,
                held_out=held_out,
                seed=seed,
                axes=axes,
                channels=None if channels is None else integers("--channels", channels),
            ),
            output=output,
            model=model,
            weights=checkpoint or download_with_bar(model, err),
            train=None if train is None else train.value,
            clips=clips,
            steps=steps,
            minutes=minutes,
            learning_rate=learning_rate,
            size=size,
            device=device,
        )
        outcome = _run(job)
    own_files.remember(outcome.weights, model)
    _report(outcome)


def _run(job: FineTuning) -> Outcome:
    try:
        with _step_bar() as (bar, watch):
            say = partial(bar.console.print, markup=False, highlight=False)
            return job.run(say, watch)
    except KeyboardInterrupt as error:
        err.print("Interrupted.")
        raise typer.Exit(EXIT_INTERRUPTED) from error


@contextmanager
def _step_bar() -> Iterator[tuple[Progress, Watcher]]:
    columns = (
        TextColumn("Training"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("step {task.fields[step]}, loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("", total=1.0, visible=False, step=0, loss=0.0)

        def watch(step: int, share: float, loss: Tensor) -> bool:
            shown = float(loss)
            bar.update(task, completed=share, step=step, loss=shown, visible=True)
            return False

        yield bar, watch


def _report(outcome: Outcome) -> None:
    if outcome.interrupted:
        out.print(f"Wrote {outcome.weights}", soft_wrap=True, highlight=False)
        err.print(
            f"Interrupted after {outcome.steps} steps, which are saved. The same "
            "command goes on from there."
        )
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.after:
        out.print(_table(outcome))
        if _mean(outcome.after) < _mean(outcome.before):
            err.print(
                "The scores fell. More labelled images, fewer steps or a smaller "
                "--learning-rate may help; or stay with the model as it was."
            )
    spent = f"{outcome.steps} steps, {outcome.minutes:.1f} minutes"
    path = outcome.weights
    out.print(f"Wrote {path} ({spent})", soft_wrap=True, highlight=False)


def _mean(scores: Scores) -> float:
    return sum(score["iou"] for score in scores.values()) / len(scores)


def _table(outcome: Outcome) -> Table:
    table = Table(title="On the images held out")
    for heading in ("prompt", "IoU before", "after", "boundary IoU before", "after"):
        table.add_column(heading, justify="left" if heading == "prompt" else "right")
    for kind, after in outcome.after.items():
        before = outcome.before[kind]
        figures = [
            f"{scores[measure]:.3f}" if measure in scores else ""
            for measure in ("iou", "boundary_iou")
            for scores in (before, after)
        ]
        table.add_row(KINDS[kind], *figures)
    return table
