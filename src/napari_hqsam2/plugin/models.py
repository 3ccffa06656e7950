"""The only place where the plugin reaches the model; torch is imported on first use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_hqsam2.errors import CheckpointError, DownloadError
from napari_hqsam2.plugin.memory_watch import MemoryWatch
from napari_hqsam2.plugin.resolve import count_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_hqsam2.segmentation.masks import ObjectMask
    from napari_hqsam2.session.session import Session

    Report = Callable[[str], None]
    IsCancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What to do while something takes long."""

    report: Report
    """Takes words for it."""
    is_cancelled: IsCancelled
    may_download: bool = True
    """Whether weights may be downloaded; nobody has asked for it otherwise."""


class Engine(Protocol):
    """Makes sessions and gives them their model; used in one thread."""

    def new_session(
        self, data: Any, axes: str, labels: Any, options: Mapping[str, Any]
    ) -> Session:
        """A session on a stack; arguments as of `Session`."""
        ...

    def open_session(
        self, folder: Path, data: Any, labels: Any, options: Mapping[str, Any]
    ) -> Session:
        """A saved session on a stack, its labels written into `labels`."""
        ...

    def give_model(self, session: Session, waiting: Waiting) -> bool:
        """Give a session the model of its settings; False if cancelled on the way."""
        ...

    def propose(
        self,
        data: Any,
        axes: str,
        session: Session,
        position: tuple[int, ...],
        progress: Callable[[int, int], None],
        is_cancelled: IsCancelled,
    ) -> tuple[ObjectMask, ...]:
        """All objects of a frame, as `propose_objects` finds them."""
        ...

    def whereabouts(self) -> str:
        """Where the model computes, and the memory there; empty without a model."""
        ...

    def watch_memory(self) -> MemoryWatch:
        """Follow the memory where the model computes, from now on."""
        ...

    def release(self) -> None:
        """Let go of the model; it is loaded again when it is needed."""
        ...


@dataclass(frozen=True, slots=True)
class _Loaded:
    wanted: tuple[str, str | None, str]
    """Model, weights file of one's own, device."""
    predictor: Any


class ModelEngine:
    """Keeps one model loaded, whatever else changes."""

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    def new_session(
        self, data: Any, axes: str, labels: Any, options: Mapping[str, Any]
    ) -> Session:
        """A session on a stack; arguments as of `Session`."""
        from napari_hqsam2.session.session import Session  # noqa: PLC0415 - torch

        return Session(data, axes=axes, labels=labels, **options)

    def open_session(
        self, folder: Path, data: Any, labels: Any, options: Mapping[str, Any]
    ) -> Session:
        """A saved session on a stack; see `Session.load`."""
        from napari_hqsam2.session.session import Session  # noqa: PLC0415 - torch

        return Session.load(folder, data, labels=labels, device=options["device"])

    def give_model(self, session: Session, waiting: Waiting) -> bool:
        """Load the model, or take the one at hand; False if cancelled on the way.

        Raises
        ------
        CheckpointError
            The weights are not on this machine, and may not be downloaded.
        DownloadError
            They could not be downloaded.
        """
        settings = session.settings
        wanted = (str(settings.model), settings.checkpoint, str(settings.device))
        loaded = self._loaded
        if loaded is None or loaded.wanted != wanted:
            self._loaded = None
            path = self._weights(*wanted[:2], waiting)
            if path is None:
                return False
            from napari_hqsam2 import api  # noqa: PLC0415 - torch stays out of the dock
            from napari_hqsam2.weights import own_files  # noqa: PLC0415

            model, _, device = wanted
            predictor = api.load_model(model, checkpoint=path, device=device)
            if settings.checkpoint is not None:
                own_files.remember(Path(settings.checkpoint), model)
            self._loaded = loaded = _Loaded(wanted, predictor)
        session.use_model(loaded.predictor)
        return True

    def propose(
        self,
        data: Any,
        axes: str,
        session: Session,
        position: tuple[int, ...],
        progress: Callable[[int, int], None],
        is_cancelled: IsCancelled,
    ) -> tuple[ObjectMask, ...]:
        """All objects of a frame; the session has its model."""
        from napari_hqsam2.automatic import propose_objects  # noqa: PLC0415 - torch

        settings = session.settings
        return propose_objects(
            data,
            axes=axes,
            position=position,
            progress=progress,
            cancel=is_cancelled,
            model=self._loaded.predictor if self._loaded else settings.model,
            contrast_limits=settings.contrast_limits,
            gamma=settings.gamma,
            mix=settings.mix,
            channels=settings.channels,
            hq_mode=settings.hq_mode,
            resolution=settings.resolution,
        )

    def whereabouts(self) -> str:
        """Where the model computes, and the memory there; empty without a model."""
        if self._loaded is None:
            return ""
        import torch  # noqa: PLC0415 - stays out of the dock

        device = self._loaded.predictor.device
        if device.type == "cuda":
            try:
                free, total = torch.cuda.mem_get_info(device)
            except RuntimeError:  # the work that failed with it says why
                return "A GPU that does not answer any more"
            name = torch.cuda.get_device_name(device)
            return f"{name}, {(total - free) / 1e9:.1f} of {total / 1e9:.0f} GB in use"
        if device.type == "mps":
            used = torch.mps.current_allocated_memory()
            return f"Apple GPU, {used / 1e9:.1f} GB in use"
        return f"Processor, {count_words(torch.get_num_threads(), 'thread')}"

    def watch_memory(self) -> MemoryWatch:
        """Follow the memory where the model computes, from now on."""
        loaded = self._loaded
        return MemoryWatch(None if loaded is None else loaded.predictor.device)

    def release(self) -> None:
        """Let go of the model and its memory."""
        self._loaded = None

    def _weights(
        self, model: str, checkpoint: str | None, waiting: Waiting
    ) -> str | Path | None:
        """Path of the weights; None if a download was cancelled."""
        from napari_hqsam2.weights import download, registry  # noqa: PLC0415

        if checkpoint is not None:
            waiting.report(f"Loading {checkpoint}")
            return checkpoint
        spec = registry.get(model)
        is_here = spec.packaged or download.cached_path(model).is_file()
        if not (is_here or waiting.may_download):
            msg = (
                f"The weights of {model} are not on this machine yet. Segment this "
                "frame to download them, or choose the built-in model."
            )
            raise CheckpointError(msg)
        waiting.report(f"Loading {model}")

        def tell(done: int, total: int | None) -> None:
            share = f", {100 * done // total} %" if total else ""
            waiting.report(f"Downloading {model}{share}")

        cancel = waiting.is_cancelled
        try:
            return download.ensure_checkpoint(model, tell, cancel=cancel)
        except DownloadError:
            if cancel():
                return None
            raise
