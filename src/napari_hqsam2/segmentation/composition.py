"""From mask logits on the network's grid to masks on the pixels of one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from napari_hqsam2.modeling.image_motion import LARGEST_LOGIT
from napari_hqsam2.ops.compose_labels import (
    compose_labels,
    pixel_boxes,
    positive_boxes,
)
from napari_hqsam2.predictors.device_errors import no_numbers
from napari_hqsam2.segmentation.masks import ObjectMask, tight_window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_hqsam2._types import HW, AnyArray, BoolArray

Window: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; half-open."""

NOWHERE: Window = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """What the model says about an object, apart from its mask."""

    obj_id: int
    object_score: float
    """Logit that the object is in view: above 0 is yes. NaN if the model gave no
    numbers while it was followed."""
    iou_score: float
    """Predicted IoU of its mask."""

    def __post_init__(self) -> None:
        if math.isnan(self.iou_score):
            raise no_numbers(self.obj_id)


@dataclass(frozen=True, slots=True, eq=False)
class GridObjects:
    """N objects of one frame on the network's grid."""

    scores: tuple[ObjectScores, ...]
    """One for each object."""
    low_res: Tensor = field(repr=False)
    """(N, h, w) mask logits on the compute device."""
    boxes: Tensor
    """(N, 4) int32 on the host: cells with positive logits, see `positive_boxes`."""

    @classmethod
    def of(cls, scores: Sequence[ObjectScores], low_res: Tensor) -> GridObjects:
        """Objects with (N, h, w) logits; their boxes are looked for."""
        return cls(tuple(scores), low_res, positive_boxes(low_res).cpu())

    @property
    def grid(self) -> HW:
        """Height and width of the grid in cells."""
        height, width = self.low_res.shape[-2:]
        return height, width

    def only(self, keep: Sequence[bool]) -> GridObjects:
        """Those objects of which `keep` is true."""
        if all(keep):
            return self
        rows = [row for row, is_kept in enumerate(keep) if is_kept]
        scores = tuple(self.scores[row] for row in rows)
        return GridObjects(scores, self.low_res[rows], self.boxes[rows])


@dataclass(frozen=True, slots=True, eq=False)
class CroppedObjects:
    """`GridObjects` to be kept: of the logits, only what can become pixels.

    Nothing that bilinear interpolation can show is lost: every positive logit is kept
    with its neighbours.
    """

    scores: tuple[ObjectScores, ...]
    grid: HW
    boxes: Tensor
    """(N, 4) int32 on the host, as in `GridObjects`."""
    logits: Tensor = field(repr=False)
    """(K,) logits on the host: each box and the cells around it, row by row."""

    @classmethod
    def of(cls, objects: GridObjects) -> CroppedObjects:
        """Crop objects; the logits move to the host at once."""
        cells = _flat_cells(objects.boxes, objects.grid)
        logits = objects.low_res.flatten().take(cells.to(objects.low_res.device))
        return cls(objects.scores, objects.grid, objects.boxes, logits.cpu())

    def and_also(self, other: CroppedObjects) -> CroppedObjects:
        """Objects of both, which lie on the same frame."""
        return CroppedObjects(
            (*self.scores, *other.scores),
            self.grid,
            torch.cat((self.boxes, other.boxes)),
            torch.cat((self.logits, other.logits)),
        )

    def restored(self, device: torch.device) -> GridObjects:
        """Objects whose logits interpolate to the same pixels as before.

        Logits that were dropped were not above 0; the least that are mixed with others
        stand for them.
        """
        shape = (len(self.boxes), *self.grid)
        low_res = torch.full(
            shape, -LARGEST_LOGIT, dtype=self.logits.dtype, device=device
        )
        cells = _flat_cells(self.boxes, self.grid)
        low_res.view(-1)[cells.to(device)] = self.logits.to(device)
        return GridObjects(self.scores, low_res, self.boxes)


def compose_masks(
    objects: GridObjects, hw: HW, given: Mapping[int, BoolArray] | None = None
) -> tuple[ObjectMask, ...]:
    """Turn logits into masks that do not overlap.

    The work is done where the logits are and follows the sizes of the objects; one
    label image comes back. Where objects meet, the larger logit wins; equal ones go to
    the lower id.

    Parameters
    ----------
    objects
        All objects of the frame.
    hw
        Height and width of the frame in pixels.
    given
        (H, W) masks by object id that hold as they are: the user's own mask prompts.
        Where they overlap, the lower id wins.

    Returns
    -------
    tuple of ObjectMask
        Sorted by object id.
    """
    try:
        return _composed(objects, hw, given or {})
    except torch.OutOfMemoryError:
        # the processor gives the same pixels
        on_host = GridObjects(objects.scores, objects.low_res.cpu(), objects.boxes)
    return _composed(on_host, hw, given or {})


def _composed(
    objects: GridObjects, hw: HW, given: Mapping[int, BoolArray]
) -> tuple[ObjectMask, ...]:
    ids = [scores.obj_id for scores in objects.scores]
    # labels count the objects by their ids, so that they fit into a small type
    order = sorted(range(len(ids)), key=ids.__getitem__)
    labels = torch.zeros(
        hw, dtype=_label_dtype(len(ids)), device=objects.low_res.device
    )
    boxes = objects.boxes.clone()
    boxes[[obj_id in given for obj_id in ids]] = 0
    windows = _pixel_windows(boxes, objects.grid, hw)
    ranks = torch.empty(len(ids), dtype=torch.int64)
    for rank, row in enumerate(order, 1):
        ranks[row] = rank
        if ids[row] in given:
            windows[row] = _draw(given[ids[row]], rank, labels)
    nothing_old = torch.zeros_like(boxes)
    compose_labels(objects.low_res, ranks, boxes, labels, old_boxes=nothing_old)
    first, last = _rows(windows)
    image = labels[first:last].cpu().numpy()
    return tuple(
        _object_mask(objects.scores[row], image, first, windows[row], rank)
        for rank, row in enumerate(order, 1)
    )


def _pixel_windows(boxes: Tensor, grid: HW, hw: HW) -> list[Window]:
    return [
        (top, left, bottom, right) if top < bottom and left < right else NOWHERE
        for top, left, bottom, right in pixel_boxes(boxes, grid, hw).tolist()
    ]


def _flat_cells(boxes: Tensor, grid: HW) -> Tensor:
    """Indices into flattened (N, h, w) maps of the boxes and the cells around them."""
    height, width = grid
    top, left, bottom, right = boxes.long().unbind(1)
    is_empty = (bottom <= top) | (right <= left)
    top, left = (top - 1).clamp_min(0), (left - 1).clamp_min(0)
    columns = (right + 1).clamp_max(width) - left
    counts = ((bottom + 1).clamp_max(height) - top) * columns
    counts = counts.masked_fill(is_empty, 0)
    row = torch.repeat_interleave(counts)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    y, x = top[row] + place // columns[row], left[row] + place % columns[row]
    return (row * height + y) * width + x


def _label_dtype(count: int) -> torch.dtype:
    return torch.int16 if count <= torch.iinfo(torch.int16).max else torch.int32


def _draw(mask: BoolArray, label: int, labels: Tensor) -> Window:
    """Write a mask where no other one is; return the window of its pixels."""
    rows, columns = tight_window(mask)
    part = labels[rows, columns]
    pixels = torch.from_numpy(np.ascontiguousarray(mask[rows, columns]))
    part.masked_fill_(pixels.to(labels.device) & (part == 0), label)
    return rows.start, columns.start, rows.stop, columns.stop


def _rows(windows: Sequence[Window]) -> tuple[int, int]:
    """First and last + 1 row that any window holds."""
    held = [(top, bottom) for top, _, bottom, _ in windows if top < bottom]
    if not held:
        return 0, 0
    return min(top for top, _ in held), max(bottom for _, bottom in held)


def _object_mask(
    scores: ObjectScores, image: AnyArray, first: int, window: Window, label: int
) -> ObjectMask:
    """Pixels of a label within its window of an image that begins at row `first`."""
    top, left, bottom, right = window
    if top == bottom:
        rows, columns = slice(0, 0), slice(0, 0)
        mask = np.zeros((0, 0), dtype=np.bool_)
    else:
        mask = image[top - first : bottom - first, left:right] == label
        rows, columns = tight_window(mask)
        mask = mask[rows, columns].copy()
    return ObjectMask(
        obj_id=scores.obj_id,
        top=top + rows.start if mask.size else 0,
        left=left + columns.start if mask.size else 0,
        mask=mask,
        object_score=scores.object_score,
        iou_score=scores.iou_score,
    )
