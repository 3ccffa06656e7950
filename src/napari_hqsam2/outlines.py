"""A picture of a result: frames side by side, objects outlined in colour."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from napari_hqsam2.errors import StackError
from napari_hqsam2.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_hqsam2._types import HW, LabelArray

TILE_PIXELS = 320
"""Longest side of a frame in the picture."""
GAP = 6
TITLE_HEIGHT = 20
BACKGROUND = (24, 24, 24)
TITLE_COLOUR = (235, 235, 235)
GOLDEN_ANGLE = 0.381966
"""Fraction of the colour circle between one id and the next: neighbours differ most."""

RgbImage = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One frame of the picture."""

    title: str
    rgb: RgbImage
    """(H, W, 3) uint8 as the model saw it."""
    labels: LabelArray
    """(H, W) labels whose outlines are drawn."""


def object_colour(obj_id: int) -> tuple[int, int, int]:
    """Bright colour of an object id; the same for the same id in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(obj_id * GOLDEN_ANGLE % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_outlines(rgb: RgbImage, labels: LabelArray) -> RgbImage:
    """Copy of an (H, W, 3) image with the outlines of (H, W) labels in colour."""
    drawn = rgb.copy()
    outline = find_boundaries(labels, mode="inner")
    for obj_id in np.unique(labels[outline]):
        drawn[outline & (labels == obj_id)] = object_colour(int(obj_id))
    return drawn


def write_outlines(path: str | Path, tiles: Sequence[Tile]) -> None:
    """Write frames with outlines as one picture, in as square a grid as fits.

    Parameters
    ----------
    path
        ``.png`` or any other format that Pillow writes; replaced if it exists.
    tiles
        Frames in reading order, at least one.

    Raises
    ------
    StackError
        No tiles, or a file name whose format Pillow does not know.
    """
    if not tiles:
        msg = "There is no frame to draw; a picture needs at least one."
        raise StackError(msg)
    images = [_draw_tile(tile) for tile in tiles]
    width = max(image.width for image in images)
    height = max(image.height for image in images)
    columns = math.ceil(math.sqrt(len(images) * height / width))
    columns = min(max(columns, 1), len(images))
    rows = math.ceil(len(images) / columns)
    size = (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(image, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    with atomic_path(path) as temporary:
        try:
            sheet.save(temporary)
        except ValueError as error:
            msg = f"Cannot write a picture called {path}: {error}; name it .png."
            raise StackError(msg) from error


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, evenly spread, with both ends."""
    if count <= most:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, most).round()]


def _draw_tile(tile: Tile) -> Image.Image:
    height, width = _tile_size(tile.labels.shape[:2])
    rgb = Image.fromarray(tile.rgb).resize((width, height), Image.Resampling.BILINEAR)
    labels = _nearest(tile.labels, (height, width))
    drawn = Image.fromarray(draw_outlines(np.asarray(rgb), labels))
    image = Image.new("RGB", (width, height + TITLE_HEIGHT), BACKGROUND)
    image.paste(drawn, (0, TITLE_HEIGHT))
    ImageDraw.Draw(image).text(
        (2, 2), tile.title, fill=TITLE_COLOUR, font=ImageFont.load_default(size=13)
    )
    return image


def _tile_size(hw: tuple[int, ...]) -> HW:
    height, width = hw
    scale = TILE_PIXELS / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _nearest(labels: LabelArray, hw: HW) -> npt.NDArray[np.integer[Any]]:
    rows = (np.arange(hw[0]) * labels.shape[0]) // hw[0]
    columns = (np.arange(hw[1]) * labels.shape[1]) // hw[1]
    return labels[np.ix_(rows, columns)]
