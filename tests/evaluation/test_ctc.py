"""The Cell Tracking Challenge: measures by hand, layout, results."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from ctc_metrics.metrics import seg
from ctc_metrics.utils.representations import match
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.ctc_layout import (
    ResultWriter,
    Track,
    find_ctc_sequences,
    read_tracks,
)
from napari_hqsam2.evaluation.ctc_metrics import cell_overlaps, tracking_measures
from napari_hqsam2.evaluation.ctc_run import evaluate_ctc

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.evaluation.ctc_layout import CtcSequence
    from napari_hqsam2.evaluation.results import Run
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

LABELS = hnp.arrays(np.uint16, (4, 6), elements=st.integers(0, 3))


@pytest.fixture
def sequence(ctc: Path) -> CtcSequence:
    (found,) = find_ctc_sequences(ctc)
    return found


def test_overlaps_by_hand() -> None:
    truth = np.array([[1, 1, 1, 1, 2, 2, 3, 3]])
    found = np.array([[5, 5, 5, 0, 5, 5, 6, 0]])
    # 5 covers three of the four pixels of 1 and all of 2; 6 covers just a half of 3.
    assert cell_overlaps(truth, found) == {1: 3 / 6, 2: 2 / 5, 3: 0.0}


@given(truth=LABELS.filter(np.any), found=LABELS)
def test_their_mean_is_seg_of_the_metrics_package(
    tmp_path_factory: pytest.TempPathFactory, truth: np.ndarray, found: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("seg")
    # the package takes for granted that there is background
    truth, found = np.pad(truth, 1), np.pad(found, 1)
    for name, labels in (("truth", truth), ("found", found)):
        tifffile.imwrite(folder / f"{name}.tif", labels)
    matched = match(str(folder / "truth.tif"), str(folder / "found.tif"))
    overlaps = cell_overlaps(truth, found)
    expected = seg([matched[0]], [matched[4]])
    assert np.mean(list(overlaps.values())) == pytest.approx(expected)


def write_truth_as_result(sequence: CtcSequence, folder: Path, lost: int = -1) -> None:
    folder.mkdir()
    writer = ResultWriter(folder, sequence)
    for time, path in sequence.markers.items():
        labels = tifffile.imread(path).astype(np.int32)
        if time == lost:
            labels[labels == 2] = 0
        writer.add(time, labels)
    writer.finish()


def test_the_truth_itself_is_perfect(sequence: CtcSequence, tmp_path: Path) -> None:
    write_truth_as_result(sequence, tmp_path / "01_RES")
    tracks = (tmp_path / "01_RES" / "res_track.txt").read_text(encoding="utf-8")
    truth = (sequence.truth / "TRA" / "man_track.txt").read_text(encoding="utf-8")
    assert tracks == truth
    measures = tracking_measures(tmp_path / "01_RES", sequence.truth)
    assert (measures.det, measures.tra) == (1, 1)


def test_a_lost_cell_by_hand(sequence: CtcSequence, tmp_path: Path) -> None:
    write_truth_as_result(sequence, tmp_path / "01_RES", lost=2)
    # Found again, the cell is a new track of the old one.
    assert read_tracks(tmp_path / "01_RES" / "res_track.txt") == (
        Track(1, 0, 2, 0),
        Track(2, 0, 1, 0),
        Track(3, 2, 4, 0),
        Track(4, 3, 4, 1),
        Track(5, 3, 4, 1),
        Track(6, 3, 4, 2),
    )
    measures = tracking_measures(tmp_path / "01_RES", sequence.truth)
    # Of 15 cells one is missing (weight 10); of 12 links the two of this cell are
    # missing (1.5 each), and the link over the gap is one too many (1).
    cells, links = 3 + 5 + 3 + 2 + 2, 2 + 4 + 2 + 1 + 1 + 2
    assert measures.det == pytest.approx(1 - 10 / (10 * cells))
    nothing_found = 10 * cells + 1.5 * links
    assert measures.tra == pytest.approx(1 - (10 + 2 * 1.5 + 1) / nothing_found)


def test_a_result_without_tracks_is_worth_nothing(
    sequence: CtcSequence, tmp_path: Path
) -> None:
    folder = tmp_path / "01_RES"
    folder.mkdir()
    writer = ResultWriter(folder, sequence)
    for time in sequence.markers:
        writer.add(time, np.zeros((64, 80), np.int32))
    writer.finish()
    assert tracking_measures(folder, sequence.truth).tra == 0


def test_a_cell_begins_with_its_mask_where_there_is_one(sequence: CtcSequence) -> None:
    mask, is_mask = sequence.first_mask(sequence.tracks[0])
    marker, has_mask = sequence.first_mask(sequence.tracks[2])
    assert is_mask
    assert mask.sum() == (tifffile.imread(sequence.gold[0]) == 1).sum()
    assert not has_mask
    assert marker.sum() == (tifffile.imread(sequence.markers[2]) == 3).sum()


def test_a_mother_ends_where_her_daughters_begin(
    predictor: SAM2VideoPredictor, sequence: CtcSequence, run: Run
) -> None:
    (table,) = evaluate_ctc(predictor, [sequence], "mask", run)
    tracks = read_tracks(run.folder / "01_RES" / "res_track.txt")
    by_label = {track.label: track for track in tracks}
    assert by_label[1].end <= 2
    assert {by_label[4].parent, by_label[5].parent} == {1}
    first, mean = table.records()
    assert (first["sequence"], first["tracks"]) == ("01", 5)
    assert mean == first | {"sequence": "mean"}


def test_what_the_prompts_show_is_told_apart(
    predictor: SAM2VideoPredictor, sequence: CtcSequence, run: Run
) -> None:
    (table,) = evaluate_ctc(predictor, [sequence], "mask", run)
    with (run.folder / "cells.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    shown = [(c["time"], c["label"]) for c in cells if c["followed"] == "False"]
    # 3 begins at time 2, which has no true masks.
    assert shown == [("0", "1"), ("0", "2"), ("3", "4"), ("3", "5")]
    followed = [float(c["jaccard"]) for c in cells if c["followed"] == "True"]
    assert len(followed) == 8
    row = table.records()[0]
    assert row["seg_followed"] == pytest.approx(np.mean(followed), abs=1e-6)
    assert row["seg"] > row["seg_followed"]


def test_the_package_of_metrics_is_asked_for_before_the_work(
    predictor: SAM2VideoPredictor,
    sequence: CtcSequence,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ctc_metrics.scripts.evaluate", None)
    with pytest.raises(EvaluationError, match=r"napari-hqsam2\[evaluate\]"):
        evaluate_ctc(predictor, [sequence], "mask", run)
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "01" / "t002.tif").unlink(), "complete"),
        (
            lambda folder: (folder / "01_GT" / "TRA" / "man_track000.tif").unlink(),
            "4 label images, 01 5",
        ),
        (
            lambda folder: (folder / "01_GT" / "TRA" / "man_track.txt").unlink(),
            "man_track",
        ),
        (
            lambda folder: (folder / "01_GT" / "TRA" / "man_track.txt").write_text(
                "1 0 4 0\n2 9 9 0\n", encoding="utf-8"
            ),
            "track 2 begins at time 9, but there are times 0 to 4",
        ),
        (
            lambda folder: tifffile.imwrite(
                folder / "01" / "t000.tif", np.zeros((5, 64, 80), np.uint8)
            ),
            "2D images",
        ),
        (lambda folder: (folder / "01_GT").rename(folder / "truth"), "01_GT"),
    ],
)
def test_what_is_missing_is_named(ctc: Path, change: object, message: str) -> None:
    change(ctc)  # type: ignore[operator]
    with pytest.raises(EvaluationError, match=message):
        find_ctc_sequences(ctc)
