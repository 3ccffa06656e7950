"""All objects of one frame, each seen in a window of it, and how they come together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hqsam2.ops._bilinear import axis_taps, interpolate_window
from napari_hqsam2.ops.compose_labels import positive_boxes
from napari_hqsam2.segmentation.composition import (
    CroppedObjects,
    GridObjects,
    ObjectScores,
    compose_masks,
)
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.masks import ObjectMask, tight_window

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from torch import Tensor

    from napari_hqsam2._types import HW, AnyArray, BoolArray
    from napari_hqsam2.segmentation.windows import PixelBox


@dataclass(frozen=True, slots=True, eq=False)
class WindowObjects:
    """Objects of one frame on the network's grid over one window."""

    objects: GridObjects
    crop: Crop
    """The window."""

    def pixel_boxes(self) -> dict[int, PixelBox | None]:
        """Box of each object on the frame, by id; None if there is nothing of it."""
        return {
            scores.obj_id: _to_pixels(box, self.objects.low_res, self.crop)
            for scores, box in zip(
                self.objects.scores, self.objects.boxes.tolist(), strict=True
            )
        }


@dataclass(frozen=True, slots=True, eq=False)
class FrameObjects:
    """Objects of one frame, in any number of windows."""

    parts: tuple[WindowObjects, ...]

    @classmethod
    def whole(cls, objects: GridObjects, hw: HW) -> FrameObjects:
        """Objects that were looked for on the whole (H, W) frame."""
        return cls((WindowObjects(objects, Crop(0, 0, *hw)),))

    @property
    def scores(self) -> list[ObjectScores]:
        """Of all objects, window by window."""
        return [scores for part in self.parts for scores in part.objects.scores]

    @property
    def empty(self) -> dict[int, bool]:
        """Whether there is nothing of an object, by id."""
        return {
            obj_id: box is None
            for part in self.parts
            for obj_id, box in part.pixel_boxes().items()
        }

    def only(self, keep: Callable[[int], bool]) -> FrameObjects:
        """Those objects whose id is to be kept."""
        parts = (
            replace(
                part,
                objects=part.objects.only(
                    [keep(scores.obj_id) for scores in part.objects.scores]
                ),
            )
            for part in self.parts
        )
        return FrameObjects(tuple(part for part in parts if part.objects.scores))

    def without(self, obj_ids: Collection[int]) -> FrameObjects:
        """All objects but some."""
        return self.only(lambda obj_id: obj_id not in obj_ids)

    def and_also(self, other: FrameObjects) -> FrameObjects:
        """Objects of both, which lie on the same frame."""
        return FrameObjects((*self.parts, *other.parts))

    def masks(
        self, hw: HW, given: Mapping[int, BoolArray] | None = None
    ) -> tuple[ObjectMask, ...]:
        """Masks that do not overlap, as `compose_masks` makes them.

        Parameters
        ----------
        hw
            Height and width of the frame in pixels.
        given
            (H, W) masks by object id that hold as they are.
        """
        parts = _joined_by_window(self.parts)
        if len(parts) == 1 and parts[0].crop == Crop(0, 0, *hw):
            return compose_masks(parts[0].objects, hw, given)
        return _compose_windows(parts, hw, given or {})


@dataclass(frozen=True, slots=True, eq=False)
class KeptObjects:
    """`FrameObjects` to be kept: of the logits, only what can become pixels."""

    parts: tuple[tuple[CroppedObjects, Crop], ...]

    @classmethod
    def of(cls, objects: FrameObjects) -> KeptObjects:
        """Crop objects; the logits move to the host at once."""
        return cls(
            tuple(
                (CroppedObjects.of(part.objects), part.crop) for part in objects.parts
            )
        )

    def restored(self, device: torch.device) -> FrameObjects:
        """Objects whose logits interpolate to the same pixels as before."""
        return FrameObjects(
            tuple(
                WindowObjects(objects.restored(device), crop)
                for objects, crop in self.parts
            )
        )


def _joined_by_window(parts: Iterable[WindowObjects]) -> list[WindowObjects]:
    """The same objects, in one part for each window."""
    found: defaultdict[Crop, list[GridObjects]] = defaultdict(list)
    for part in parts:
        if part.objects.scores:
            found[part.crop].append(part.objects)
    return [
        WindowObjects(_joined(objects) if len(objects) > 1 else objects[0], crop)
        for crop, objects in found.items()
    ]


def _joined(parts: Sequence[GridObjects]) -> GridObjects:
    """Objects of parts that have the grid in common."""
    return GridObjects(
        tuple(scores for part in parts for scores in part.scores),
        torch.cat([part.low_res for part in parts]),
        torch.cat([part.boxes for part in parts]),
    )


def pixel_box(low_res: Tensor, crop: Crop) -> PixelBox | None:
    """Box on the frame of what is positive in a (h, w) map over a window."""
    return _to_pixels(positive_boxes(low_res[None].float())[0].tolist(), low_res, crop)


def _to_pixels(box: Sequence[int], grid: Tensor, crop: Crop) -> PixelBox | None:
    top, left, bottom, right = box
    if top >= bottom or left >= right:
        return None
    height, width = grid.shape[-2:]
    return (
        crop.top + top * crop.height // height,
        crop.left + left * crop.width // width,
        crop.top - (-bottom * crop.height // height),
        crop.left - (-right * crop.width // width),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    """The pixels of one object on the frame, and the logits that defend them."""

    item: ObjectMask
    """Its mask is changed in place."""
    low_res: Tensor | None
    """(h, w) logits over the window; None if the mask holds as it is."""
    crop: Crop

    @property
    def box(self) -> PixelBox:
        height, width = self.item.mask.shape
        top, left = self.item.top, self.item.left
        return top, left, top + height, left + width

    def part(self, box: PixelBox) -> BoolArray:
        """View of the mask, at a box of the frame within its own."""
        top, left, bottom, right = box
        rows = slice(top - self.item.top, bottom - self.item.top)
        return self.item.mask[rows, left - self.item.left : right - self.item.left]

    def logits(self, box: PixelBox) -> AnyArray:
        """Logits of the pixels in a box of the frame."""
        top, left, bottom, right = box
        grid, crop = self.low_res, self.crop
        if grid is None:
            return np.full((bottom - top, right - left), np.inf)
        rows = axis_taps(grid.shape[0], crop.height)
        columns = axis_taps(grid.shape[1], crop.width)
        return interpolate_window(
            grid.cpu(),
            rows.window(top - crop.top, bottom - crop.top),
            columns.window(left - crop.left, right - crop.left),
        ).numpy()


def _compose_windows(
    parts: Iterable[WindowObjects], hw: HW, given: Mapping[int, BoolArray]
) -> tuple[ObjectMask, ...]:
    """As `compose_masks`, of objects in many windows.

    Where objects of two windows meet, the larger logit wins; of equal ones the lower
    id. So no object ends where a window does.
    """
    claims = [
        claim
        for part in parts
        for claim in (*_found(part, given), *_drawn(part, hw, given))
    ]
    claims.sort(key=lambda claim: claim.item.obj_id)
    _settle(claims)
    return tuple(_tight(claim.item) for claim in claims)


def _found(part: WindowObjects, given: Mapping[int, BoolArray]) -> Iterator[_Claim]:
    """Objects of a window, apart from those whose mask is given."""
    crop = part.crop
    objects = part.objects.only([s.obj_id not in given for s in part.objects.scores])
    if not objects.scores:
        return
    rows = {scores.obj_id: row for row, scores in enumerate(objects.scores)}
    for item in compose_masks(objects, (crop.height, crop.width)):
        moved = replace(item, top=item.top + crop.top, left=item.left + crop.left)
        yield _Claim(moved, objects.low_res[rows[item.obj_id]], crop)


def _drawn(
    part: WindowObjects, hw: HW, given: Mapping[int, BoolArray]
) -> Iterator[_Claim]:
    """Objects of a window whose mask is given."""
    for scores in part.objects.scores:
        if scores.obj_id in given:
            mask = given[scores.obj_id]
            rows, columns = tight_window(mask)
            item = ObjectMask(
                scores.obj_id,
                rows.start,
                columns.start,
                mask[rows, columns].copy(),
                scores.object_score,
                scores.iou_score,
            )
            yield _Claim(item, None, Crop(0, 0, *hw))


def _settle(claims: Sequence[_Claim]) -> None:
    """Leave each pixel to one object; `claims` are sorted by object id."""
    boxes = np.array([claim.box for claim in claims]).reshape(-1, 4)
    for number, low in enumerate(claims):
        top, left, bottom, right = low.box
        others = boxes[number + 1 :]
        meets = (others[:, 0] < bottom) & (others[:, 2] > top)
        meets &= (others[:, 1] < right) & (others[:, 3] > left)
        for index in np.flatnonzero(meets):
            _share(low, claims[number + 1 + int(index)])


def _share(low: _Claim, high: _Claim) -> None:
    """Leave the pixels that two objects claim to the one with the larger logit."""
    box = (
        max(low.box[0], high.box[0]),
        max(low.box[1], high.box[1]),
        min(low.box[2], high.box[2]),
        min(low.box[3], high.box[3]),
    )
    one, other = low.part(box), high.part(box)
    both = one & other
    if both.any():
        is_low = low.logits(box) >= high.logits(box)
        one[both & ~is_low] = False
        other[both & is_low] = False


def _tight(item: ObjectMask) -> ObjectMask:
    rows, columns = tight_window(item.mask)
    pixels = item.mask[rows, columns].copy()
    if not pixels.size:
        return replace(item, top=0, left=0, mask=np.zeros((0, 0), dtype=np.bool_))
    top, left = item.top + rows.start, item.left + columns.start
    return replace(item, top=top, left=left, mask=pixels)
