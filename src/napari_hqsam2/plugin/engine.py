"""The only place where the plugin reaches the model; torch is imported on first use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_hqsam2.plugin.resolve import RunSettings, SegmentRequest
    from napari_hqsam2.plugin.runner import IsCancelled, Report
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.masks import FrameResult


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: str
    device: str
    predictor: Any


class ModelEngine:
    """Keeps one model loaded and segments requests with it."""

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None
        self._num_releases = 0

    def run(
        self, request: SegmentRequest, report: Report, is_cancelled: IsCancelled
    ) -> Generator[FrameResult, None, None]:
        """Segment a request frame by frame; the model is loaded before the first frame.

        A single image is handed over as a stack of one frame.
        """
        from napari_hqsam2 import api  # noqa: PLC0415 - torch stays out of the dock

        settings, letters = request.settings, request.axes.stack.letters
        data, prompts, is_single = request.data, request.prompts, request.axis is None
        predictor = self._predictor(settings, report, is_cancelled)
        if predictor is None:
            return
        report("Reading the image")
        if is_single:
            data, letters = np.asarray(data)[np.newaxis], f"T{letters}"
            prompts = tuple(_on_frame_zero(prompt) for prompt in prompts)
        results = api.iter_stack(
            data,
            prompts,
            axes=letters,
            axis="T" if is_single else request.axis,
            model=predictor,
            direction=settings.direction,
            frames=request.frames,
            contrast_limits=request.contrast_limits,
            channels=settings.channels,
            hq_mode=settings.hq_mode,
            cancel=is_cancelled,
        )
        for result in results:
            yield replace(result, position=()) if is_single else result

    def release(self) -> None:
        """Let go of the model and its memory; the next run loads it again."""
        self._num_releases += 1
        self._loaded = None

    def _predictor(
        self, settings: RunSettings, report: Report, is_cancelled: IsCancelled
    ) -> Any:
        """Load the model, or take the one at hand; None if cancelled on the way."""
        from napari_hqsam2 import api  # noqa: PLC0415 - torch stays out of the dock
        from napari_hqsam2.weights import download  # noqa: PLC0415

        wanted = (settings.model, settings.device)
        loaded = self._loaded
        if loaded and (loaded.model, loaded.device) == wanted:
            return loaded.predictor
        self._loaded, num_releases = None, self._num_releases
        report(f"Loading {settings.model}")

        def tell(done: int, total: int | None) -> None:
            share = f", {100 * done // total} %" if total else ""
            report(f"Downloading {settings.model}{share}")

        try:
            path = download.ensure_checkpoint(settings.model, tell, cancel=is_cancelled)
        except DownloadError:
            if is_cancelled():
                return None
            raise
        predictor = api.load_model(
            settings.model, checkpoint=path, device=settings.device
        )
        if num_releases == self._num_releases:
            self._loaded = _Loaded(*wanted, predictor)
        return predictor


def _on_frame_zero(prompt: FramePrompts) -> FramePrompts:
    return replace(prompt, position=(0,))
