"""A small video predictor with random weights, and a small video."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

SIZE = 64


@pytest.fixture(scope="session")
def predictor(make_untrained) -> SAM2VideoPredictor:
    """Follows objects as upstream does, by memory alone."""
    found = make_untrained(SIZE, fill_hole_area=0)
    return type(found)(found.model, replace(found.config, moved_share=0), found.hq)


@pytest.fixture(scope="session")
def video() -> npt.NDArray[np.uint8]:
    """(10, 48, 80, 3) drifting noise."""
    rng = np.random.default_rng(5)
    scene = rng.integers(0, 255, (48, 100, 3), dtype=np.uint8)
    return np.stack([scene[:, t : t + 80] for t in range(10)])
