"""Tracked labels from files, with what a saved session knows of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.exchange import open_labels
from napari_hqsam2.session.exchange import tracked_labels
from napari_hqsam2.session.records import Records
from napari_hqsam2.session.storage import JSON_NAME, SavedSession, read_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from napari_hqsam2.lineage.content import TrackedLabels


@contextmanager
def open_tracked(
    path: Path, session: Path | None = None, axes: str | None = None
) -> Iterator[TrackedLabels]:
    """Open labels for as long as the block lasts; they are read when needed.

    Parameters
    ----------
    path
        Saved session, CTC folder, or labels of any kind that `open_stack` reads.
    session
        Saved session that tells of the labels; not needed if `path` is one.
    axes
        Of the labels; None is what the file, or else the session, says.

    Raises
    ------
    LineageError
        The labels are no whole numbers, or their shape is not that of the session.
    StackError, SessionError
        Something cannot be read.
    """
    if (path / JSON_NAME).is_file():
        saved = read_session(path)
        yield _told(saved, saved.labels)
        return
    if session is None:
        with open_labels(path, axes) as content:
            yield content
        return
    saved = read_session(session)
    expected = _label_axes(saved)
    with open_labels(path, axes or expected.letters) as content:
        if content.stack_axes != expected:
            msg = (
                f"{path.name} has {content.stack_axes.described}, the session "
                f"{session.name} {expected.described}. Give the labels of the session."
            )
            raise LineageError(msg)
        yield _told(saved, content.labels)


def _label_axes(saved: SavedSession) -> StackAxes:
    stack = saved.header["stack"]
    axes = StackAxes(stack["axes"], tuple(stack["shape"]))
    return StackAxes(axes.labels_letters, axes.labels_shape)


def _told(saved: SavedSession, labels: Any) -> TrackedLabels:
    records = Records()
    saved.fill(records)
    return tracked_labels(
        records,
        labels,
        _label_axes(saved).letters,
        pixel_sizes=saved.pixel_sizes,
        provenance={
            **saved.header["provenance"],
            "settings": saved.header["settings"],
        },
    )
