"""Objects that nobody has pointed at: a grid of clicks, and what is worth keeping.

After ``SAM2AutomaticMaskGenerator`` of SAM 2, with three differences: all scoring is
done on the network's grid, points on objects that were found already are not asked
for again, and the result is a set of objects that can share one label image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.ops.compose_labels import positive_boxes
from napari_hqsam2.predictors.batch_size import BatchSizes
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.segmentation.composition import GridObjects, ObjectScores
from napari_hqsam2.segmentation.windows import COARSE_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from napari_hqsam2._types import HW, AnyArray, LabelArray
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode, ImageFeatures

STABILITY_OFFSET = 1.0
"""Shift of the threshold that a stable mask does not mind, in logits."""
SWALLOWED = 0.5
"""A mask that holds more than this part of a better object is not one object."""
COARSE_LEAST, FINE_LEAST = (0.55, 0.65), (0.6, 0.8)
"""Least predicted IoU and stability, of models with an input of 512 px and others. On
held-out images higher ones lose what the built-in model finds in dense tissue, lower
ones find what is not there."""
SIDE_STEPS = (4, 2, 1)
"""The grid is asked from coarse to fine, so that most points find an object there."""
IN_VIEW_SCORE = float("inf")


@dataclass(frozen=True, kw_only=True)
class ProposalSettings:
    """What is looked for, and what is kept."""

    points_per_side: int = 32
    """Points of the grid along each side of the image; in crops, along a part of the
    image as large as the model's input."""
    min_iou_score: float | None = None
    """Least predicted IoU; None is 0.6, and 0.55 for models with an input of 512 px,
    which are less sure of themselves."""
    min_stability: float | None = None
    """Least IoU of the mask at a lower and at a higher threshold; None is 0.8, and 0.65
    for the same models."""
    max_overlap: float = 0.25
    """Most that a mask may share with better ones, as part of its area."""
    min_area: int = 30
    """Smallest object, in pixels of the image."""
    max_area: float = 0.25
    """Largest object, as part of the image or crop that the model sees."""

    def __post_init__(self) -> None:
        if self.points_per_side < 1:
            msg = f"points_per_side={self.points_per_side} must be at least 1."
            raise ValueError(msg)
        if self.min_area < 0:
            msg = f"min_area={self.min_area} must be at least 0 pixels."
            raise ValueError(msg)
        for name in ("min_iou_score", "min_stability", "max_overlap", "max_area"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                msg = f"{name}={value} must be from 0 to 1."
                raise ValueError(msg)

    def least(self, input_size: int) -> tuple[float, float]:
        """Predicted IoU and stability that masks of a model need to be kept."""
        score, stability = COARSE_LEAST if input_size <= COARSE_INPUT else FINE_LEAST
        return (
            score if self.min_iou_score is None else self.min_iou_score,
            stability if self.min_stability is None else self.min_stability,
        )


@dataclass(frozen=True, eq=False)
class Candidates:
    """N masks that passed all tests, each for itself."""

    low_res: Tensor
    """(N, h, w) mask logits."""
    iou_scores: Tensor
    """(N,) predicted IoU."""
    stability: Tensor
    """(N,) stability scores."""

    def __getitem__(self, rows: Tensor) -> Candidates:
        """Some of them."""
        return Candidates(
            self.low_res[rows], self.iou_scores[rows], self.stability[rows]
        )

    @property
    def confidence(self) -> Tensor:
        """(N,) what they are sorted by, 0 to 1."""
        return self.iou_scores.clamp(0, 1) * self.stability


def stability_scores(logits: Tensor, offset: float = STABILITY_OFFSET) -> Tensor:
    """IoU of masks at two thresholds; ``calculate_stability_score`` of SAM.

    Parameters
    ----------
    logits
        (N, h, w) mask logits.
    offset
        The thresholds are 0 minus and plus this.

    Returns
    -------
    Tensor
        (N,); 0 for masks that are empty at both.
    """
    inner = (logits > offset).sum(dim=(-1, -2))
    outer = (logits > -offset).sum(dim=(-1, -2))
    return inner / outer.clamp_min(1)


def grid_points(per_side: int) -> AnyArray:
    """Points of a grid, coarse ones first: (K, 2) float32 (x, y) from 0 to 1."""
    index = np.arange(per_side)
    level = np.full(per_side, len(SIDE_STEPS) - 1)
    for number, step in reversed(list(enumerate(SIDE_STEPS))):
        level[index % step == SIDE_STEPS[1] % step] = number
    row, column = (part.ravel() for part in np.meshgrid(index, index, indexing="ij"))
    order = np.argsort(np.maximum(level[row], level[column]), kind="stable")
    points = np.stack((column, row), axis=1)[order] + 0.5
    result: AnyArray = (points / per_side).astype(np.float32)
    return result


@dataclass(frozen=True)
class Proposer:
    """Looks for objects on one encoded image or crop of it.

    Parameters
    ----------
    model
        Plain or HQ.
    settings
        What is looked for.
    hq
        Use of the high-quality mask.
    cancel
        Asked before every batch; True ends the search with what was found.
    on_points
        Told after every batch how many more points of the grid are done.
    """

    model: HqSam2
    settings: ProposalSettings
    hq: HqMode
    cancel: Callable[[], bool]
    on_points: Callable[[int], None]

    def propose(
        self, features: ImageFeatures, hw: HW, inner_sides: Sequence[bool]
    ) -> GridObjects:
        """Objects that overlap little, the most confident first, numbered from 1.

        Parameters
        ----------
        features
            Of one image or crop.
        hw
            Its height and width in pixels.
        inner_sides
            Whether top, left, bottom and right cut through a larger image: objects
            that touch these are left to others.
        """
        with inference(self.model.device):
            found = list(self._search(features, hw, inner_sides))
            if not found:
                side = self.model.image_size // 4
                return GridObjects.of((), torch.zeros(0, side, side))
            kept = self._select(_joined(found))
        scores = [
            ObjectScores(number, IN_VIEW_SCORE, score)
            for number, score in enumerate(kept.confidence.tolist(), 1)
        ]
        return GridObjects.of(scores, kept.low_res)

    def _search(
        self, features: ImageFeatures, hw: HW, inner_sides: Sequence[bool]
    ) -> Iterator[Candidates]:
        grid = self.model.image_size // 4
        free = np.ones((grid, grid), dtype=np.bool_)
        waiting = grid_points(self.settings.points_per_side)
        most = BatchSizes(self.model).most((grid // 4) ** 2, tokens=0)
        while len(waiting) and not self.cancel():
            left = len(waiting)
            points, waiting = waiting[:most], waiting[most:]
            candidates, rows = self._ask(features, points, hw, inner_sides)
            if len(rows):
                best = _first_of_each(rows, candidates.confidence)
                covered = (candidates.low_res[best] > 0).any(dim=0)
                free &= ~covered.cpu().numpy()
                yield candidates
            column, row = (waiting * grid).astype(int).T
            waiting = waiting[free[row, column]]
            self.on_points(left - len(waiting))

    def _ask(
        self,
        features: ImageFeatures,
        points: AnyArray,
        hw: HW,
        inner_sides: Sequence[bool],
    ) -> tuple[Candidates, Tensor]:
        """What N points find and passes, and the point of each."""
        coords = torch.from_numpy(points).to(self.model.device)[:, None]
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=coords.device)
        prediction = self.model.predict_masks(
            self.model.without_memory(features.embedding),
            features.high_res,
            ModelPrompts(coords, labels),
            multimask=True,
            hq=self.hq,
        )
        ious = prediction.iou_scores.float()
        least_iou, least_stability = self.settings.least(self.model.image_size)
        rows, masks = (ious >= least_iou).nonzero().unbind(1)
        # with HQ alone there is one mask for all candidate scores
        low_res = prediction.masks.float()
        low_res = low_res.expand(-1, ious.shape[1], -1, -1)[rows, masks]
        stability = stability_scores(low_res)
        fits = (stability >= least_stability) & self._fits(low_res, hw, inner_sides)
        found = Candidates(low_res, ious[rows, masks], stability)
        return found[fits], rows[fits]

    def _fits(self, low_res: Tensor, hw: HW, inner_sides: Sequence[bool]) -> Tensor:
        """Whether masks have a size that is wanted, and are not cut off."""
        height, width = low_res.shape[-2:]
        share = (low_res > 0).sum(dim=(-1, -2)) / (height * width)
        least = self.settings.min_area / (hw[0] * hw[1])
        fits = (share >= least) & (share > 0) & (share <= self.settings.max_area)
        top, left, bottom, right = positive_boxes(low_res).unbind(1)
        at_sides = (top == 0, left == 0, bottom == height, right == width)
        for at_side, is_inner in zip(at_sides, inner_sides, strict=True):
            if is_inner:
                fits &= ~at_side.to(fits.device)
        return fits

    def _select(self, candidates: Candidates) -> Candidates:
        """The best that do not overlap much."""
        order = candidates.confidence.argsort(descending=True, stable=True)
        masks = (candidates.low_res > 0).cpu().numpy()
        owners = np.zeros(masks.shape[1:], dtype=np.int32)
        chooser = Chooser(owners, self.settings.max_overlap)
        kept = [row for row in order.tolist() if chooser.takes(owners, masks[row])]
        return candidates[torch.tensor(kept, device=order.device)]


class Chooser:
    """Decides which masks become objects of one label image, best first.

    Parameters
    ----------
    owners
        (H, W) integers, zeros at first; objects are drawn into it.
    max_overlap
        Most that a mask may share with those before it, as part of its area.
    """

    def __init__(self, owners: LabelArray, max_overlap: float) -> None:
        self.owners = owners
        self.max_overlap = max_overlap
        self.areas = [0]

    def takes(self, region: LabelArray, mask: AnyArray) -> bool:
        """Draw a mask into a view of `owners` of its shape, if it may be an object."""
        area = int(mask.sum())
        shared = np.bincount(region[mask], minlength=len(self.areas))
        shared[0] = 0
        is_swallowed = shared > SWALLOWED * np.maximum(self.areas, 1)
        if shared.sum() > self.max_overlap * area or is_swallowed.any():
            return False
        region[mask & (region == 0)] = len(self.areas)
        self.areas.append(area - int(shared.sum()))
        return True


def _joined(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        torch.cat([part.low_res for part in parts]),
        torch.cat([part.iou_scores for part in parts]),
        torch.cat([part.stability for part in parts]),
    )


def _first_of_each(groups: Tensor, values: Tensor) -> Tensor:
    """Index of the largest value of each group."""
    order = values.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    is_first = torch.ones_like(order, dtype=torch.bool)
    is_first[1:] = groups[order][1:] != groups[order][:-1]
    return order[is_first]
