"""Crops of a batch, packed as they were cut and made into pictures on the device.

Windows of images are small and mostly grey bytes; pictures of the size of the network
are large floats. So windows travel, and a device resizes, turns, moves and changes
them, all of a batch at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.training.augment import Changes
from napari_hqsam2.training.transfer import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from napari_hqsam2._types import AnyArray
    from napari_hqsam2.training.crops import Cut

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
CHANNELS = 3


def normalise(images: Tensor) -> Tensor:
    """Normalise (..., 3, H, W) images from 0 to 1 as the network wants them."""
    pairs = zip(images.unbind(-3), PIXEL_MEAN, PIXEL_STD, strict=True)
    return torch.stack([(plane - mean) / std for plane, mean, std in pairs], dim=-3)


@dataclass(frozen=True, eq=False)
class Packed:
    """Windows of B crops with F frames, of which N pictures are made."""

    pixels: Tensor
    """(P,) uint8 from 0 to 255, or float32 from 0 to 1: all frames one after the
    other, rows first, the channels of a pixel together."""
    labels: Tensor
    """(Q,) int16 or int32 in the same order."""
    places: npt.NDArray[np.int64]
    """(F, 5): first pixel, first label, height, width, channels."""
    changes: Changes
    """Of the F frames."""
    frame: npt.NDArray[np.int64]
    """(N,) frame that each picture shows."""
    sampling: npt.NDArray[np.float32]
    """(N, 2, 3) affine maps of (x, y) of the picture to those of the window, both from
    -1 to 1."""
    size: int
    """Side of the pictures in pixels."""
    top: int
    """Largest label."""
    seed: int
    """Of the noise."""

    @classmethod
    def of(
        cls, cuts: Sequence[Cut], seed: int, motions: Sequence[AnyArray | None] = ()
    ) -> Packed:
        """Pack the windows of some crops of the same size.

        Parameters
        ----------
        cuts : sequence of Cut
            The crops.
        seed : int
            Of the noise.
        motions : sequence of ndarray or None
            Of each crop, (T, 2, 3) affine maps of pictures to the crop, which shows
            its one frame T times. None, or no motions at all: each frame once.
        """
        images = [each for cut in cuts for each in cut.images]
        labels = [each for cut in cuts for each in cut.labels]
        top = max(int(each.max()) for each in labels)
        kind = np.int16 if top < 2**15 else np.int32
        shapes = [(*each.shape, 1)[:3] for each in images]
        frame, sampling = _pictures(cuts, motions or [None] * len(cuts))
        places = np.array([(0, 0, *shape) for shape in shapes], np.int64)
        areas = places[:, 2] * places[:, 3]
        places[1:, 0] = np.cumsum(areas * places[:, 4])[:-1]
        places[1:, 1] = np.cumsum(areas)[:-1]
        changes = [cut.change for cut in cuts for _ in cut.images]
        return cls(
            torch.from_numpy(np.concatenate([each.ravel() for each in _alike(images)])),
            torch.from_numpy(np.concatenate([e.ravel() for e in labels]).astype(kind)),
            places,
            Changes.of(changes),
            frame,
            sampling,
            cuts[0].size,
            top,
            seed,
        )

    def pin_memory(self) -> Packed:
        """Copy what is large to memory that a GPU can read."""
        pinned = self.pixels.pin_memory(), self.labels.pin_memory()
        return replace(self, pixels=pinned[0], labels=pinned[1])

    def developed(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Make the pictures.

        Returns
        -------
        images : Tensor
            (N, 3, S, S) float32 from 0 to 1.
        labels : Tensor
            (N, S, S) integers; 0 where a picture shows what lies outside its window.
        """
        places, frame = to_device(self.places, device), to_device(self.frame, device)
        grid, inside = _mirrored(to_device(self.sampling, device), self.size)
        place = places[frame][:, None, None]
        area = place[..., 2:4].flip(-1)
        at = (grid + 1) / 2 * area
        column, row = torch.minimum(at.long(), area - 1).unbind(-1)
        index = place[..., 1] + row * place[..., 3] + column
        labels = self.labels.to(device, non_blocking=True)[index]
        frames = self._frames(places, device)
        height, width = frames.shape[2:]
        x, y = torch.minimum((at - 0.5).clamp(min=0), area - 1).unbind(-1)
        at = torch.stack((x * 2 / max(width - 1, 1), y * 2 / max(height - 1, 1)), -1)
        images = F.grid_sample(
            frames[frame], at - 1, padding_mode="border", align_corners=True
        )
        return images, torch.where(inside, labels, 0)

    def _frames(self, places: Tensor, device: torch.device) -> Tensor:
        """(F, 3, H, W) frames with changed intensities, their borders repeated."""
        height, width = self.places[:, 2].max(), self.places[:, 3].max()
        first, _, heights, widths, channels = places[:, :, None].unbind(1)
        row = torch.arange(int(height), device=device).minimum(heights - 1)
        column = torch.arange(int(width), device=device).minimum(widths - 1)
        channel = torch.arange(CHANNELS, device=device).minimum(channels - 1)
        pixel = row[:, :, None] * widths[:, :, None] + column[:, None]
        index = first[:, :, None] + pixel * channels[:, :, None]
        index = index[:, None] + channel[:, :, None, None]
        frames = self.pixels.to(device, non_blocking=True)[index]
        if frames.dtype == torch.uint8:
            frames = frames / 255
        generator = torch.Generator(device).manual_seed(self.seed)
        return self.changes.made(frames, generator)


def _alike(images: Sequence[AnyArray]) -> Sequence[AnyArray]:
    """Bytes if all are bytes, else float32 from 0 to 1."""
    if all(each.dtype.kind != "f" for each in images):
        return [each.astype(np.uint8, copy=False) for each in images]
    return [
        each.astype(np.float32) if each.dtype.kind == "f" else each / np.float32(255)
        for each in images
    ]


def _pictures(
    cuts: Sequence[Cut], motions: Sequence[AnyArray | None]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Frame and sampling of each picture, as of `Packed`."""
    frames: list[int] = []
    maps: list[AnyArray] = []
    first = 0
    for cut, motion in zip(cuts, motions, strict=True):
        count = len(cut.images)
        if motion is None:
            frames += range(first, first + count)
            maps.append(cut.turn @ np.broadcast_to(np.eye(2, 3), (count, 2, 3)))
        else:
            frames += [first] * len(motion)
            maps.append(cut.turn @ motion)
        first += count
    return np.array(frames), np.concatenate(maps).astype(np.float32)


def _mirrored(sampling: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where (N, S, S, 2) pixels (x, y) of pictures look, -1 to 1, and whether inside.

    What lies outside of a window is its mirror image.
    """
    middle = (torch.arange(size, device=sampling.device) * 2 + 1) / size - 1
    x, y = middle[None, :, None], middle[:, None, None]
    along, down, shift = sampling[:, None, None].unbind(-1)
    grid = x * along + y * down + shift
    inside = (grid.abs() <= 1).all(-1)
    return 1 - ((grid + 1).remainder(4) - 2).abs(), inside
