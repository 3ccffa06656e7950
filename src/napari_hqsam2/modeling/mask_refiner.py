"""Masks of objects, drawn anew from the pixels around them.

The mask decoder sees an image through features; a small network has few of them, and
its outlines are vague. A U-Net (Ronneberger et al. 2015) that looks at the pixels in a
window around an object, together with its mask and its prompts, learns from few images
where outlines run, since an object always fills about the same part of its window. So
focal clicks are refined by Chen et al. (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Conv2d
from napari_hqsam2.modeling.image_motion import LARGEST_LOGIT
from napari_hqsam2.ops.compose_labels import positive_boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.outputs import ModelPrompts

SIDE = 64
"""Cells along a side of a window."""
MARGIN, LEAST_MARGIN = 1.6, 1 / 32
"""A window reaches so many times as far from its middle as the object, and so much
farther, relative to half of the image."""
LARGEST_CONTRAST = 3.0
"""Pictures are limited to so many standard deviations of what a window shows."""
FLATNESS = 0.1
"""Least standard deviation, of a picture whose contrast is 1 everywhere."""
TRUST = 3.0
"""Logits of masks are limited to this: what is sure can be wrong."""
POINT_RADIUS = 2.5
"""Standard deviation, in cells, of what marks a point."""
NEAR_POINT = 0.02
"""What a window holds around a point on the object, relative to half of the image."""
GROUPS = 4
INPUTS = 6
POSITIVE, NEGATIVE, FIRST_CORNER = 1, 0, 2
"""Labels of points; the corners of a box are two in a row."""


class _Block(nn.Sequential):
    """Two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [
                Conv2d(width, outputs, kernel_size=3, padding=1),
                nn.GroupNorm(GROUPS, outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class MaskRefiner(nn.Module):
    """Refines masks by what is seen in windows around them.

    Parameters
    ----------
    channels : sequence of int
        Width on each level, the finest first; multiples of `GROUPS`.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        inputs = (INPUTS, *channels)
        self.down = nn.ModuleList(_Block(*pair) for pair in pairwise(inputs))
        self.up = nn.ModuleList(
            _Block(below + here, here) for here, below in pairwise(channels)
        )
        self.out = Conv2d(channels[0], 1, kernel_size=1)
        # a network that has learnt nothing leaves masks as they are
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, masks: Tensor, picture: Tensor, prompts: ModelPrompts) -> Tensor:
        """Refine M masks of each of N objects that points were put on or off.

        Parameters
        ----------
        masks : Tensor
            (N, M, h, w) logits of the whole image.
        picture : Tensor
            (1 or N, 1, P, P) image, from `image_motion.to_picture`.
        prompts : ModelPrompts
            What was said of the objects; only points and boxes count.

        Returns
        -------
        Tensor
            (N, M, h, w) logits, at least float32; as they were without a point, and
            outside of the windows.
        """
        candidates = masks.shape[1]
        low_res = masks.to(torch.promote_types(masks.dtype, torch.float32))
        low_res = low_res.flatten(0, 1)[:, None]
        said = Said.of(prompts, candidates)
        if said is None or not bool(said.has_points.any()):
            return low_res.view_as(masks)
        if len(picture) > 1:
            picture = picture.repeat_interleave(candidates, dim=0)
        with torch.autocast(low_res.device.type, enabled=False):
            windows = windows_around(low_res, said)
            seen = window_inputs(windows, low_res, picture, said)
        refined = mask_of(seen) + self.changes(seen)
        pasted = paste(refined, windows, low_res)
        has_points = said.has_points[:, None, None, None]
        return torch.where(has_points, pasted, low_res).view_as(masks)

    def changes(self, seen: Tensor) -> Tensor:
        """(N, 1, SIDE, SIDE) logits to be added to masks, from `window_inputs`."""
        levels = []
        level = seen.to(self.out.weight.dtype, memory_format=torch.channels_last)
        for number, block in enumerate(self.down):
            level = block(level if number == 0 else F.max_pool2d(level, 2))
            levels.append(level)
        level = levels.pop()
        for block in reversed(self.up):
            level = F.interpolate(level, scale_factor=2.0, mode="bilinear")
            level = block(torch.cat((level, levels.pop()), dim=1))
        changes: Tensor = self.out(level)
        return changes.to(seen.dtype) * LARGEST_LOGIT


@dataclass(frozen=True)
class Said:
    """Points and boxes of N objects, where the image reaches from -1 to 1."""

    points: Tensor
    """(N, P, 2) as (x, y)."""
    labels: Tensor
    """(N, P): 1 positive, 0 negative; others do not count."""
    boxes: Tensor
    """(N, 4) as (x, y, x, y), nan without a box."""

    @classmethod
    def of(cls, prompts: ModelPrompts, times: int = 1) -> Said | None:
        """Read the prompts of N objects, each so many times; None if there are none."""
        if prompts.coords_norm is None or prompts.labels is None:
            return None
        points = 2 * prompts.coords_norm.repeat_interleave(times, dim=0) - 1
        labels = prompts.labels.repeat_interleave(times, dim=0)
        corners = labels == FIRST_CORNER
        if labels.shape[1] == 1:
            return cls(points, labels, points.new_full((len(points), 4), torch.nan))
        first = corners.int().argmax(dim=1).clamp_max(labels.shape[1] - 2)
        row = torch.arange(len(points), device=first.device)
        boxes = torch.cat((points[row, first], points[row, first + 1]), dim=1)
        boxes = torch.where(corners.any(dim=1, keepdim=True), boxes, torch.nan)
        return cls(points, labels, boxes)

    @property
    def has_points(self) -> Tensor:
        """(N,) bool: whether there are points besides the corners of a box."""
        is_point = (self.labels == POSITIVE) | (self.labels == NEGATIVE)
        return is_point.any(dim=1)

    def extent(self) -> Tensor:
        """(N, 4) what windows are to hold: the box, or points on the object; or nan."""
        is_positive = (self.labels == POSITIVE)[..., None]
        low = torch.where(is_positive, self.points, torch.inf).amin(1) - NEAR_POINT
        high = torch.where(is_positive, self.points, -torch.inf).amax(1) + NEAR_POINT
        around = torch.cat((low, high), dim=1)
        around = torch.where(around.isinf(), torch.nan, around)
        return torch.where(self.boxes.isnan(), around, self.boxes)


def windows_around(low_res: Tensor, said: Said) -> Tensor:
    """Windows to refine N masks in.

    Parameters
    ----------
    low_res : Tensor
        (N, 1, h, w) logits, at least float32.
    said : Said
        What was said of the objects.

    Returns
    -------
    Tensor
        (N, 3) middle (x, y) and half side, where the image reaches from -1 to 1; in the
        middle of the image where there is neither a mask nor a point on an object.
    """
    height, width = low_res.shape[-2:]
    boxes = positive_boxes(low_res[:, 0])[:, [1, 0, 3, 2]].to(low_res)
    is_known = boxes[:, 2] > boxes[:, 0]
    extent = 2 * boxes / boxes.new_tensor([width, height, width, height]) - 1
    extent = torch.where(is_known[:, None], extent, torch.nan)
    other = said.extent()
    # of a number and what is none, fmin and fmax give the number
    low = torch.fmin(extent[:, :2], other[:, :2]).nan_to_num(0.0)
    high = torch.fmax(extent[:, 2:], other[:, 2:]).nan_to_num(0.0)
    half = (high - low).amax(dim=1, keepdim=True) / 2
    return torch.cat(((low + high) / 2, half * MARGIN + LEAST_MARGIN), dim=1)


def window_inputs(
    windows: Tensor, low_res: Tensor, picture: Tensor, said: Said
) -> Tensor:
    """What the network sees of N objects.

    Parameters
    ----------
    windows : Tensor
        (N, 3) from `windows_around`.
    low_res : Tensor
        (N, 1, h, w) logits, at least float32.
    picture : Tensor
        (1 or N, 1, P, P) image.
    said : Said
        What was said of the objects.

    Returns
    -------
    Tensor
        (N, INPUTS, SIDE, SIDE): the picture, the mask, points on the object, points off
        it, the box, and how large the window is.
    """
    shown = cut(picture.to(windows), windows, times=2)
    spread = shown.std((2, 3), keepdim=True) + FLATNESS
    shown = (shown - shown.mean((2, 3), keepdim=True)) / spread
    shown = shown.clamp(-LARGEST_CONTRAST, LARGEST_CONTRAST)
    mask = cut(low_res.clamp(-TRUST, TRUST), windows) / TRUST
    size = (torch.log2(4 * windows[:, 2]) / 3)[:, None, None, None].expand_as(shown)
    on, off = (_marked(said, windows, label) for label in (POSITIVE, NEGATIVE))
    box = _filled(said.boxes, windows)
    return torch.cat((shown, mask, on, off, box, size), dim=1)


def mask_of(seen: Tensor) -> Tensor:
    """(N, 1, SIDE, SIDE) mask logits of what `window_inputs` gives."""
    return seen[:, 1:2] * TRUST


def cut(values: Tensor, windows: Tensor, times: int = 1) -> Tensor:
    """Cut windows out of images.

    Parameters
    ----------
    values : Tensor
        (1 or N, 1, H, W); borders are continued.
    windows : Tensor
        (N, 3).
    times : int
        Places along a side of each cell that are averaged.

    Returns
    -------
    Tensor
        (N, 1, SIDE, SIDE).
    """
    x, y = _places(windows, SIDE * times)
    count, side = x.shape
    grid = torch.stack(
        (x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), dim=-1
    )
    found = F.grid_sample(
        values.expand(count, -1, -1, -1),
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return found if times == 1 else F.avg_pool2d(found, times)


def paste(refined: Tensor, windows: Tensor, low_res: Tensor) -> Tensor:
    """(N, 1, h, w) logits with what was refined in their windows."""
    height, width = low_res.shape[-2:]
    x, y = (
        (_centres(cells, windows) - windows[:, [axis]]) / windows[:, 2:]
        for axis, cells in enumerate((width, height))
    )
    count = len(windows)
    grid = torch.stack(
        (
            x[:, None].expand(count, height, width),
            y[:, :, None].expand(count, height, width),
        ),
        dim=-1,
    )
    found = F.grid_sample(
        refined.to(grid),
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    is_inside = (grid.abs() < 1 - 1 / SIDE).all(dim=-1)[:, None]
    return torch.where(is_inside, found.clamp(-LARGEST_LOGIT, LARGEST_LOGIT), low_res)


def _centres(count: int, like: Tensor) -> Tensor:
    """(count,) middles of cells that reach from -1 to 1."""
    at = torch.arange(count, dtype=like.dtype, device=like.device)
    return (2 * at + 1) / count - 1


def _places(windows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, count) x and y of the cells of windows."""
    at = _centres(count, windows)
    x, y = (windows[:, [axis]] + windows[:, 2:] * at for axis in (0, 1))
    return x, y


def _marked(said: Said, windows: Tensor, label: int) -> Tensor:
    """(N, 1, SIDE, SIDE) with spots where points of a label are."""
    x, y = _places(windows, SIDE)
    away = (
        (x[:, None] - said.points[..., :1])[:, :, None].square()
        + (y[:, None] - said.points[..., 1:])[..., None].square()
    ) / windows[:, 2].square()[:, None, None, None]
    spots = torch.exp(-away / (2 * (2 * POINT_RADIUS / SIDE) ** 2))
    is_meant = (said.labels == label)[..., None, None]
    return (spots * is_meant).amax(dim=1, keepdim=True)


def _filled(boxes: Tensor, windows: Tensor) -> Tensor:
    """(N, 1, SIDE, SIDE) with ones inside of boxes."""
    x, y = _places(windows, SIDE)
    in_columns = (x >= boxes[:, [0]]) & (x <= boxes[:, [2]])
    in_rows = (y >= boxes[:, [1]]) & (y <= boxes[:, [3]])
    return (in_rows[:, :, None] & in_columns[:, None]).to(windows)[:, None]
