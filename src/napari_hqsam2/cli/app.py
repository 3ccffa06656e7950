"""The application that all commands join, and how it speaks."""

from __future__ import annotations

import logging
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

import napari_hqsam2
from napari_hqsam2.errors import HqSam2Error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

EXIT_FAILED = 1
EXIT_ELSEWHERE = 75
"""As of programs that ask to be tried again later."""
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


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Show errors that explain themselves without a traceback, and exit with 1."""
    try:
        yield
    except (HqSam2Error, OSError) as error:
        err.print(f"[bold red]Error:[/] {escape(str(error))}")
        raise typer.Exit(EXIT_FAILED) from error
    except MemoryError as error:
        reason = escape(str(error)) or "no more can be allocated"
        err.print(
            f"[bold red]Error:[/] There is not enough memory ({reason}). Close other "
            "programs, or take a part of the stack.",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_FAILED) from error


@contextmanager
def terminated_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which job schedulers send before they kill, end work as Ctrl-C."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


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
