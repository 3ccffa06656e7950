"""A scene that is ready to be filmed: cast, microscope and camera."""

from dataclasses import dataclass

import numpy as np

from napari_hqsam2._types import HW
from napari_hqsam2.synthetic.arrays import F32Array, I32Array
from napari_hqsam2.synthetic.canvas import Canvas, paint_actor
from napari_hqsam2.synthetic.cast import Cast, draw_cast
from napari_hqsam2.synthetic.looks import Look, Setting, Stage
from napari_hqsam2.synthetic.noise import BLANK, texture_tile
from napari_hqsam2.synthetic.optics import Camera, draw_camera
from napari_hqsam2.synthetic.recipes import SceneRecipe
from napari_hqsam2.synthetic.style import MotionStyle
from napari_hqsam2.synthetic.tissue import Partition, moving_texture, partition

MIN_PIXELS = 12
_LARGEST_SHARE = 0.6


@dataclass(frozen=True)
class World:
    """One scene over T frames."""

    size: HW
    cast: Cast
    look: Look
    camera: Camera
    tile: F32Array
    cell_tile: F32Array
    style: MotionStyle

    def film(self, rng: np.random.Generator, frame: int) -> tuple[F32Array, I32Array]:
        """Record one frame.

        Returns
        -------
        levels : (H, W) or (H, W, 3) float32
            Camera levels in [0, 255].
        owner : (H, W) int32
            1 + index of the labelled object in each pixel, 0 elsewhere.
        """
        ideal, owner = self.show(frame)
        return self.camera.expose(rng, ideal, frame), drop_remnants(owner)

    def show(self, frame: int) -> tuple[F32Array, I32Array]:
        """Give the ideal picture of a frame, before the camera, and its owners."""
        shift = self.style.stage_at(frame)
        cells = self._cells(frame, shift)
        canvas = Canvas(self.size)
        for index, actor in enumerate(self.cast.actors):
            paint_actor(canvas, actor, index, frame, self.look.paint, self.tile)
        if cells is not None and self.cast.hosts:
            _keep_inside(canvas, cells, np.array(self.cast.hosts, np.int32))
        ideal = self.look.develop(self._stage(canvas, cells, frame, shift))
        if cells is not None and self.cast.labels_tissue:
            return ideal, cells.owner
        return ideal, canvas.owner

    def _cells(self, frame: int, shift: tuple[float, float]) -> Partition | None:
        if self.cast.tissue is None:
            return None
        return partition(self.cast.tissue, frame, self.size, shift)

    def _stage(
        self,
        canvas: Canvas,
        cells: Partition | None,
        frame: int,
        shift: tuple[float, float],
    ) -> Stage:
        tissue = self.cast.tissue
        if cells is None or tissue is None:
            return Stage(canvas, None, np.ones(1, np.float32), None, shift)
        texture = moving_texture(
            tissue, cells, frame, self.cell_tile, self.look.paint.zoom
        )
        tone = tissue.brightness.astype(np.float32)
        return Stage(canvas, cells, tone, texture, shift)


def build_world(
    rng: np.random.Generator,
    recipe: SceneRecipe,
    size: HW,
    style: MotionStyle,
    diameter: float,
) -> World:
    """Draw a scene of objects of about this diameter that move in this style."""
    pad = int(style.stage_reach) + 3 if style.stage is not None else 0
    look = recipe.draw_look(rng, Setting(size, diameter, pad))
    cast = draw_cast(rng, recipe, size, diameter, style)
    textured = bool(cast.actors) and look.paint.texture > 0
    return World(
        size=size,
        cast=cast,
        look=look,
        camera=draw_camera(rng, size, style, recipe.sharpness, recipe.dim),
        tile=texture_tile(rng, look.paint.kind) if textured else BLANK,
        cell_tile=texture_tile(rng, look.paint.cell_kind) if cast.tissue else BLANK,
        style=style,
    )


def draw_diameter(rng: np.random.Generator, recipe: SceneRecipe, size: HW) -> float:
    """Typical diameter of a scene's objects, never more than fits the view."""
    low, high = recipe.diameter
    high = max(min(high, _LARGEST_SHARE * min(size)), 6.0)
    low = min(low, high)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def drop_remnants(owner: I32Array, least: int = MIN_PIXELS) -> I32Array:
    """Erase objects of fewer than ``least`` pixels: too little to be worth a label."""
    counts = np.bincount(owner.ravel())
    counts[0] = least
    if (counts >= least).all():
        return owner
    return np.where(counts[owner] >= least, owner, 0).astype(np.int32)


def _keep_inside(canvas: Canvas, cells: Partition, hosts: I32Array) -> None:
    """Erase what sticks out of the cell that it belongs to."""
    host_of = np.concatenate([np.array([-1], np.int32), hosts])[canvas.owner]
    out = (host_of != cells.cell) | (cells.depth < np.float32(1.5))
    canvas.owner[out] = 0
    canvas.depth[out] = -1
    canvas.light[out] = 0
    canvas.thick[out] = 0
