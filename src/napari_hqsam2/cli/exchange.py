"""``napari-hqsam2 export`` and ``napari-hqsam2 import``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_hqsam2.cli.app import app, errors_as_messages, out


class FormatChoice(StrEnum):
    """Values of --to."""

    ctc = "ctc"
    ctc_truth = "ctc-truth"
    geff = "geff"
    csv = "csv"
    ome_tiff = "ome-tiff"
    ome_zarr = "ome-zarr"


SourceArgument = Annotated[
    Path,
    typer.Argument(help="Saved session, or labels: TIFF, Zarr, .npy, CTC folder."),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="File or folder to write.")
]
ToOption = Annotated[
    FormatChoice | None,
    typer.Option(
        help="Format; else as the ending of --output says: .geff, .csv, .tif, .zarr, "
        "none for ctc."
    ),
]
SessionOption = Annotated[
    Path | None,
    typer.Option(
        help="Saved session with names, divisions, scores and provenance of the "
        "labels, if LABELS is none."
    ),
]
AxesOption = Annotated[
    str | None, typer.Option(help="Axes of the labels; else what the file says.")
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Also replace a folder with an earlier export of the kind."
    ),
]
TracksArgument = Annotated[
    Path,
    typer.Argument(
        help="Labels (TIFF, Zarr, .npy), CTC folder, GEFF, or CSV table of an export."
    ),
]
StackOption = Annotated[
    Path, typer.Option(help="Stack of images that the tracks belong to.")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="Labels for which GEFF or table have names and divisions."),
]
StackAxesOption = Annotated[
    str | None, typer.Option(help="Axes of the stack; else what the file says.")
]
SavedOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the session to write.")
]


@app.command(name="export")
def export_command(
    labels: SourceArgument,
    *,
    output: OutputOption,
    to: ToOption = None,
    session: SessionOption = None,
    axes: AxesOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write tracked labels for other programs."""
    from napari_hqsam2.lineage.exchange import (  # noqa: PLC0415 - formats
        export_format,
        export_labels,
    )
    from napari_hqsam2.session.saved_tracks import open_tracked  # noqa: PLC0415 - torch

    with errors_as_messages(), open_tracked(labels, session, axes) as content:
        chosen = export_format(output) if to is None else to.value
        written = export_labels(output, content, chosen, overwrite=overwrite)
        objects, divisions = len(content.table.obj_ids), len(content.divisions)
    out.print(f"{written}: {objects} objects, {divisions} divisions", highlight=False)


@app.command(name="import")
def import_command(
    tracks: TracksArgument,
    *,
    stack: StackOption,
    output: SavedOption,
    labels: LabelsOption = None,
    axes: StackAxesOption = None,
) -> None:
    """Make a session of what another program has tracked, to go on with."""
    from napari_hqsam2 import Session  # noqa: PLC0415 - loads torch

    with errors_as_messages(), Session(stack, axes=axes) as session:
        if labels is not None:
            session.import_tracks(labels)
        session.import_tracks(tracks)
        session.save(output)
        objects, divisions = len(session.obj_ids), len(session.divisions())
    out.print(f"{output}: {objects} objects, {divisions} divisions", highlight=False)
