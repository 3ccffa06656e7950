"""Labels from overlapping low-resolution logits, at a cost that follows the objects."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_hqsam2.ops._backend import KernelModule, load_kernels
from napari_hqsam2.ops._bilinear import axis_taps, interpolate_window
from napari_hqsam2.ops._driver import ELEMENT_TYPES, grid_size
from napari_hqsam2.ops._library import define_operator

Box = tuple[int, int, int, int]
"""Top, left, bottom, right; half-open."""

SIGNED = {
    torch.uint8: torch.int8,
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
}
"""torch computes with the signed integers; equality does not see the difference."""

WINDOW_THREADS = 1 << 14
"""Threads that share an object's window; larger windows take them in turns."""


def positive_boxes(low_res: Tensor) -> Tensor:
    """Tight boxes of the cells with a positive logit.

    Parameters
    ----------
    low_res : Tensor
        (N, h, w) logits.

    Returns
    -------
    Tensor
        (N, 4) int32 top, left, bottom, right in cells, half-open; zeros where no logit
        is positive. What is not a number counts as positive.
    """
    _check_logits(low_res)
    return torch.ops.hqsam2.positive_boxes(low_res)


def pixel_boxes(boxes: Tensor, grid: tuple[int, int], hw: tuple[int, int]) -> Tensor:
    """Boxes of the pixels that boxes of cells can reach by bilinear interpolation.

    Parameters
    ----------
    boxes : Tensor
        (N, 4) top, left, bottom, right in cells, half-open; cells outside the grid do
        not count.
    grid, hw : tuple of int
        Height and width in cells and in pixels.

    Returns
    -------
    Tensor
        (N, 4) int64 in pixels; bottom <= top or right <= left where there are none.
    """
    cells = boxes.new_tensor((*grid, *grid), dtype=torch.int64)
    pixels = boxes.new_tensor((*hw, *hw), dtype=torch.int64)
    clipped = boxes.long().clamp_min(0).minimum(cells)
    is_empty = (clipped[:, :2] >= clipped[:, 2:]).any(dim=1, keepdim=True)
    # pixel i lies at ((2 i + 1) cells - pixels) / (2 pixels); one more on each side,
    # since float32 rounds that position
    start = (pixels * (2 * clipped - 1) - cells).div(2 * cells, rounding_mode="floor")
    stop = (cells - pixels * (2 * clipped + 1)).div(2 * cells, rounding_mode="floor")
    reach = torch.cat((start[:, :2], 1 - stop[:, 2:]), dim=1)
    return reach.clamp_min(0).minimum(pixels).masked_fill(is_empty, 0)


def compose_labels(
    low_res: Tensor,
    ids: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    old_boxes: Tensor | None = None,
) -> None:
    """Write N objects into a label image, in place.

    First the pixels that carry one of `ids` become 0. Then each pixel that is 0 takes
    the id with the largest bilinear logit (``align_corners=False``), if that is above
    0; of equal ones the lowest id. Pixels with any other label stay as they are.

    Parameters
    ----------
    low_res : Tensor
        (N, h, w) float32, float16 or bfloat16 logits.
    ids : Tensor
        (N,) integers above 0 that the dtype of `labels` can hold. On the host there is
        nothing to wait for; ids on a CUDA device are read back to check them.
    boxes : Tensor
        (N, 4) top, left, bottom, right in cells, half-open: where the logits may be
        positive, see `positive_boxes`. Only pixels that these cells can reach
        (`pixel_boxes`) are written; an empty box writes nothing.
    labels : Tensor
        (H, W) of any integer dtype and any strides.
    old_boxes : Tensor, optional
        (N, 4) in pixels of `labels`, half-open: all pixels that object n has now lie in
        box n. Only there they are looked for; without boxes, everywhere. What an
        earlier call wrote lies within `pixel_boxes` of its boxes.
    """
    _check_logits(low_res)
    _check_labels(low_res, ids, boxes, labels, old_boxes)
    device = low_res.device
    torch.ops.hqsam2.compose_labels(
        low_res,
        ids.to(device, torch.int64),
        boxes.to(device, torch.int32),
        None if old_boxes is None else old_boxes.to(device, torch.int32),
        labels.view(SIGNED.get(labels.dtype, labels.dtype)),
    )


def _check_logits(low_res: Tensor) -> None:
    is_grid = low_res.ndim == 3 and 0 not in low_res.shape[1:]
    if not is_grid or not low_res.is_floating_point():
        msg = f"Expected (N, h, w) logits, got {low_res.dtype} {tuple(low_res.shape)}."
        raise ValueError(msg)


def _check_labels(
    low_res: Tensor, ids: Tensor, boxes: Tensor, labels: Tensor, old: Tensor | None
) -> None:
    count = len(low_res)
    if labels.ndim != 2 or labels.is_floating_point() or labels.is_complex():
        msg = f"Expected (H, W) integers, got {labels.dtype} {tuple(labels.shape)}."
        raise ValueError(msg)
    if labels.device != low_res.device:
        msg = f"Labels on {labels.device} need logits there, not on {low_res.device}."
        raise ValueError(msg)
    if ids.shape != (count,) or boxes.shape != (count, 4):
        msg = (
            f"{count} objects need {count} ids and ({count}, 4) boxes, "
            f"got {tuple(ids.shape)} and {tuple(boxes.shape)}."
        )
        raise ValueError(msg)
    if old is not None and old.shape != (count, 4):
        msg = f"{count} objects need ({count}, 4) old boxes, got {tuple(old.shape)}."
        raise ValueError(msg)
    limit = torch.iinfo(labels.dtype).max
    if count and not 0 < int(ids.min()) <= int(ids.max()) <= limit:
        msg = f"Ids must be from 1 to {limit} for {labels.dtype} labels, got {ids}."
        raise ValueError(msg)


def _boxes(low_res: Tensor) -> Tensor:
    """Twin of the kernel: `positive_boxes` by reductions."""
    # largest values take a third of the time of comparing first
    sides = [_span(~(low_res.amax(dim=axis) <= 0)) for axis in (2, 1)]
    starts, stops = zip(*sides, strict=True)
    return torch.stack((*starts, *stops), dim=1).int()


def _span(hit: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 index of (N, S) flags; 0 and 0 where there are none."""
    size = hit.shape[1]
    index = torch.arange(size, device=hit.device)
    stop = (hit * (index + 1)).amax(dim=1)
    start = size - (hit * (size - index)).amax(dim=1)
    return start.where(stop > 0, 0), stop


def _compose(
    low_res: Tensor,
    ids: Tensor,
    boxes: Tensor,
    old_boxes: Tensor | None,
    labels: Tensor,
) -> None:
    """Twin of the kernels: `compose_labels` object by object, on the host."""
    if labels.device.type != "cpu":
        host = labels.cpu()
        old_boxes = None if old_boxes is None else old_boxes.cpu()
        _compose(low_res.cpu(), ids.cpu(), boxes.cpu(), old_boxes, host)
        labels.copy_(host)
        return
    _clear(ids, old_boxes, labels)
    windows = _inside(pixel_boxes(boxes, _hw(low_res), _hw(labels)), labels)
    if windows:
        _paint(low_res, ids, windows, labels)


def _hw(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


def _inside(boxes: Tensor, labels: Tensor) -> list[tuple[int, Box]]:
    """Index and box of those that hold pixels, clipped to the image."""
    sizes = boxes.new_tensor((*labels.shape, *labels.shape))
    clipped = boxes.clamp_min(0).minimum(sizes).tolist()
    return [
        (index, (top, left, bottom, right))
        for index, (top, left, bottom, right) in enumerate(clipped)
        if top < bottom and left < right
    ]


def _clear(ids: Tensor, old_boxes: Tensor | None, labels: Tensor) -> None:
    values = ids.to(labels.dtype)
    if old_boxes is None:
        _clear_everywhere(values, labels)
        return
    numbers = values.tolist()
    for index, (top, left, bottom, right) in _inside(old_boxes, labels):
        part = labels[top:bottom, left:right]
        part.masked_fill_(part == numbers[index], 0)


def _clear_everywhere(values: Tensor, labels: Tensor) -> None:
    if len(values) == 1:
        labels.masked_fill_(labels == values, 0)
        return
    row, column = labels.nonzero(as_tuple=True)
    is_old = torch.isin(labels[row, column], values)
    labels[row[is_old], column[is_old]] = 0


def _paint(
    low_res: Tensor, ids: Tensor, windows: list[tuple[int, Box]], labels: Tensor
) -> None:
    """Let the objects compete in ascending order of their ids."""
    order, values = ids.tolist(), ids.to(labels.dtype).tolist()
    windows.sort(key=lambda item: order[item[0]])
    scores = _free_pixels([box for _, box in windows], labels)
    rows = axis_taps(low_res.shape[1], labels.shape[0])
    columns = axis_taps(low_res.shape[2], labels.shape[1])
    for (index, (top, left, bottom, right)), score in zip(windows, scores, strict=True):
        logit = interpolate_window(
            low_res[index], rows.window(top, bottom), columns.window(left, right)
        )
        wins = logit > score
        torch.where(wins, logit, score, out=score)
        labels[top:bottom, left:right].masked_fill_(wins, values[index])


def _free_pixels(boxes: list[Box], labels: Tensor) -> list[Tensor]:
    """Logit to beat in each box: 0 where the label is 0, else out of reach.

    The boxes share one map, so that objects see what others have reached; it spans all
    boxes and is written only inside them.
    """
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    y0, x0 = min(tops), min(lefts)
    best = torch.empty((max(bottoms) - y0, max(rights) - x0), dtype=torch.float32)
    scores = []
    for top, left, bottom, right in boxes:
        score = best[top - y0 : bottom - y0, left - x0 : right - x0]
        score.zero_().masked_fill_(labels[top:bottom, left:right] != 0, math.inf)
        scores.append(score)
    return scores


def _boxes_cuda(low_res: Tensor) -> Tensor:
    kernels = None
    if low_res.dtype in ELEMENT_TYPES:
        kernels = load_kernels("compose_labels", low_res.device)
    return _boxes(low_res) if kernels is None else boxes_by_kernel(kernels, low_res)


def boxes_by_kernel(kernels: KernelModule, low_res: Tensor) -> Tensor:
    """`positive_boxes` with a kernel of ``compose_labels.cu``."""
    low_res = low_res.contiguous()
    count, height, width = low_res.shape
    boxes = low_res.new_zeros((count, 4), dtype=torch.int32)
    boxes[:, 0], boxes[:, 1] = height, width
    kernels.launch(
        "grow_boxes",
        grid_size(height * width, count),
        low_res,
        ELEMENT_TYPES[low_res.dtype],
        boxes,
        count,
        height,
        width,
    )
    return boxes.where(boxes[:, 2:3] > 0, 0)


def _compose_cuda(
    low_res: Tensor,
    ids: Tensor,
    boxes: Tensor,
    old_boxes: Tensor | None,
    labels: Tensor,
) -> None:
    kernels = load_kernels("compose_labels", low_res.device)
    if kernels is None:
        _compose(low_res, ids, boxes, old_boxes, labels)
    else:
        compose_by_kernels(kernels, low_res, ids, boxes, old_boxes, labels)


def compose_by_kernels(
    kernels: KernelModule,
    low_res: Tensor,
    ids: Tensor,
    boxes: Tensor,
    old_boxes: Tensor | None,
    labels: Tensor,
) -> None:
    """`compose_labels` with the kernels of ``compose_labels.cu``; nothing waits."""
    if low_res.dtype not in ELEMENT_TYPES:
        low_res = low_res.float()
    low_res = low_res.contiguous()
    image = (labels, labels.element_size(), *labels.shape, *labels.stride())
    sizes = (len(low_res), *low_res.shape[1:])
    values = ids.to(labels.dtype).long()
    windows_grid = grid_size(min(labels.numel(), WINDOW_THREADS), len(ids))
    if old_boxes is None:
        everywhere = grid_size(labels.numel(), 1)
        ordered = values.sort().values
        kernels.launch("clear_everywhere", everywhere, *image, ordered, len(ids))
    else:
        old = old_boxes.int().contiguous()
        kernels.launch("clear_boxes", windows_grid, *image, values, old, len(ids))
    windows = boxes.new_empty((len(ids), 4), dtype=torch.int32)
    cells = boxes.int().contiguous()
    kernels.launch(
        "place_windows", grid_size(len(ids), 1), cells, windows, *sizes, *labels.shape
    )
    kernels.launch(
        "compose",
        windows_grid,
        *(low_res, ELEMENT_TYPES[low_res.dtype]),
        *(ids.long().contiguous(), windows),
        *sizes,
        *image,
    )


def _boxes_fake(low_res: Tensor) -> Tensor:
    return low_res.new_empty((len(low_res), 4), dtype=torch.int32)


def _compose_fake(
    low_res: Tensor,
    ids: Tensor,
    boxes: Tensor,
    old_boxes: Tensor | None,
    labels: Tensor,
) -> None:
    """Nothing comes back."""


define_operator(
    "positive_boxes(Tensor low_res) -> Tensor",
    twin=_boxes,
    fake=_boxes_fake,
    kernel=_boxes_cuda,
)
define_operator(
    "compose_labels(Tensor low_res, Tensor ids, Tensor boxes, Tensor? old_boxes, "
    "Tensor(a!) labels) -> ()",
    twin=_compose,
    fake=_compose_fake,
    kernel=_compose_cuda,
)
