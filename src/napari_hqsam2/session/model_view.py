"""The picture that the model is given of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_hqsam2.predictors.frame_source import read_seen
from napari_hqsam2.predictors.transforms import from_model_image, to_video_image

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.segmentation.crops import Crop


@dataclass(frozen=True, slots=True, eq=False)
class ModelView:
    """What the model sees of a frame."""

    picture: npt.NDArray[np.uint8]
    """(S, S, 3) red, green and blue, after contrast, channels and resizing."""
    crop: Crop
    """Part of the frame that the picture shows."""

    @classmethod
    def of(
        cls,
        source: FrameSource,
        frame: int,
        limits: IntensityLimits,
        crop: Crop,
        side: int,
    ) -> ModelView:
        """Make the picture as the model's own input is made.

        Parameters
        ----------
        source, frame
            Frames, and which of them.
        limits
            Intensities that become black and white.
        crop
            Part of the frame.
        side
            S, side of the model's square input in pixels.
        """
        seen = read_seen(source, frame, crop.window, side)
        image = to_video_image(seen, limits, side, torch.device("cpu"))
        pixels: npt.NDArray[Any] = (255 * from_model_image(image)).round().numpy()
        return cls(pixels.astype(np.uint8), crop)
