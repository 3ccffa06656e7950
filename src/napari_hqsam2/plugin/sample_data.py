"""Sample data for every shape of stack: real microscopy crops and procedural scenes.

The real crops and their licences are described in ``data/NOTICE``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

if TYPE_CHECKING:
    from napari.types import LayerData

DATA = Path(__file__).parent / "data"
TIMELAPSE = DATA / "nuclei_tyx.ome.tif"
VOLUME = DATA / "nuclei_zyx.ome.tif"
TWO_CHANNELS = DATA / "cells_cyx.ome.tif"
MODALITY = "nuclei"
"""Of the procedural samples; their fixed seeds make them look the same every time."""


def nuclei_timelapse() -> list[LayerData]:
    """Nuclei of breast cancer cells over 32 frames, with two divisions."""
    return [_real(TIMELAPSE, "nuclei over time", "TYX")]


def nuclei_volume() -> list[LayerData]:
    """Nuclei of stem cells in 24 confocal slices, in micrometre."""
    options = {"scale": (0.29, 0.26, 0.26), "units": ("um", "um", "um")}
    return [_real(VOLUME, "nuclei in depth", "ZYX", **options)]


def cells_two_channels() -> list[LayerData]:
    """Cells in two channels, nuclei stain and oblique light, in micrometre."""
    options = {"scale": (1, 0.619, 0.619), "units": ("pixel", "um", "um")}
    return [_real(TWO_CHANNELS, "cells in two channels", "CYX", **options)]


def made_timelapse() -> list[LayerData]:
    """Procedural nuclei over 24 frames that move and divide, with exact labels."""
    from napari_hqsam2.synthetic import make_clip  # noqa: PLC0415 - real ones need none

    rng = np.random.default_rng(11)
    clip = make_clip(rng, 24, (192, 192), MODALITY, sweep=False)
    return _made(clip.images, clip.labels, "procedural time-lapse", "TYX")


def made_volume() -> list[LayerData]:
    """Procedural nuclei in a volume of 24 slices, with exact labels."""
    from napari_hqsam2.synthetic import make_volume  # noqa: PLC0415

    volume = make_volume(np.random.default_rng(5), (24, 160, 160), MODALITY)
    return _made(volume.image, volume.labels, "procedural volume", "ZYX")


def made_time_volume() -> list[LayerData]:
    """Procedural nuclei in 12 slices over 6 time points, with exact labels."""
    from napari_hqsam2.synthetic import make_time_volume  # noqa: PLC0415

    volumes = make_time_volume(np.random.default_rng(6), (6, 12, 96, 96), MODALITY)
    return _made(volumes.images, volumes.labels, "procedural volume over time", "TZYX")


def _real(path: Path, name: str, axes: str, **options: Any) -> LayerData:
    data = tifffile.imread(path)
    low, high = (float(v) for v in np.percentile(data, (0.5, 99.8)))
    return (
        data,
        {
            "name": name,
            "axis_labels": tuple(axes),
            "contrast_limits": (low, high),
            **options,
        },
        "image",
    )


def _made(images: Any, labels: Any, name: str, axes: str) -> list[LayerData]:
    common = {"axis_labels": tuple(axes)}
    return [
        (images, {"name": name, **common}, "image"),
        (
            labels.astype(np.int32),
            {"name": f"{name} (truth)", "visible": False, **common},
            "labels",
        ),
    ]
