"""``evaluate images``: every object of a folder of images by clicks and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from napari_hqsam2.evaluation.baselines import otsu_watershed
from napari_hqsam2.evaluation.cases import CASES_NAME, Case, extremes, write_cases
from napari_hqsam2.evaluation.image_summary import ObjectScore, image_tables
from napari_hqsam2.evaluation.label_files import read_pair
from napari_hqsam2.evaluation.measures import boundary_iou, boundary_width
from napari_hqsam2.evaluation.objects import find_objects, spread_objects
from napari_hqsam2.evaluation.protocol import (
    Protocol,
    baseline_masks,
    prompted_masks,
)
from napari_hqsam2.evaluation.results import Journal
from napari_hqsam2.predictors.intensity import to_unit_rgb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_hqsam2._types import HW, BoolArray, LabelArray
    from napari_hqsam2.evaluation.label_files import FilePair, LabelledFrame
    from napari_hqsam2.evaluation.objects import LabelledObject
    from napari_hqsam2.evaluation.prompting import MaskMode
    from napari_hqsam2.evaluation.protocol import Guess
    from napari_hqsam2.evaluation.results import Run, Table
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

SCORES_NAME = "scores.csv"
CHUNK = 16
"""Objects whose whole masks are held at once."""
CASE_PROMPTS = ("click_1", "box")


@dataclass(frozen=True)
class ImageOptions:
    """What is measured on every image."""

    hq: tuple[HqMode, ...] = ("add",)
    masks: tuple[MaskMode, ...] = ("auto",)
    clicks: int = 20
    boundary_px: int | None = None
    """Width of the rim in pixels; None takes the paper's share of the diagonal."""
    objects: int | None = None
    """Most objects of an image, evenly spread over its labels."""
    split: bool = False
    """Pieces of a label that do not touch are objects of their own."""
    min_area: int = 10
    """Smaller objects (in pixels) are left out."""
    channels: tuple[int, ...] | None = None
    baselines: bool = True

    def width(self, hw: HW) -> int:
        """Width of the rim for an image of this size."""
        return boundary_width(hw) if self.boundary_px is None else self.boundary_px

    def chosen(self, frame: LabelledFrame) -> list[LabelledObject]:
        """Objects of a frame that are measured."""
        found = find_objects(frame.labels, split=self.split, min_area=self.min_area)
        return spread_objects(found, self.objects)


def evaluate_images(
    predictor: SAM2ImagePredictor,
    pairs: Sequence[FilePair],
    options: ImageOptions,
    run: Run,
) -> list[Table]:
    """Measure a model on images with labels; goes on where it was interrupted.

    Every file is encoded once, whatever is asked of it.

    Parameters
    ----------
    predictor : SAM2ImagePredictor
        The model under test.
    pairs : sequence of FilePair
        Images or stacks, and their labels.
    options : ImageOptions
        What is measured.
    run : Run
        Where to; scores.csv, summary.json and cases.png are written.

    Returns
    -------
    list of Table
        Means by kind of prompt, clicks needed, and both by size.

    Raises
    ------
    EvaluationError, StackError
        A pair of files cannot be used.
    """
    run.begin()
    journal = Journal(run.folder / SCORES_NAME, ObjectScore)
    for done, pair in enumerate(pairs):
        run.progress(done, len(pairs))
        if pair.name not in journal.finished:
            frames = read_pair(pair, options.channels)
            rows = [_rows(predictor, pair.name, frame, options) for frame in frames]
            journal.add(pair.name, list(chain.from_iterable(rows)))
    run.progress(len(pairs), len(pairs))
    tables = image_tables(journal.rows, options.clicks)
    cases = _cases(predictor, pairs, journal.rows, options)
    write_cases(run.folder / CASES_NAME, cases)
    run.finish(tables)
    return tables


def _rows(
    predictor: SAM2ImagePredictor,
    item: str,
    frame: LabelledFrame,
    options: ImageOptions,
) -> list[ObjectScore]:
    found = options.chosen(frame)
    if not found:
        return []
    height, width = frame.labels.shape
    predictor.set_image(frame.image, contrast_limits=frame.limits)
    plain = None
    if options.baselines:
        plain = otsu_watershed(to_unit_rgb(frame.image, frame.limits))
    rows = []
    for first in range(0, len(found), CHUNK):
        chunk = found[first : first + CHUNK]
        truths = [each.full((height, width)) for each in chunk]
        for hq, masks, guess in _guesses(predictor, truths, options, plain):
            truth, area = truths[guess.index], chunk[guess.index].area
            rim = options.width((height, width))
            rows.append(
                ObjectScore(
                    item=item,
                    frame=frame.name,
                    height=height,
                    width=width,
                    number=first + guess.index,
                    label=chunk[guess.index].value,
                    area=area,
                    hq=hq,
                    masks=masks,
                    prompt=guess.prompt,
                    iou=guess.iou,
                    boundary_iou=boundary_iou(guess.mask, truth, rim),
                )
            )
    return rows


def _guesses(
    predictor: SAM2ImagePredictor,
    truths: list[BoolArray],
    options: ImageOptions,
    plain: LabelArray | None,
) -> Iterator[tuple[str, str, Guess]]:
    for hq in options.hq:
        predictor.hq = hq
        for masks in options.masks:
            protocol = Protocol(clicks=options.clicks, masks=masks)
            for guess in prompted_masks(predictor, truths, protocol):
                yield hq, masks, guess
    if plain is not None:
        for guess in baseline_masks(plain, truths):
            yield "", "", guess


def _cases(
    predictor: SAM2ImagePredictor,
    pairs: Sequence[FilePair],
    scores: Sequence[ObjectScore],
    options: ImageOptions,
) -> list[Case]:
    """Masks of the worst and best objects, made once more."""
    chosen: list[ObjectScore] = []
    for prompt in CASE_PROMPTS:
        shown = [
            score
            for score in scores
            if score.prompt == prompt
            and score.method == (options.hq[0], options.masks[0])
        ]
        chosen += extremes(shown, lambda score: score.iou)
    predictor.hq = options.hq[0]
    cases: dict[int, Case] = {}
    for pair in pairs:
        wanted = {i: s for i, s in enumerate(chosen) if s.item == pair.name}
        for frame in read_pair(pair, options.channels) if wanted else ():
            of_frame = {i: s for i, s in wanted.items() if s.frame == frame.name}
            cases |= _cases_of(predictor, frame, of_frame, options)
    return [cases[i] for i in sorted(cases)]


def _cases_of(
    predictor: SAM2ImagePredictor,
    frame: LabelledFrame,
    scores: Mapping[int, ObjectScore],
    options: ImageOptions,
) -> dict[int, Case]:
    if not scores:
        return {}
    found = options.chosen(frame)
    height, width = frame.labels.shape
    predictor.set_image(frame.image, contrast_limits=frame.limits)
    cases = {}
    for place, score in scores.items():
        truth = found[score.number].full((height, width))
        protocol = Protocol(int(score.prompt != "box"), options.masks[0], False)
        for guess in prompted_masks(predictor, [truth], protocol):
            if guess.prompt == score.prompt:
                title = f"{score.prompt} {score.iou:.2f}  {frame.name}"
                cases[place] = Case(title, frame.image, frame.limits, truth, guess.mask)
    return cases
