"""3D objects: prompts on their largest slices, matches over all volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation import volume_run
from napari_hqsam2.evaluation.results import Journal
from napari_hqsam2.evaluation.volume_run import (
    VolumeObject,
    evaluate_volumes,
    find_volumes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.evaluation.results import Run
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor


def test_objects_are_prompted_where_they_are_largest(
    predictor: SAM2VideoPredictor, volumes: Path, run: Run
) -> None:
    path = volumes / "labels" / "a_masks.tif"
    labels = tifffile.imread(path)
    labels[3][labels[3] == 1] = 0
    labels[3, 6:27, 10:34] = 1
    labels[4, 0, 0] = 900
    tifffile.imwrite(path, labels, metadata={"axes": "ZYX"})
    (table,) = evaluate_volumes(predictor, find_volumes(volumes), "mask", 10, run)
    rows = Journal(run.folder / "objects.csv", VolumeObject).rows
    assert [(row.label, row.slice) for row in rows] == [(1, 3), (2, 0), (3, 2)]
    assert rows[0].voxels == (labels == 1).sum()
    found = tifffile.imread(run.folder / "labels" / "a.tif")
    # A mask prompt is taken as it is, and the run goes both ways from it.
    np.testing.assert_array_equal(found[3] == 1, labels[3] == 1)
    assert (found[0] == 1).any()
    records = table.records()
    assert records[0]["objects"] == 3
    hits = [record["true_positives"] for record in records]
    assert hits == sorted(hits, reverse=True)
    assert hits[0] == sum(row.iou >= 0.5 for row in rows)


@pytest.mark.parametrize(("lost", "shown"), [(4, 4), (None, 2)])
def test_the_picture_shows_the_worst_slice(
    volumes: Path, tmp_path: Path, lost: int | None, shown: int
) -> None:
    labels = tifffile.imread(volumes / "labels" / "a_masks.tif").astype(np.int32)
    labels[labels != 3] = 0
    if lost is not None:
        labels[lost] = 0
    tifffile.imwrite(tmp_path / "a.tif", labels)
    (pair,) = find_volumes(volumes)
    row = VolumeObject("a", 3, 600, 2, 3, 0.9, 1)
    assert volume_run._case(pair, row, tmp_path).title.endswith(f"slice {shown}")


def test_images_that_are_no_volumes_are_refused(
    predictor: SAM2VideoPredictor, volumes: Path, run: Run
) -> None:
    for part in ("images/a.tif", "labels/a_masks.tif"):
        tifffile.imwrite(volumes / part, np.ones((8, 8), np.uint8))
    with pytest.raises(EvaluationError, match="no volume"):
        evaluate_volumes(predictor, find_volumes(volumes), "mask", 1, run)


def test_volumes_without_objects_are_refused(
    predictor: SAM2VideoPredictor, volumes: Path, run: Run
) -> None:
    with pytest.raises(EvaluationError, match="no object of 100000 voxels"):
        evaluate_volumes(predictor, find_volumes(volumes), "mask", 100_000, run)
