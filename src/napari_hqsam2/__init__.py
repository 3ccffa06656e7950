"""HQ-SAM 2 for napari: interactive segmentation and tracking of microscopy stacks.

The public names below are loaded when they are first used; importing the package loads
neither torch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_hqsam2._version import __version__
    from napari_hqsam2.api import (
        FrameResult,
        ObjectMask,
        iter_stack,
        load_model,
        paint,
        segment_image,
        segment_stack,
    )
    from napari_hqsam2.automatic import (
        ProposalSettings,
        propose_objects,
        segment_everything,
        to_prompts,
    )
    from napari_hqsam2.build import (
        build_sam2,
        build_sam2_hq_video_predictor,
        build_sam2_video_predictor,
    )
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
    from napari_hqsam2.predictors.multiscale import Multiscale
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt
    from napari_hqsam2.segmentation.mixing import Mix, MixChannel
    from napari_hqsam2.session.session import Session
    from napari_hqsam2.weights.inventory import (
        download_model,
        list_models,
        remove_model,
    )

__all__ = [
    "BoxPrompt",
    "FramePrompts",
    "FrameResult",
    "Mix",
    "MixChannel",
    "Multiscale",
    "ObjectMask",
    "PointPrompt",
    "ProposalSettings",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "Session",
    "__version__",
    "build_sam2",
    "build_sam2_hq_video_predictor",
    "build_sam2_video_predictor",
    "download_model",
    "iter_stack",
    "list_models",
    "load_model",
    "paint",
    "propose_objects",
    "remove_model",
    "segment_everything",
    "segment_image",
    "segment_stack",
    "to_prompts",
]

_HOMES = {
    "_version": ("__version__",),
    "api": (
        "FrameResult",
        "ObjectMask",
        "iter_stack",
        "load_model",
        "paint",
        "segment_image",
        "segment_stack",
    ),
    "automatic": (
        "ProposalSettings",
        "propose_objects",
        "segment_everything",
        "to_prompts",
    ),
    "build": (
        "build_sam2",
        "build_sam2_hq_video_predictor",
        "build_sam2_video_predictor",
    ),
    "predictors.image_predictor": ("SAM2ImagePredictor",),
    "predictors.video_predictor": ("SAM2VideoPredictor",),
    "predictors.multiscale": ("Multiscale",),
    "prompts": ("BoxPrompt", "FramePrompts", "PointPrompt"),
    "segmentation.mixing": ("Mix", "MixChannel"),
    "session.session": ("Session",),
    "weights.inventory": ("download_model", "list_models", "remove_model"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
