"""The only place where the plugin reaches the model; torch is imported on first use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_hqsam2.plugin.resolve import RunSettings, SegmentRequest
    from napari_hqsam2.plugin.runner import IsCancelled, Report
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
        self._is_released = False

    def run(
        self, request: SegmentRequest, report: Report, is_cancelled: IsCancelled
    ) -> Generator[FrameResult, None, None]:
        """Segment a request frame by frame; the model is loaded on the first frame."""
        from napari_hqsam2 import api  # noqa: PLC0415 - torch stays out of the dock

        predictor = self._predictor(request.settings, report)
        yield from api.iter_stack(
            request.data,
            request.prompts,
            axes=request.axes.stack.letters,
            axis=request.axis,
            model=predictor,
            direction=request.settings.direction,
            frames=request.frames if request.axis else None,
            contrast_limits=request.contrast_limits,
            hq_mode=request.settings.hq_mode,
            cancel=is_cancelled,
        )

    def release(self) -> None:
        """Let go of the model, for good, so that its memory can be used again."""
        self._is_released = True
        self._loaded = None

    def _predictor(self, settings: RunSettings, report: Report) -> Any:
        from napari_hqsam2 import api  # noqa: PLC0415 - torch stays out of the dock

        wanted = (settings.model, settings.device)
        loaded = self._loaded
        if loaded and (loaded.model, loaded.device) == wanted:
            return loaded.predictor
        self._loaded = None
        report(f"Loading {settings.model}")

        def tell(done: int, total: int | None) -> None:
            share = f" {100 * done // total} %" if total else ""
            report(f"Downloading {settings.model}{share}")

        predictor = api.load_model(
            settings.model, device=settings.device, progress=tell
        )
        if not self._is_released:
            self._loaded = _Loaded(*wanted, predictor)
        return predictor
