"""Frames and prompts: drawn discs, packaged stacks, procedural microscopy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu

from napari_hqsam2.plugin.sample_data import TIMELAPSE, VOLUME
from napari_hqsam2.synthetic import make_clip

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2._types import HW

SEED = 20_240_729
MIDDLE = 10
"""Plane of the packaged volume with the largest nuclei."""
DISC_DIAMETER = 16
"""Pixels; one cell of the feature grid."""


@dataclass(frozen=True)
class Scene:
    """Frames, and N objects in the first of them."""

    name: str
    frames: npt.NDArray[np.uint8]
    """(T, H, W, 3)."""
    boxes: npt.NDArray[np.float32]
    """(N, 4) x0, y0, x1, y1 in pixels."""
    truth: npt.NDArray[np.int_] | None = None
    """(T, H, W) with label n + 1 for object n, where it is known."""

    @property
    def hw(self) -> HW:
        """Height and width of the frames."""
        return self.frames.shape[1:3]

    @property
    def centres(self) -> npt.NDArray[np.float32]:
        """(N, 2) x, y of the middle of each box."""
        return np.float32(0.5) * (self.boxes[:, :2] + self.boxes[:, 2:])

    def masks(self) -> npt.NDArray[np.bool_]:
        """(N, H, W) discs that fill the boxes."""
        y, x = np.ogrid[: self.hw[0], : self.hw[1]]
        radii = (self.boxes[:, 2] - self.boxes[:, 0]) / 2
        return np.stack(
            [
                (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
                for (cx, cy), radius in zip(self.centres, radii, strict=True)
            ]
        )


def grid_points(count: int, size: int) -> npt.NDArray[np.float32]:
    """(N, 2) points x, y, spread over a square of `size` pixels."""
    side = int(np.ceil(np.sqrt(count)))
    y, x = np.divmod(np.arange(count), side)
    step = size / side
    return (np.stack((x, y), axis=-1) * step + step / 2).astype(np.float32)


class DiscFrames:
    """A lazy stack of grey frames with bright discs that drift by turns.

    Parameters
    ----------
    count, frames, size : int
        Discs, frames, and side of a frame in pixels.
    diameter : int
        Of each disc, in pixels.
    """

    def __init__(
        self, count: int, frames: int, size: int, diameter: int = DISC_DIAMETER
    ) -> None:
        self._frames, self._size, self._radius = frames, size, diameter / 2
        self._start = grid_points(count, size)
        self._phase = np.random.default_rng(SEED).uniform(0, 2 * np.pi, count)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._frames

    @property
    def hw(self) -> HW:
        """Height and width of a frame."""
        return self._size, self._size

    def centres(self, index: int) -> npt.NDArray[np.float32]:
        """(N, 2) centres x, y on a frame."""
        turn = self._phase + index / 10
        circle = np.stack((np.cos(turn), np.sin(turn)), axis=-1)
        return (self._start + self._radius / 2 * circle).astype(np.float32)

    def boxes(self) -> npt.NDArray[np.float32]:
        """(N, 4) boxes x0, y0, x1, y1 on the first frame."""
        centres = self.centres(0)
        return np.concatenate((centres - self._radius, centres + self._radius), axis=-1)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """(H, W) frame."""
        rng = np.random.default_rng((SEED, index))
        noise = rng.integers(20, 40, self.hw, dtype=np.uint8)
        return noise + np.uint8(150) * (self.labels(index) > 0)

    def labels(self, index: int) -> npt.NDArray[np.int_]:
        """(H, W) with n + 1 in disc n of a frame."""
        labels = np.zeros(self.hw, int)
        reach = int(np.ceil(self._radius)) + 1
        for number, (x, y) in enumerate(self.centres(index), 1):
            top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
            window = labels[top : int(y) + reach + 1, left : int(x) + reach + 1]
            yy, xx = np.ogrid[: window.shape[0], : window.shape[1]]
            inside = (yy + top - y) ** 2 + (xx + left - x) ** 2 <= self._radius**2
            window[inside] = number
        return labels


def discs(count: int, frames: int, size: int, diameter: int = DISC_DIAMETER) -> Scene:
    """`DiscFrames` in memory."""
    source = DiscFrames(count, frames, size, diameter)
    grey = np.stack([source.read(index) for index in range(frames)])
    truth = np.stack([source.labels(index) for index in range(frames)])
    return Scene(f"{diameter} px discs", _as_rgb(grey), source.boxes(), truth)


def packaged(count: int, frames: int) -> list[Scene]:
    """The package's time-lapse and volume; objects are bright spots of one frame.

    The mosaic repeats the time-lapse, every other copy mirrored, so that nuclei are
    many and small.
    """
    time = tifffile.imread(TIMELAPSE)[:frames]
    depth = tifffile.imread(VOLUME)[MIDDLE : MIDDLE + frames]
    row = np.concatenate([time, time[:, :, ::-1]] * 2, axis=2)
    mosaic = np.concatenate([row, row[:, ::-1]] * 2, axis=1)
    stacks = {
        "nuclei over time": time,
        "nuclei in depth": depth,
        "4 x 4 nuclei over time": mosaic,
    }
    return [_bright_spots(name, stack, count) for name, stack in stacks.items()]


def _bright_spots(name: str, stack: npt.NDArray[np.uint16], count: int) -> Scene:
    low, high = np.percentile(stack, (0.5, 99.8))
    grey = (np.clip((stack - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    smooth = gaussian(grey[0].astype(float), 2)
    labels, _ = ndimage.label(smooth > threshold_otsu(smooth))
    return Scene(name, _as_rgb(grey), _boxes(labels, _largest(labels, count)))


def crowded(count: int, frames: int, size: int) -> Scene:
    """Procedural nuclei of a time-lapse, with boxes from the exact labels."""
    rng = np.random.default_rng(SEED)
    clip = make_clip(rng, frames, (size, size), "nuclei", sweep=False)
    chosen = _largest(clip.labels[0].astype(int), count)
    rows = np.zeros(clip.labels.max() + 1, int)
    rows[chosen] = np.arange(1, len(chosen) + 1)
    frames_rgb = clip.images if clip.images.ndim == 4 else _as_rgb(clip.images)
    boxes = _boxes(clip.labels[0].astype(int), chosen)
    return Scene("procedural nuclei", frames_rgb, boxes, rows[clip.labels])


def _largest(labels: npt.NDArray[np.int_], count: int) -> npt.NDArray[np.int_]:
    """Ids of the objects with the most pixels."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    chosen = np.argsort(-areas, kind="stable")[:count]
    return chosen[areas[chosen] > 0]


def _boxes(
    labels: npt.NDArray[np.int_], ids: npt.NDArray[np.int_]
) -> npt.NDArray[np.float32]:
    places = ndimage.find_objects(labels)
    found = [places[index - 1] for index in ids]
    return np.array(
        [(x.start, y.start, x.stop, y.stop) for y, x in found], dtype=np.float32
    )


def _as_rgb(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)
