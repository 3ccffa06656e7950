"""What every way of seeing has in common: what it is given and what it returns."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array
from napari_hqsam2.synthetic.canvas import Canvas, Paint
from napari_hqsam2.synthetic.tissue import Partition


@dataclass(frozen=True)
class Setting:
    """What a look may adapt to: view (H, W), typical diameter, margin of backdrops.

    ``pad`` is the number of pixels by which backdrops must exceed the view.
    """

    size: HW
    diameter: float
    pad: int

    @property
    def grown(self) -> HW:
        """Size of backdrops."""
        return self.size[0] + 2 * self.pad, self.size[1] + 2 * self.pad


@dataclass(frozen=True)
class Stage:
    """One frame before optics.

    Attributes
    ----------
    canvas : Canvas
        Drawn objects.
    partition : Partition or None
        Cells that fill the plane, if the scene has them.
    tone : (N,) float32
        Relative brightness of those cells.
    tissue_texture : (H, W) float32 or None
        Texture that moves with those cells.
    shift : (y, x)
        Where the stage has moved to, in pixels.
    """

    canvas: Canvas
    partition: Partition | None
    tone: F32Array
    tissue_texture: F32Array | None
    shift: tuple[float, float]

    def cells(self) -> tuple[Partition, F32Array, F32Array]:
        """Partition, brightness and texture of the cells, each (H, W)."""
        if self.partition is None or self.tissue_texture is None:
            msg = "this look needs a recipe with layout 'tissue', got one without cells"
            raise ValueError(msg)
        return self.partition, self.tone[self.partition.cell], self.tissue_texture


class Look(Protocol):
    """A way of seeing: phase contrast, fluorescence, ..."""

    @property
    def paint(self) -> Paint:
        """How objects are filled on the canvas."""
        ...

    def develop(self, stage: Stage) -> F32Array:
        """Ideal picture of a frame, (H, W) or (H, W, 3), about within [0, 1]."""
        ...


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is evenly distributed."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, share: float) -> bool:
    """Draw true in this share of the cases."""
    return bool(rng.random() < share)
