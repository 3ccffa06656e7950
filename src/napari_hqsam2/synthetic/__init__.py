"""Procedural microscopy: pictures, clips and volumes with exact instance labels."""

from napari_hqsam2.synthetic.motion import Clip, make_clip
from napari_hqsam2.synthetic.recipes import MODALITIES, SceneRecipe
from napari_hqsam2.synthetic.scenes import Scene, make_image
from napari_hqsam2.synthetic.volumes import (
    VOLUME_MODALITIES,
    TimeVolume,
    Volume,
    make_time_volume,
    make_volume,
)

__all__ = [
    "MODALITIES",
    "VOLUME_MODALITIES",
    "Clip",
    "Scene",
    "SceneRecipe",
    "TimeVolume",
    "Volume",
    "make_clip",
    "make_image",
    "make_time_volume",
    "make_volume",
]
