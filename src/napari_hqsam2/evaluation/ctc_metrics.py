"""SEG, DET and TRA of the Cell Tracking Challenge."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_hqsam2._types import LabelArray

EXTRA_HINT = "Install it with: python -m pip install 'napari-hqsam2[evaluate]'"


@dataclass(frozen=True, slots=True)
class TrackingMeasures:
    """How well cells were detected and linked, 0 to 1."""

    det: float
    tra: float


def cell_overlaps(truth: LabelArray, found: LabelArray) -> dict[int, float]:
    """Jaccard index of every true cell with the one that covers most of it.

    Parameters
    ----------
    truth, found : ndarray
        (H, W) labels.

    Returns
    -------
    dict
        By true label; 0 where no cell covers more than half of it. Their mean is SEG.

    Notes
    -----
    Maška et al., "A benchmark for comparison of cell tracking algorithms",
    Bioinformatics 2014.
    """
    result = {}
    for value in np.unique(truth[truth > 0]):
        cell = truth == value
        labels, counts = np.unique(found[cell], return_counts=True)
        best = counts.argmax()
        shared, size = int(counts[best]), np.count_nonzero(cell)
        result[int(value)] = 0.0
        if labels[best] and 2 * shared > size:
            union = size + np.count_nonzero(found == labels[best]) - shared
            result[int(value)] = shared / union
    return result


def metrics_function() -> Callable[..., dict[str, Any]]:
    """What measures a sequence in the package ``py-ctcmetrics``.

    Raises
    ------
    EvaluationError
        The package is missing.
    """
    try:
        from ctc_metrics.scripts.evaluate import evaluate_sequence  # noqa: PLC0415
    except ModuleNotFoundError as error:
        msg = f"DET and TRA need the package py-ctcmetrics. {EXTRA_HINT}"
        raise EvaluationError(msg) from error
    measure: Callable[..., dict[str, Any]] = evaluate_sequence
    return measure


def tracking_measures(result: Path, truth: Path) -> TrackingMeasures:
    """DET and TRA of a result, by the package ``py-ctcmetrics``.

    Parameters
    ----------
    result : Path
        Folder with ``mask*.tif`` and ``res_track.txt``.
    truth : Path
        Folder with ``TRA``.

    Returns
    -------
    TrackingMeasures
        0 for a result without any track.

    Raises
    ------
    EvaluationError
        The package is missing, or finds the result invalid.

    Notes
    -----
    Matula et al., "Cell Tracking Accuracy Measurement Based on Comparison of Acyclic
    Oriented Graphs", PLoS ONE 2015.
    """
    evaluate_sequence = metrics_function()
    if not (result / "res_track.txt").stat().st_size:
        return TrackingMeasures(0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # it warns of frames without cells, which are no fault
        warnings.simplefilter("ignore", UserWarning)
        figures = evaluate_sequence(
            str(result), str(truth), ["Valid", "DET", "TRA"], threads=1
        )
    if not figures["Valid"]:
        msg = f"The tracks in {result} contradict its label images."
        raise EvaluationError(msg)
    return TrackingMeasures(float(figures["DET"]), float(figures["TRA"]))
