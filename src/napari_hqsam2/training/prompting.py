"""First prompts of the objects of a crop, in the crop's own coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_hqsam2.evaluation.clicks import interior_point
from napari_hqsam2.training.crops import MAX_SHARE, MIN_AREA
from napari_hqsam2.training.prompts import jitter_box, random_point

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import AnyArray, FloatArray
    from napari_hqsam2.training.crops import Cut

BOX_NOISE = 0.06
"""Standard deviation of box edges, as a share of the box sides."""


@dataclass(frozen=True, eq=False)
class Target:
    """One object of a crop that can be prompted."""

    value: int
    """Its label on the cut."""
    window: tuple[slice, slice]
    """Rows and columns of a box around it on the cut's first frame."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """First prompts of N objects of some crops."""

    crop: npt.NDArray[np.int64]
    """(N,) index of the crop each object lies on."""
    values: npt.NDArray[np.int32]
    """(N,) label of each object on its crop."""
    clicks: npt.NDArray[np.float32]
    """(N, 1, 2) click as (x, y), 0 to 1."""
    boxes: npt.NDArray[np.float32]
    """(N, 2, 2) box corners as (x, y), 0 to 1, centres of the extreme pixels."""


def targets_of(cut: Cut) -> list[Target]:
    """Objects of a cut's first frame that are neither too small nor too large."""
    labels = cut.labels[0]
    share = np.bincount(labels.ravel()) / labels.size
    fits = (share * cut.size**2 >= MIN_AREA) & (share <= MAX_SHARE)
    fits[0] = False
    windows = ndimage.find_objects(labels)
    return [Target(int(v), windows[v - 1]) for v in np.flatnonzero(fits)]


def choose(
    targets: Sequence[Target], count: int, rng: np.random.Generator
) -> list[Target]:
    """Draw `count` targets, each of them equally often."""
    order = rng.permutation(np.resize(rng.permutation(len(targets)), count))
    return [targets[index] for index in order]


def prompt_objects(
    cuts: Sequence[Cut], chosen: Sequence[Sequence[Target]], rng: np.random.Generator
) -> Prompts:
    """Simulate a click, central or anywhere inside, and a box, exact or not.

    Parameters
    ----------
    cuts : sequence of Cut
        The crops.
    chosen : sequence of sequences of Target
        Objects to prompt on each of them.
    rng : numpy.random.Generator
        Decides.
    """
    clicks, boxes = [], []
    for cut, targets in zip(cuts, chosen, strict=True):
        for target in targets:
            clicks.append(_turned(_click(cut, target, rng), cut))
            corners = _turned(_box(cut, target, rng), cut)
            boxes.append(np.sort(corners, axis=0))
    return Prompts(
        crop=np.repeat(np.arange(len(cuts)), [len(targets) for targets in chosen]),
        values=np.array([t.value for targets in chosen for t in targets], np.int32),
        clicks=np.array(clicks, np.float32),
        boxes=np.array(boxes, np.float32),
    )


def _shown(start: int, stop: int, length: int, size: int) -> tuple[int, int]:
    """First and last of `size` pixels that show `start` to `stop` of `length`."""
    edges = (start * size / length, stop * size / length)
    return math.ceil(edges[0] - 0.5), math.ceil(edges[1] - 0.5) - 1


def _click(cut: Cut, target: Target, rng: np.random.Generator) -> FloatArray:
    """(1, 2) pixel (x, y) of the crop, before it is turned."""
    part = cut.labels[0][target.window] == target.value
    is_central = rng.random() < 0.5
    place = interior_point(part) if is_central else random_point(part, rng)
    pixels = []
    for axis in (1, 0):
        at = place[axis] + target.window[axis].start
        first, last = _shown(at, at + 1, cut.labels.shape[1 + axis], cut.size)
        middle = (first + last) // 2
        pixels.append(middle if is_central else rng.integers(first, last + 1))
    return np.array([pixels], np.float64)


def _box(cut: Cut, target: Target, rng: np.random.Generator) -> FloatArray:
    """(2, 2) corners (x, y) in pixels of the crop, before it is turned."""
    rows, columns = target.window
    height, width = cut.labels.shape[1:]
    x = _shown(columns.start, columns.stop, width, cut.size)
    y = _shown(rows.start, rows.stop, height, cut.size)
    box = np.array([x[0], y[0], x[1], y[1]], np.float64)
    if rng.random() < 0.6:
        box = jitter_box(box, rng, cut.size, noise=BOX_NOISE)
    return box.reshape(2, 2)


def _turned(points: FloatArray, cut: Cut) -> AnyArray:
    """Points (x, y), 0 to 1, of a crop from pixels of what is not yet turned."""
    middle = (points + 0.5) / cut.size - 0.5
    turned: AnyArray = middle @ cut.turn + 0.5
    return turned
