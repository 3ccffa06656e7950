"""What the commands of ``napari-hqsam2 evaluate`` have in common."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

import napari_hqsam2
from napari_hqsam2.cli.app import EXIT_INTERRUPTED, err, errors_as_messages, out
from napari_hqsam2.errors import HqSam2Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_hqsam2.evaluation.results import Cell, Run, Table
    from napari_hqsam2.predictors.tracking_config import TrackingMode
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

ROOMY_COLUMNS = 9
"""Tables of more columns stand closer."""


@dataclass(frozen=True)
class Evaluation:
    """A model that is loaded, and what will be said of the run."""

    predictor: SAM2VideoPredictor
    settings: dict[str, str]

    @classmethod
    def of(
        cls,
        model: str,
        checkpoint: Path | None,
        device: str,
        options: Mapping[str, object],
        resolution: int | None = None,
        tracking: TrackingMode = "exact",
    ) -> Evaluation:
        """Load a model; `options` is what else decides the results."""
        from napari_hqsam2.api import load_model  # noqa: PLC0415 - loads torch
        from napari_hqsam2.batch.bars import download_with_bar  # noqa: PLC0415
        from napari_hqsam2.weights.cache import file_sha256  # noqa: PLC0415

        path = checkpoint or download_with_bar(model, err)
        try:
            predictor = load_model(
                model,
                checkpoint=path,
                device=device,
                resolution=resolution,
                tracking=tracking,
            )
        except (ValueError, RuntimeError) as error:
            msg = f"The model cannot be loaded: {error}"
            raise HqSam2Error(msg) from error
        settings = {
            "napari-hqsam2": napari_hqsam2.__version__,
            "model": model,
            "weights": path.name,
            "weights_sha256": file_sha256(path),
            "device": predictor.device.type,
            "resolution": str(predictor.image_size),
            "tracking": tracking,
        }
        said = {name: _said(value) for name, value in options.items()}
        return cls(predictor, settings | said)

    def finish(
        self, output: Path, what: str, work: Callable[[Run], Sequence[Table]]
    ) -> None:
        """Do the work with a progress bar, and print its tables."""
        from napari_hqsam2.evaluation.results import Run  # noqa: PLC0415

        with _bar(what) as progress:
            tables = work(Run(output, self.settings, progress))
        for table in tables:
            print_table(table)
        out.print(f"Wrote {output}", soft_wrap=True, highlight=False)


def _said(option: object) -> str:
    if isinstance(option, tuple | list):
        return ", ".join(map(str, option))
    return "" if option is None else str(option)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("Measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_table(table: Table) -> None:
    """Print a table; no figure is cut off in a terminal of 80 columns."""
    gap = int(len(table.columns) <= ROOMY_COLUMNS)
    shown = RichTable(
        title=table.name.replace("_", " "), box=SIMPLE_HEAD, padding=(0, gap, 0, 0)
    )
    for name in table.columns:
        # headings break at spaces, so that wide tables fit into narrow terminals
        shown.add_column(name.replace("_", " "), overflow="fold")
    for row in table.rows:
        shown.add_row(*map(_shown, row))
    out.print(shown)


def _shown(cell: Cell) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return "-" if math.isnan(cell) else f"{cell:.3f}"


@contextmanager
def interruptible(output: Path) -> Iterator[None]:
    """Show errors as messages; Ctrl-C says where the results are."""
    with errors_as_messages():
        try:
            yield
        except KeyboardInterrupt:
            err.print(
                f"Interrupted; what is finished is in {output}. Give the same command "
                "again to go on.",
                soft_wrap=True,
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
