"""Average precision on cases whose result is known."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation import coco_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from pycocotools.coco import COCO

SIDE = 100


def box(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def truth(tmp_path: Path) -> COCO:
    """Two squares of 40 px of one category on one image."""
    annotations = []
    for number, mask in enumerate((box(0, 0, 40, 40), box(50, 50, 90, 90)), 1):
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 3,
                "iscrowd": 0,
                "area": 1600,
                "bbox": [50 * (number - 1)] * 2 + [40, 40],
                "segmentation": coco_metrics.encode(mask),
            }
        )
    content = {
        "images": [{"id": 1, "width": SIDE, "height": SIDE, "file_name": "a.png"}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "square"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return coco_metrics.load_truth(path)


def found(mask: np.ndarray, score: float, category: int = 3) -> dict[str, Any]:
    return {
        "image_id": 1,
        "category_id": category,
        "score": score,
        "segmentation": coco_metrics.encode(mask),
    }


def test_exact_masks_are_perfect(truth: COCO) -> None:
    both = [found(box(0, 0, 40, 40), 0.9), found(box(50, 50, 90, 90), 0.8)]
    precision = coco_metrics.average_precision(truth, both, [1])
    assert precision.ap == precision.ap_medium == precision.boundary_ap == 1
    assert math.isnan(precision.ap_small)


def test_ap_by_hand(truth: COCO) -> None:
    # IoU 36 / 40 with the first square, at rank 2 after a false one; the second square
    # is missed. Up to recall 0.5 (51 of the 101 recall steps) the precision is 1 / 2,
    # for the 9 thresholds from 0.5 to 0.9.
    masks = [found(box(95, 0, 99, 9), 0.9), found(box(0, 0, 40, 36), 0.5)]
    precision = coco_metrics.average_precision(truth, masks, [1])
    assert precision.ap50 == precision.ap75 == pytest.approx(0.5 * 51 / 101)
    assert precision.ap == pytest.approx(0.9 * 0.5 * 51 / 101)


def test_boundary_ap_by_hand(truth: COCO) -> None:
    # The rim is 3 px wide (2 % of 141 px): 40**2 - 34**2 = 444 pixels of the first
    # square, 40 * 36 - 34 * 30 = 420 of its mask, which share all sides but the right.
    masks = [found(box(0, 0, 40, 36), 0.9), found(box(50, 50, 90, 90), 0.8)]
    precision = coco_metrics.average_precision(truth, masks, [1])
    shared = 36 * 3 + 34 * 3 + 36 * 3
    overlap = shared / (444 + 420 - shared)
    passed = sum(overlap >= 0.5 + 0.05 * step for step in range(10))
    # Of ten thresholds some see both squares, the others the second alone, at rank 2.
    expected = (passed + (10 - passed) * 0.5 * 51 / 101) / 10
    assert 0 < passed < 9
    assert precision.boundary_ap == pytest.approx(expected)


def test_without_masks_everything_is_zero(truth: COCO) -> None:
    assert coco_metrics.average_precision(truth, [], [1]).ap == 0


def test_runs_survive_the_round_trip(rng: np.random.Generator) -> None:
    mask = rng.random((17, 23)) > 0.5
    np.testing.assert_array_equal(coco_metrics.decode(coco_metrics.encode(mask)), mask)


def test_a_box_means_the_object_of_its_category_that_fits(truth: COCO) -> None:
    near = found(box(50, 50, 90, 80), 1) | {"bbox": [50, 50, 38, 40]}
    far = found(box(0, 60, 10, 70), 1) | {"bbox": [60, 0, 10, 10]}
    other = near | {"category_id": 4}
    overlaps = coco_metrics.true_overlaps(truth, 1, [near, far, other])
    assert overlaps[0] == (2, pytest.approx(0.75))
    assert [number for number, _ in overlaps] == [2, -1, -1]
    assert math.isnan(overlaps[1][1])


def test_what_is_not_coco_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"list\.json"):
        coco_metrics.load_truth(path)
    path.write_text('{"images": []}', encoding="utf-8")
    with pytest.raises(EvaluationError, match="annotations"):
        coco_metrics.load_truth(path)
