"""``napari-hqsam2 models``, ``download``, ``remove`` and ``info``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.table import Table

import napari_hqsam2
from napari_hqsam2.cli.app import EXIT_INTERRUPTED, app, err, errors_as_messages, out
from napari_hqsam2.files import size_words
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from napari_hqsam2.weights.inventory import ModelFile


@app.command()
def models(
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the files that are here now.")
    ] = False,
) -> None:
    """List the models, their sizes, where they come from and whether they are here."""
    from napari_hqsam2.weights.cache import cache_folder  # noqa: PLC0415
    from napari_hqsam2.weights.inventory import list_models  # noqa: PLC0415

    table = Table(title="Models")
    for heading in ("name", "size", "here", "SHA-256", "source"):
        table.add_column(heading, no_wrap=heading == "name", overflow="fold")
    listed = list_models(verify=verify)
    for item in listed:
        if item.kind == "own":
            continue
        size = size_words(item.size) if item.size else ""
        source = "built in" if item.kind == "built in" else _host(item)
        table.add_row(item.name, size, _here(item), item.check, source)
    out.print(table)
    own = [item for item in listed if item.kind == "own"]
    for item in own:
        size = size_words(item.size) if item.size else "gone"
        text = f"Your own: {item.path} ({size}), for {item.name}"
        out.print(text, soft_wrap=True, highlight=False)
    freed = sum(item.freed for item in listed)
    licences = ", ".join(sorted({item.licence for item in listed if item.licence}))
    out.print(f"The default is {registry.DEFAULT_MODEL}. Licence: {licences}.")
    out.print(
        f"Downloads are kept in {cache_folder()} ({size_words(freed)}).",
        soft_wrap=True,
    )


@app.command("download")
def download_model(
    name: Annotated[str, typer.Argument(help="Name as in 'napari-hqsam2 models'.")],
) -> None:
    """Download the weights of a model, to be used offline later.

    Ctrl-C keeps what has arrived; the same command goes on from there.
    """
    from napari_hqsam2.batch.bars import download_with_bar  # noqa: PLC0415 - loads torch

    try:
        with errors_as_messages():
            path = download_with_bar(name, err)
    except KeyboardInterrupt as error:
        err.print("Interrupted. The same command goes on from what has arrived.")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    out.print(f"{name} is at {path}", soft_wrap=True)


@app.command()
def remove(
    name: Annotated[
        str,
        typer.Argument(
            help="Name as in 'napari-hqsam2 models', or the path of a file of your "
            "own, which is only taken off the list."
        ),
    ],
) -> None:
    """Delete the downloaded weights of a model; they can be downloaded again."""
    from napari_hqsam2.weights.inventory import remove_model  # noqa: PLC0415

    with errors_as_messages():
        freed = remove_model(name)
    out.print(f"Removed {name}; {size_words(freed)} are free again.", soft_wrap=True)


def _here(item: ModelFile) -> str:
    """Whether a file is here, or how much of it."""
    if item.is_here:
        return "yes"
    return f"{size_words(item.partial)} of it" if item.partial else "no"


def _host(item: ModelFile) -> str:
    return urlsplit(item.url or "").netloc or "not published"


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
