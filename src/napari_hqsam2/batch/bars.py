"""Progress bars on a console."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from napari_hqsam2.weights import download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console


def download_with_bar(name: str, console: Console) -> Path:
    """Fetch the weights of a model, with a progress bar on `console`."""
    with download_bar(console) as progress:
        return download.ensure_checkpoint(name, progress=progress)


@contextmanager
def counting_bar(
    console: Console, what: str, units: str
) -> Iterator[Callable[[int, int], None]]:
    """A bar that is given how much is done, and of how much."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(units),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


@contextmanager
def download_bar(
    console: Console,
) -> Iterator[Callable[[int, int | None], None]]:
    """A bar of bytes, which appears with the first of them."""
    columns = (
        TextColumn("Downloading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield show
