"""``evaluate stacks --layout volumes``: 3D objects from a prompt on one slice."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.cases import CASES_NAME, Case, extremes, write_cases
from napari_hqsam2.evaluation.following import StartKind, start_prompt
from napari_hqsam2.evaluation.label_files import pair_files, read_pair
from napari_hqsam2.evaluation.matching import (
    THRESHOLDS,
    Matches,
    Pair,
    best_pairs,
    match,
)
from napari_hqsam2.evaluation.results import Journal, Table
from napari_hqsam2.segmentation.masks import paint
from napari_hqsam2.segmentation.stack_plan import plan_stack
from napari_hqsam2.segmentation.stack_view import StackView
from napari_hqsam2.stack_files import open_stack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.evaluation.label_files import FilePair, LabelledFrame
    from napari_hqsam2.evaluation.results import Run
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

OBJECTS_NAME, LABELS_NAME = "objects.csv", "labels"
FIGURES = ("precision", "recall", "f1", "matched_score", "panoptic_quality")


@dataclass(frozen=True, slots=True)
class VolumeObject:
    """One true object: a row of objects.csv."""

    item: str
    """Name of the volume."""
    label: int
    voxels: int
    slice: int
    """Slice of the prompt, on which the object is largest."""
    found: int
    """Label of the found object that overlaps it best; 0 if none does."""
    iou: float
    num_found: int
    """Objects found in this volume."""


def find_volumes(folder: Path) -> list[FilePair]:
    """Volumes of the folder ``images`` with the labels of the folder ``labels``.

    Raises
    ------
    EvaluationError
        There are no such folders, or no names that agree.
    """
    return pair_files(folder / "images", folder / "labels")


def evaluate_volumes(
    predictor: SAM2VideoPredictor,
    pairs: Sequence[FilePair],
    start: StartKind,
    min_voxels: int,
    run: Run,
) -> list[Table]:
    """Measure a model on 3D objects; goes on where it was interrupted.

    Every object is prompted on the slice on which it is largest, and followed through
    the volume both ways.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test, with its use of the HQ mask.
    pairs : sequence of FilePair
        Volumes and labels.
    start : {"mask", "box", "click"}
        The prompt.
    min_voxels : int
        Smaller objects are taken as background.
    run : Run
        Where to; objects.csv, summary.json, cases.png and found labels as TIFF are
        written.

    Returns
    -------
    list of Table
        Matches at the IoU thresholds from 0.5 to 0.95, over all volumes.

    Raises
    ------
    EvaluationError, StackError
        A volume or its labels cannot be used.
    """
    run.begin()
    journal = Journal(run.folder / OBJECTS_NAME, VolumeObject)
    folder = run.folder / LABELS_NAME
    folder.mkdir(exist_ok=True)
    for done, pair in enumerate(pairs):
        run.progress(done, len(pairs))
        if pair.name not in journal.finished:
            truth = _true_labels(pair, min_voxels)
            slices = _largest_slices(truth)
            labels = _segmented(predictor, pair, truth, slices, start)
            tifffile.imwrite(
                folder / f"{pair.name}.tif",
                labels,
                compression="zlib",
                photometric="minisblack",
                metadata={"axes": "ZYX"},
            )
            journal.add(pair.name, _rows(pair.name, truth, labels, slices))
    run.progress(len(pairs), len(pairs))
    tables = [_table(journal.rows)]
    chosen = extremes(journal.rows, lambda row: row.iou)
    by_name = {pair.name: pair for pair in pairs}
    cases = [_case(by_name[row.item], row, folder) for row in chosen]
    write_cases(run.folder / CASES_NAME, cases)
    run.finish(tables)
    return tables


def _true_labels(pair: FilePair, min_voxels: int) -> LabelArray:
    """(Z, Y, X) labels of the objects that are large enough."""
    truth = np.stack([frame.labels for frame in read_pair(pair)])
    values, ranks, counts = np.unique(
        np.maximum(truth, 0), return_inverse=True, return_counts=True
    )
    kept = np.where(counts >= min_voxels, values, 0)
    if not kept.any():
        msg = f"{pair.labels} holds no object of {min_voxels} voxels or more."
        raise EvaluationError(msg)
    if kept.max() > np.iinfo(np.int32).max:
        msg = f"{pair.labels} has labels beyond 2**31; number its objects from 1 on."
        raise EvaluationError(msg)
    labels: LabelArray = kept[ranks].reshape(truth.shape).astype(np.int32)
    return labels


def _largest_slices(truth: LabelArray) -> dict[int, int]:
    """Slice on which every object has most pixels; the first of equal ones."""
    best: dict[int, tuple[int, int]] = {}
    for index, labels in enumerate(truth):
        values, counts = np.unique(labels[labels > 0], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if count > best.get(value, (0, 0))[0]:
                best[value] = count, index
    return {value: best[value][1] for value in sorted(best)}


def _segmented(
    predictor: SAM2VideoPredictor,
    pair: FilePair,
    truth: LabelArray,
    slices: dict[int, int],
    start: StartKind,
) -> LabelArray:
    prompts = [
        start_prompt(index, value, truth[index] == value, start)
        for value, index in slices.items()
    ]
    labels = np.zeros_like(truth)
    with ExitStack() as files:
        stack = files.enter_context(open_stack(pair.image))
        if len(stack.axes.leading) != 1:
            msg = f"{pair.image.name} is no volume: {stack.axes.described}."
            raise EvaluationError(msg)
        view = StackView(stack.array, stack.axes.letters)
        plan = plan_stack(view, prompts, axis=None, frames=None, direction="both")
        steps = plan.results(predictor, view.limits(), predictor.hq, lambda: False)
        for step in steps:
            paint(labels[step.result.position], step.result.masks)
    return labels


def _rows(
    item: str, truth: LabelArray, labels: LabelArray, slices: dict[int, int]
) -> list[VolumeObject]:
    sizes = np.bincount(truth.ravel())
    num_found = len(np.unique(labels[labels > 0]))
    return [
        VolumeObject(
            item,
            pair.label,
            int(sizes[pair.label]),
            slices[pair.label],
            pair.found,
            pair.iou,
            num_found,
        )
        for pair in best_pairs(truth, labels)
    ]


def _pooled(rows: Sequence[VolumeObject], threshold: float) -> Matches:
    """Counts of all volumes together."""
    volumes = defaultdict(list)
    for row in rows:
        volumes[row.item].append(row)
    parts = [
        match(
            [Pair(row.label, row.found, row.iou) for row in group],
            group[0].num_found,
            threshold,
        )
        for group in volumes.values()
    ]
    hits = sum(part.true_positives for part in parts)
    score = sum(part.matched_score * part.true_positives for part in parts)
    return Matches(
        threshold,
        hits,
        sum(part.false_positives for part in parts),
        sum(part.false_negatives for part in parts),
        score / hits if hits else 0.0,
    )


def _table(rows: Sequence[VolumeObject]) -> Table:
    lines = []
    for threshold in THRESHOLDS:
        matches = _pooled(rows, threshold)
        figures = (getattr(matches, name) for name in FIGURES)
        lines.append((threshold, len(rows), matches.true_positives, *figures))
    columns = ("iou_threshold", "objects", "true_positives", *FIGURES)
    return Table("instances", columns, tuple(lines))


def _case(pair: FilePair, row: VolumeObject, folder: Path) -> Case:
    """The slice on which most is wrong; that of the prompt would show little."""
    cases = (_slice_of(row, z, f, folder) for z, f in enumerate(read_pair(pair)))
    return max(cases, key=lambda case: (_wrong(case), np.count_nonzero(case.truth)))


def _wrong(case: Case) -> int:
    return int(np.count_nonzero(case.truth != case.guess))


def _slice_of(
    row: VolumeObject, index: int, frame: LabelledFrame, folder: Path
) -> Case:
    found = tifffile.imread(folder / f"{row.item}.tif", key=index)
    guess = found == row.found if row.found else np.zeros_like(found, dtype=bool)
    title = f"3D IoU {row.iou:.2f}  {row.item} #{row.label} slice {index}"
    return Case(title, frame.image, frame.limits, frame.labels == row.label, guess)
