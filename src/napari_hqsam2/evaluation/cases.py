"""The picture of best and worst cases: truth and mask outlined around the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from napari_hqsam2.outlines import TILE_PIXELS, Tile, draw_outlines, write_outlines
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.segmentation.masks import tight_window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_hqsam2._types import AnyArray, BoolArray, LabelArray
    from napari_hqsam2.predictors.intensity import IntensityLimits

CASES_NAME = "cases.png"
SHOWN = 5
"""Best, and worst, cases of a kind."""
MARGIN = 0.35
"""Surroundings that are shown, as a share of the longer side of the object."""
LEAST_SIDE = 24
TRUTH_ID, GUESS_ID = 4, 8
"""Ids whose colours outline the truth (light blue) and the mask (orange)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One object, as it is and as it was found."""

    title: str
    image: AnyArray
    """(H, W) or (H, W, C)."""
    limits: IntensityLimits
    truth: BoolArray
    """(H, W)."""
    guess: BoolArray


def extremes(items: Sequence[T], score: Callable[[T], float]) -> list[T]:
    """The worst items, then the best that are not among them, worst first."""
    ordered = sorted(items, key=score)
    worst = ordered[:SHOWN]
    return worst + ordered[len(worst) :][-SHOWN:]


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """Draw cases side by side; nothing is written if there are none."""
    if cases:
        write_outlines(path, [_tile(case) for case in cases])


def _tile(case: Case) -> Tile:
    rows, columns = _window(case.truth | case.guess)
    rgb = np.round(255 * to_unit_rgb(case.image[rows, columns], case.limits))
    scale = TILE_PIXELS / max(rgb.shape)
    size = max(round(rgb.shape[1] * scale), 1), max(round(rgb.shape[0] * scale), 1)
    large = Image.fromarray(rgb.astype(np.uint8)).resize(
        size, Image.Resampling.BILINEAR
    )
    truth, guess = (
        _enlarged(mask[rows, columns], size) for mask in (case.truth, case.guess)
    )
    shown = draw_outlines(np.asarray(large), TRUTH_ID * truth)
    return Tile(case.title, shown, GUESS_ID * guess)


def _enlarged(mask: BoolArray, size: tuple[int, int]) -> LabelArray:
    picture = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST)).astype(np.int32)


def _window(mask: BoolArray) -> tuple[slice, slice]:
    """A square around the object as far as the image goes."""
    height, width = mask.shape
    rows, columns = tight_window(mask)
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    side = max(round(longest * (1 + 2 * MARGIN)), LEAST_SIDE)
    return _around(rows, side, height), _around(columns, side, width)


def _around(held: slice, side: int, length: int) -> slice:
    side = min(side, length)
    start = (held.start + held.stop - side) // 2
    start = min(max(start, 0), length - side)
    return slice(start, start + side)
