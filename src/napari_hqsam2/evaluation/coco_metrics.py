"""COCO's measures through pycocotools, and boundary AP on top of them."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.measures import boundary_width, rim
from napari_hqsam2.segmentation.masks import tight_window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_hqsam2._types import HW, AnyArray, BoolArray

Json = dict[str, Any]
"""One record of a COCO file."""
SAME_BOX = 0.5
"""IoU of boxes from which on a detection is taken to mean a true object."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision, and by IoU threshold and object size."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    boundary_ap: float
    """AP with the lesser of IoU and boundary IoU (Cheng et al., 2021)."""


def load_truth(path: Path) -> COCO:
    """Read a file of COCO annotations.

    Raises
    ------
    EvaluationError
        It is not such a file.
    """
    with _silence():
        try:
            truth = COCO(str(path))
        except (OSError, ValueError, AssertionError, KeyError, TypeError) as error:
            msg = f"{path} cannot be read as COCO annotations: {error!r}"
            raise EvaluationError(msg) from error
    missing = {"images", "annotations", "categories"} - truth.dataset.keys()
    if missing:
        msg = f"{path} has no {', '.join(sorted(missing))}; COCO annotations have them."
        raise EvaluationError(msg)
    return truth


def encode(mask: BoolArray) -> Json:
    """Run lengths of an (H, W) mask, with text instead of bytes."""
    found: Json = run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def decode(runs: Json) -> BoolArray:
    """(H, W) mask from run lengths."""
    with warnings.catch_warnings():
        # of the way in which it fills its array
        warnings.simplefilter("ignore", DeprecationWarning)
        mask: BoolArray = run_lengths.decode(runs).astype(bool)
    return mask


def true_overlaps(
    truth: COCO, image_id: int, found: Sequence[Json]
) -> list[tuple[int, float]]:
    """The true object that each detection means, and the IoU of their masks.

    Parameters
    ----------
    truth : COCO
        The annotations.
    image_id : int
        The image.
    found : sequence of dict
        Detections with ``category_id``, ``bbox`` (x, y, w, h) and ``segmentation``.

    Returns
    -------
    list of (int, float)
        Id of the annotation of the same category whose box fits best, and IoU; (-1,
        NaN) where no box fits.
    """
    real = truth.loadAnns(truth.getAnnIds(imgIds=[image_id], iscrowd=False))
    result = [(-1, float("nan"))] * len(found)
    if not (real and found):
        return result
    boxes = [np.array([each["bbox"] for each in both], float) for both in (found, real)]
    overlaps = run_lengths.iou(*boxes, [0] * len(real))
    kinds = [np.array([each["category_id"] for each in both]) for both in (found, real)]
    overlaps = np.where(kinds[0][:, None] == kinds[1][None], overlaps, 0.0)
    for row, column in enumerate(overlaps.argmax(1)):
        if overlaps[row, column] >= SAME_BOX:
            runs = truth.annToRLE(real[column])
            value = run_lengths.iou([found[row]["segmentation"]], [runs], [0])
            result[row] = int(real[column]["id"]), float(value[0, 0])
    return result


class _BoundaryEval(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """COCO's evaluation with the lesser of mask and boundary IoU."""

    def computeIoU(self, imgId: int, catId: int) -> AnyArray | list[Any]:  # noqa: N802, N803
        """IoU of detections, best score first, with all true objects."""
        overlaps = super().computeIoU(imgId, catId)
        if not len(overlaps):
            return overlaps
        real, found = self._gts[imgId, catId], self._dts[imgId, catId]
        order = np.argsort([-each["score"] for each in found], kind="mergesort")
        found = [found[i] for i in order[: self.params.maxDets[-1]]]
        rims = run_lengths.iou(
            [_rim_of(each["segmentation"]) for each in found],
            [_rim_of(each["segmentation"]) for each in real],
            [int(each["iscrowd"]) for each in real],
        )
        return np.minimum(overlaps, rims)


def _rim_of(runs: Json) -> Json:
    mask = decode(runs)
    window = tight_window(mask)
    width = boundary_width((mask.shape[0], mask.shape[1]))
    mask[window] = rim(mask[window], width)
    return encode(mask)


def average_precision(
    truth: COCO, found: Sequence[Json], image_ids: Sequence[int]
) -> Precision:
    """AP of masks over the images asked for.

    Parameters
    ----------
    truth : COCO
        The annotations.
    found : sequence of dict
        Detections with ``image_id``, ``category_id``, ``score`` and ``segmentation``
        (run lengths).
    image_ids : sequence of int
        Images that count.
    """
    if not found:
        return Precision(0, 0, 0, 0, 0, 0, 0)
    with _silence():
        results = truth.loadRes([dict(each) for each in found])
        plain, boundary = (
            _evaluated(kind(truth, results, "segm"), image_ids)
            for kind in (COCOeval, _BoundaryEval)
        )
    return Precision(*map(float, [*plain[:6], boundary[0]]))


def _evaluated(evaluation: COCOeval, image_ids: Sequence[int]) -> AnyArray:
    evaluation.params.imgIds = list(image_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats: AnyArray = np.where(evaluation.stats < 0, np.nan, evaluation.stats)
    return stats


def _silence() -> contextlib.redirect_stdout[io.StringIO]:
    """Keep pycocotools from printing."""
    return contextlib.redirect_stdout(io.StringIO())


def image_hw(truth: COCO, image_id: int) -> HW:
    """Height and width that the annotations say."""
    image: Mapping[str, int] = truth.imgs[image_id]
    return image["height"], image["width"]
