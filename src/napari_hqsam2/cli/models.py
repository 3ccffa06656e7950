"""``napari-hqsam2 models``, ``download`` and ``info``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.table import Table

import napari_hqsam2
from napari_hqsam2.cli.app import app, err, errors_as_messages, out
from napari_hqsam2.weights import registry


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

    with errors_as_messages():
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
