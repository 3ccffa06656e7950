"""Interactive segmentation and tracking of one stack, for scripts and front ends."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np

from napari_hqsam2.errors import SessionError
from napari_hqsam2.segmentation.options import StackSettings
from napari_hqsam2.session.autosave import Autosave, FolderLock
from napari_hqsam2.session.disputes import Dispute
from napari_hqsam2.session.doubts import Doubt, DoubtLimits
from napari_hqsam2.session.exchange import SessionExchange
from napari_hqsam2.session.history import DEFAULT_BYTES
from napari_hqsam2.session.label_store import LabelStore
from napari_hqsam2.session.records import FrameScores, PlacedPrompts, TrackedObject
from napari_hqsam2.session.running import PropagationStep
from napari_hqsam2.session.script import ScriptHeader, whole_script
from napari_hqsam2.session.settings import settings_from
from napari_hqsam2.session.stacks import SessionStack
from napari_hqsam2.session.storage import damage_told, read_session, write_session

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.session.settings import SessionOptions
    from napari_hqsam2.session.storage import SavedSession

__all__ = [
    "Dispute",
    "Doubt",
    "DoubtLimits",
    "FrameScores",
    "PlacedPrompts",
    "PropagationStep",
    "Session",
    "TrackedObject",
]

logger = logging.getLogger(__name__)


class Session(SessionExchange):
    """Interactive work on one stack: objects, prompts, runs, undo, files.

    What a call gives depends on prompts, locked frames and labels alone, never on what
    was done and undone before. A session belongs to one thread at a time; its signals
    (`events`) are emitted in the thread that calls it.

    Parameters
    ----------
    stack
        As in `iter_stack`, or a single image: array, sequence of frames, `FrameSource`,
        or path. Frames are read one at a time.
    axes
        Axis letters, such as "TZYX"; None guesses as `axes.resolve_axes` does.
    labels
        Integer array to write to (NumPy, Zarr, the data of a napari layer), one box a
        frame, in place. None makes one of int32 zeros.
    history_bytes
        Room for undo. The newest step is kept in any case.
    **options
        See `SessionOptions`. The model is loaded when it is first needed.

    Raises
    ------
    StackError
        The stack cannot be read with these axes, or the labels do not fit it.

    Examples
    --------
    >>> from napari_hqsam2 import Session
    >>> session = Session("nuclei.tif", axes="TYX")  # doctest: +SKIP
    >>> cell = session.new_object(name="mother")  # doctest: +SKIP
    >>> session.add_points(cell, [(0, 76, 31)])  # doctest: +SKIP
    >>> session.segment(0)  # doctest: +SKIP
    >>> for step in session.propagate("T"):  # doctest: +SKIP
    ...     print(step.frame, step.scores)
    """

    def __init__(
        self,
        stack: Any,
        *,
        axes: str | None = None,
        labels: Any = None,
        history_bytes: int = DEFAULT_BYTES,
        **options: Unpack[SessionOptions],
    ) -> None:
        settings = StackSettings(axes=axes, **options)
        with ExitStack() as resources:
            opened = SessionStack(stack, axes, settings, resources)
            super().__init__(opened, settings, labels, history_bytes)
            self._resources = resources.pop_all()
        self._autosave: Autosave | None = None
        self._saved_mix = ""
        self._header = ScriptHeader.of(
            self.settings, opened, has_labels=labels is not None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model and of an opened file; labels and records stay."""
        with self._turn():
            self._tracker.release()
            self._resources.close()
            if self._autosave is not None:
                self._autosave.try_soon()
                self._keep_up()
                self._autosave.pause()

    def as_python(self) -> str:
        """The script that repeats what was done and not undone.

        It finds the stack under the name `stack`; a model that was passed as an object
        under `model`; labels that were passed, as they were then, under `labels`. What
        somebody else painted into the labels is not part of it.
        """
        return whole_script(self._header, self._history.script)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write everything but the stack and the undo history into a folder.

        The folder appears whole or not at all; an earlier session there is replaced.

        Raises
        ------
        SessionError
            The folder holds something else, or another session saves itself there.
        """
        path = Path(folder).absolute()
        with self._turn():
            autosave = self._autosave
            if autosave is not None and autosave.folder == path:
                autosave.start(self._history.script)
                return
            FolderLock(path).check()
            self._write(path, with_labels=True)

    def autosave(
        self, folder: str | PathLike[str] | None, *, gradually: bool = False
    ) -> None:
        """Save into a folder now, and from now on every change as it is made.

        Each call, and each frame of a run, is on the disk before the next one, so that
        a process that dies loses nothing that a call had returned; `load` brings all of
        it back. If the folder cannot be written to any more, work goes on in memory,
        and saving is tried again; ``events.autosave`` tells. What somebody else paints
        into the labels is in the folder after the next `lock` on that frame, or `save`.

        Parameters
        ----------
        folder
            As of `save`; None saves no more.
        gradually
            Leave labels that are there already to `save_some`: where they are many,
            and nobody is to wait.

        Raises
        ------
        SessionError
            As `save`.
        OSError
            The folder cannot be written to. What was saved before still is, elsewhere.
        """
        with self._turn():
            before = self._autosave
            if folder is None:
                if before is not None:
                    before.stop()
                self._autosave = None
                return
            path = Path(folder).absolute()
            if before is not None and before.folder == path:
                before.start(self._history.script, gradually=gradually)
                return
            autosave = Autosave(
                path, partial(self._write, path), self._records, self._store
            )
            autosave.start(self._history.script, gradually=gradually)
            if before is not None:
                before.pause()
            self._autosave = autosave

    def save_some(self, seconds: float = 0.05) -> bool:
        """Save labels that ``autosave(gradually=True)`` has left for later.

        Parameters
        ----------
        seconds
            About how long this may take; one frame is looked at in any case.

        Returns
        -------
        bool
            Whether there may be more to save.
        """
        with self._turn():
            return self._autosave is not None and self._autosave.catch_up(seconds)

    @property
    def fingerprint(self) -> str:
        """Digest of axes, type and some frames of the stack: what tells it from others.

        The first time, up to five frames are read, of large ones windows.
        """
        return self._stack.fingerprint

    @property
    def autosave_folder(self) -> Path | None:
        """Where every change is saved; None if it is not."""
        return None if self._autosave is None else self._autosave.folder

    @property
    def saved_mix(self) -> str:
        """Stacks that were mixed when this was saved, as of `Mix.described`; or empty.

        They are not saved themselves: mix them again with ``configure(mix=...)``.
        """
        return self._saved_mix

    def _keep_up(self) -> None:
        autosave = self._autosave
        if autosave is not None and autosave.flush(
            self._history.script, self._changing_header, running=self._is_running
        ):
            if autosave.problem:
                logger.warning("%s", autosave.problem)
            self.events.autosave.emit(autosave.problem)

    def _changing_header(self) -> dict[str, Any]:
        told = self.provenance()
        if self._saved_mix and self.settings.mix is None:
            told["mix"] = self._saved_mix
        return {"provenance": told, "settings": self._stored_settings()}

    def _write(self, folder: Path, with_labels: bool) -> None:
        axes = self._stack.axes
        header = {
            **self._changing_header(),
            "stack": {
                "axes": axes.letters,
                "shape": axes.shape,
                "fingerprint": self._stack.fingerprint,
                "pixel_sizes": {
                    letter: [size.value, size.unit]
                    for letter, size in self._stack.pixel_sizes.items()
                },
            },
            "script": {**asdict(self._header), "calls": self._history.script},
        }
        write_session(
            folder, header, self._records, self._store, with_labels=with_labels
        )

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        stack: Any,
        *,
        labels: Any = None,
        model: str | SAM2VideoPredictor | None = None,
        device: str = "auto",
    ) -> Self:
        """Open a saved session again, with all prompts.

        Parameters
        ----------
        folder
            As given to `save`.
        stack
            The stack that it was made for.
        labels
            Array to write the saved labels and all new ones into; None makes one.
        model
            Model to go on with; None is that of the session.
        device
            Where a model given by name computes.

        Raises
        ------
        SessionError
            There is no session, it is damaged, the stack is another one, or a model
            that was passed as an object is not given again.
        StackError
            The labels do not fit.
        """
        saved = read_session(Path(folder))
        axes = saved.header["stack"]["axes"]
        with damage_told(saved.folder):
            settings = settings_from(saved.header["settings"])
            StackSettings(**settings)
        session = cls(
            stack,
            axes=axes,
            labels=labels,
            model=saved.model_to_go_on_with(model),
            device=device,
            **settings,
        )
        session._fill(saved)
        return session

    def _fill(self, saved: SavedSession) -> None:
        """Take over what was saved, after a look at the stack."""
        axes, theirs = self._stack.axes, saved.header["stack"]
        if tuple(theirs["shape"]) != axes.shape:
            msg = (
                f"The session was saved for a stack of shape {tuple(theirs['shape'])} "
                f"({theirs['axes']}); this one has shape {axes.shape}. Open it with "
                "the stack that it was made for."
            )
            raise SessionError(msg)
        if not self._stack.has_fingerprint(theirs["fingerprint"]):
            msg = (
                "The session was saved for a stack with other pixels (shape and axes "
                "are the same). Open it with the stack that it was made for."
            )
            raise SessionError(msg)
        before, now = saved.header["provenance"], self.provenance()
        for name in ("model", "weights_sha256", "parameters_sha256"):
            if before.get(name) != now.get(name):
                logger.warning(
                    "The session was made with %s %s; it goes on with %s.",
                    name,
                    before.get(name),
                    now.get(name),
                )
        self._saved_mix = before.get("mix") or ""
        if self._saved_mix:
            logger.warning(
                "The session was made with several stacks mixed (%s), which are not "
                "saved; mix them again with configure(mix=...).",
                self._saved_mix,
            )
        self._stack.pixel_sizes = self._stack.pixel_sizes or saved.pixel_sizes
        saved.fill(self._records)
        self._fill_labels(saved)
        script = dict(saved.header["script"])
        self._history.restart(script.pop("calls"))
        self._header = ScriptHeader(**script)

    def _fill_labels(self, saved: SavedSession) -> None:
        """Take over the saved labels; frames without any are not written to."""
        labels, filled = saved.labels, set(saved.filled())
        if "labels" not in self._header.arguments:
            empty = np.zeros(self._stack.axes.labels_shape, labels.dtype)
            self._store = LabelStore(empty, self._stack.axes)
            emptied = set()
        else:
            emptied = set(self._store.positions()) - filled
        self._store.check_room(self.obj_ids)
        for position in sorted(filled):
            with damage_told(saved.folder):
                frame = labels[position]
            self._store.fill(position, frame)
        for position in sorted(emptied):
            self._store.clear(position)
