"""``evaluate stacks --layout ctc``: cells followed from where their tracks begin."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.evaluation.cases import CASES_NAME, Case, extremes, write_cases
from napari_hqsam2.evaluation.ctc_layout import ResultWriter
from napari_hqsam2.evaluation.ctc_metrics import (
    cell_overlaps,
    metrics_function,
    tracking_measures,
)
from napari_hqsam2.evaluation.following import StartKind, follow, start_prompt
from napari_hqsam2.evaluation.label_files import read_labels
from napari_hqsam2.evaluation.results import Journal, Table, mean, write_table
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import estimate_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.evaluation.ctc_layout import CtcSequence
    from napari_hqsam2.evaluation.results import Cell, Run
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

SEQUENCES_NAME, CELLS_NAME = "sequences.csv", "cells.csv"
FIGURES = ("seg", "seg_followed", "det", "tra")


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """One sequence: a row of sequences.csv."""

    item: str
    """Its name, 01 or 02."""
    tracks: int
    masks: int
    """Tracks that began with a mask; the others have a marker only."""
    seg: float
    """NaN without true masks."""
    seg_followed: float
    """SEG without the cells that the prompts have shown; NaN if there are no others."""
    det: float
    tra: float


@dataclass(frozen=True, slots=True)
class CellScore:
    """One true mask: a row of cells.csv."""

    sequence: str
    time: int
    label: int
    """In the label image of the true mask."""
    followed: bool
    """False where its track begins, for there a prompt has shown it."""
    jaccard: float


def evaluate_ctc(
    predictor: SAM2VideoPredictor,
    sequences: Sequence[CtcSequence],
    start: StartKind,
    run: Run,
) -> list[Table]:
    """Measure a model on cell tracking; goes on where it was interrupted.

    Cells begin where their true tracks begin, and a mother is given up when her
    daughters begin: what is measured is the following, not the finding.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test, with its use of the HQ mask.
    sequences : sequence of CtcSequence
        The time-lapses.
    start : {"mask", "box", "click"}
        What a cell begins with; with "mask" and "box" a cell without a true mask there
        begins with a click in its marker.
    run : Run
        Where to; sequences.csv, cells.csv, summary.json, cases.png and results in the
        format of the challenge (``01_RES``) are written.

    Returns
    -------
    list of Table
        SEG, DET and TRA of every sequence, and their means.

    Raises
    ------
    EvaluationError, StackError
        Images or truth cannot be used, or the package of metrics is missing.
    """
    metrics_function()  # before hours of work, not after them
    run.begin()
    journal = Journal(run.folder / SEQUENCES_NAME, SequenceScore)
    for done, sequence in enumerate(sequences):
        run.progress(done, len(sequences))
        if sequence.name not in journal.finished:
            result = _result(run.folder, sequence)
            row = _followed(predictor, sequence, start, result)
            journal.add(sequence.name, [row])
    run.progress(len(sequences), len(sequences))
    by_name = {sequence.name: sequence for sequence in sequences}
    cells = [cell for each in sequences for cell in _cells(each, run.folder)]
    columns = tuple(field.name for field in fields(CellScore))
    rows = tuple(astuple(cell) for cell in cells)
    write_table(run.folder / CELLS_NAME, Table("cells", columns, rows))
    followed = [cell for cell in cells if cell.followed]
    chosen = extremes(followed, lambda cell: cell.jaccard)
    cases = [_case(by_name[cell.sequence], cell, run.folder) for cell in chosen]
    write_cases(run.folder / CASES_NAME, cases)
    tables = [_table(journal.rows)]
    run.finish(tables)
    return tables


def _result(folder: Path, sequence: CtcSequence) -> Path:
    return folder / f"{sequence.name}_RES"


def _followed(
    predictor: SAM2VideoPredictor,
    sequence: CtcSequence,
    start: StartKind,
    result: Path,
) -> SequenceScore:
    result.mkdir(exist_ok=True)
    prompts, masks = [], 0
    for track in sequence.tracks:
        truth, is_mask = sequence.first_mask(track)
        masks += is_mask
        kind = start if is_mask else "click"
        prompts.append(start_prompt(track.begin, track.label, truth, kind))
    last_frames: dict[int, int] = {}
    for track in sequence.tracks:
        if track.parent:
            before = last_frames.get(track.parent, track.begin - 1)
            last_frames[track.parent] = min(before, track.begin - 1)
    writer = ResultWriter(result, sequence)
    frames = open_frames([str(path) for path in sequence.frames])
    for time, labels in follow(predictor, frames, prompts, last_frames):
        writer.add(time, labels)
    writer.finish()
    measures = tracking_measures(result, sequence.truth)
    cells = _cells(sequence, result.parent)
    return SequenceScore(
        item=sequence.name,
        tracks=len(prompts),
        masks=masks,
        seg=mean([cell.jaccard for cell in cells]),
        seg_followed=mean([cell.jaccard for cell in cells if cell.followed]),
        det=measures.det,
        tra=measures.tra,
    )


def _cells(sequence: CtcSequence, folder: Path) -> list[CellScore]:
    found = _found(sequence, folder)
    cells = []
    for time, path in sequence.gold.items():
        truth = read_labels(path)
        shown = _beginning(sequence, time, truth)
        overlaps = cell_overlaps(truth, read_labels(found[time]))
        cells += [
            CellScore(sequence.name, time, label, label not in shown, jaccard)
            for label, jaccard in overlaps.items()
        ]
    return cells


def _beginning(sequence: CtcSequence, time: int, truth: LabelArray) -> set[int]:
    """True masks of the cells whose tracks begin at a time."""
    begins = [track.label for track in sequence.tracks if track.begin == time]
    markers = np.isin(read_labels(sequence.markers[time]), begins)
    return set(np.unique(truth[markers]).tolist())


def _found(sequence: CtcSequence, folder: Path) -> list[Path]:
    """Label images of the result in the order of time."""
    return sorted(_result(folder, sequence).glob("mask*.tif"))


def _table(rows: Sequence[SequenceScore]) -> Table:
    lines = [
        (row.item, row.tracks, *(getattr(row, name) for name in FIGURES))
        for row in sorted(rows, key=lambda row: row.item)
    ]
    means = (mean([getattr(row, name) for row in rows]) for name in FIGURES)
    total: tuple[Cell, ...] = ("mean", sum(row.tracks for row in rows), *means)
    return Table("cell_tracking", ("sequence", "tracks", *FIGURES), (*lines, total))


def _case(sequence: CtcSequence, cell: CellScore, folder: Path) -> Case:
    truth = read_labels(sequence.gold[cell.time]) == cell.label
    found = read_labels(_found(sequence, folder)[cell.time])
    covering = found[truth & (found > 0)]
    guess = found == (np.bincount(covering).argmax() if covering.size else -1)
    frames = open_frames([str(path) for path in sequence.frames])
    return Case(
        f"{cell.jaccard:.2f}  {cell.sequence} t{cell.time} #{cell.label}",
        frames.read(cell.time),
        estimate_limits(frames),
        truth,
        guess,
    )
