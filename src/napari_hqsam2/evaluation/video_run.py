"""``evaluate video``: objects followed from their first masks; J, F and J&F."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.cases import CASES_NAME, Case, extremes, write_cases
from napari_hqsam2.evaluation.contours import Statistics, contour_f
from napari_hqsam2.evaluation.following import StartKind, follow, start_prompt
from napari_hqsam2.evaluation.label_files import read_labels
from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.evaluation.results import Journal, Table, mean, write_table
from napari_hqsam2.outlines import object_colour
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import estimate_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.evaluation.results import Cell, Run
    from napari_hqsam2.evaluation.video_layouts import VideoSequence
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

logger = logging.getLogger(__name__)
OBJECTS_NAME, SEQUENCES_NAME = "objects.csv", "sequences.csv"
MASKS_NAME = "masks"
MOST_OBJECTS = 255
"""Labels that an indexed PNG has room for."""
FIGURES = ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")


@dataclass(frozen=True, slots=True)
class TrackScore:
    """One object of one video: a row of objects.csv."""

    item: str
    """Name of the video."""
    obj_id: int
    first_frame: int
    frames: int
    """Number of frames that count."""
    worst_frame: int
    """The one with the least J; -1 if none counts."""
    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float

    @property
    def jf(self) -> float:
        """J&F, the mean of both means."""
        return (self.j_mean + self.f_mean) / 2


@dataclass
class _Track:
    """Scores of one object so far."""

    first_frame: int
    frames: list[int] = field(default_factory=list)
    j: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)

    def row(self, item: str, obj_id: int) -> TrackScore:
        worst = self.frames[int(np.argmin(self.j))] if self.frames else -1
        j, f = Statistics.of(self.j), Statistics.of(self.f)
        return TrackScore(
            item,
            obj_id,
            self.first_frame,
            len(self.frames),
            worst,
            *(j.mean, j.recall, j.decay),
            *(f.mean, f.recall, f.decay),
        )


def evaluate_videos(
    predictor: SAM2VideoPredictor,
    sequences: Sequence[VideoSequence],
    start: StartKind,
    run: Run,
) -> list[Table]:
    """Measure a model on videos; goes on where it was interrupted.

    The first and the last frame of a video do not count, nor does an object up to the
    frame that it is first marked on.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        The model under test, with its use of the HQ mask.
    sequences : sequence of VideoSequence
        The videos.
    start : {"mask", "box", "click"}
        What an object begins with.
    run : Run
        Where to; objects.csv, sequences.csv, summary.json, cases.png and an indexed
        PNG for every frame are written.

    Returns
    -------
    list of Table
        Means over all objects, and over those of each video.

    Raises
    ------
    EvaluationError, StackError
        Frames or masks cannot be used.
    """
    run.begin()
    journal = Journal(run.folder / OBJECTS_NAME, TrackScore)
    for done, sequence in enumerate(sequences):
        run.progress(done, len(sequences))
        if sequence.name not in journal.finished:
            masks = run.folder / MASKS_NAME / sequence.name
            journal.add(sequence.name, _scored(predictor, sequence, start, masks))
    run.progress(len(sequences), len(sequences))
    if not any(row.frames for row in journal.rows):
        logger.warning(
            "No frame that counts has true masks, so there is no score. The masks in "
            "%s can be handed in where the truth is.",
            run.folder / MASKS_NAME,
        )
    tables = [_means(journal.rows), _by_sequence(journal.rows)]
    write_table(run.folder / SEQUENCES_NAME, tables[1])
    counted = [row for row in journal.rows if row.frames]
    by_name = {sequence.name: sequence for sequence in sequences}
    chosen = extremes(counted, lambda row: row.jf)
    cases = [_case(by_name[row.item], row, run.folder) for row in chosen]
    write_cases(run.folder / CASES_NAME, cases)
    run.finish(tables)
    return tables


def _scored(
    predictor: SAM2VideoPredictor,
    sequence: VideoSequence,
    start: StartKind,
    masks: Path,
) -> list[TrackScore]:
    firsts = sequence.first_masks()
    if not firsts or max(firsts) > MOST_OBJECTS:
        msg = (
            f"The masks of {sequence.name} hold objects {sorted(firsts)}; there must "
            f"be some, with labels from 1 to {MOST_OBJECTS}."
        )
        raise EvaluationError(msg)
    masks.mkdir(parents=True, exist_ok=True)
    prompts = [
        start_prompt(frame, obj_id, truth, start)
        for obj_id, (frame, truth) in firsts.items()
    ]
    tracks = {obj_id: _Track(frame) for obj_id, (frame, _) in firsts.items()}
    frames = open_frames([str(path) for path in sequence.frames])
    for frame, labels in follow(predictor, frames, prompts):
        _write_mask(masks / f"{sequence.frames[frame].stem}.png", labels)
        if 0 < frame < len(frames) - 1 and frame in sequence.annotations:
            _score_frame(tracks, sequence, frame, labels)
    return [track.row(sequence.name, obj_id) for obj_id, track in tracks.items()]


def _score_frame(
    tracks: dict[int, _Track], sequence: VideoSequence, frame: int, labels: LabelArray
) -> None:
    truths = sequence.truth(frame)
    counts = ~sequence.void(truths)
    for obj_id, track in tracks.items():
        if frame > track.first_frame:
            guess, truth = (labels == obj_id) & counts, truths == obj_id
            track.frames.append(frame)
            track.j.append(iou(guess, truth))
            track.f.append(contour_f(guess, truth))


def _write_mask(path: Path, labels: LabelArray) -> None:
    image = Image.fromarray(labels.astype(np.uint8))
    colours = [(0, 0, 0), *(object_colour(i) for i in range(1, MOST_OBJECTS + 1))]
    image.putpalette([channel for colour in colours for channel in colour])
    image.save(path)


def _figures(rows: Sequence[TrackScore]) -> tuple[float, ...]:
    means = [mean([getattr(row, name) for row in rows]) for name in FIGURES]
    return mean([row.jf for row in rows]), *means


def _means(rows: Sequence[TrackScore]) -> Table:
    videos = len({row.item for row in rows})
    columns = ("videos", "objects", "j_and_f", *FIGURES)
    return Table("means", columns, ((videos, len(rows), *_figures(rows)),))


def _by_sequence(rows: Sequence[TrackScore]) -> Table:
    groups = defaultdict(list)
    for row in rows:
        groups[row.item].append(row)
    figures: list[tuple[Cell, ...]] = [
        (name, len(group), *_figures(group)) for name, group in sorted(groups.items())
    ]
    return Table("sequences", ("video", "objects", "j_and_f", *FIGURES), tuple(figures))


def _case(sequence: VideoSequence, row: TrackScore, folder: Path) -> Case:
    frame = row.worst_frame
    path = sequence.frames[frame]
    frames = open_frames([str(each) for each in sequence.frames])
    found = read_labels(folder / MASKS_NAME / sequence.name / f"{path.stem}.png")
    return Case(
        f"J&F {row.jf:.2f}  {row.item} #{row.obj_id} frame {frame}",
        frames.read(frame),
        estimate_limits(frames),
        sequence.truth(frame) == row.obj_id,
        found == row.obj_id,
    )
