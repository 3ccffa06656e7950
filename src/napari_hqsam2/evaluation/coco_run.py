"""``evaluate coco``: masks from a detector's boxes, and their average precision."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation import coco_metrics
from napari_hqsam2.evaluation.cases import CASES_NAME, Case, extremes, write_cases
from napari_hqsam2.evaluation.prompting import Conversation, batch_size
from napari_hqsam2.evaluation.results import Journal, Table, mean
from napari_hqsam2.outlines import spread
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import estimate_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pycocotools.coco import COCO

    from napari_hqsam2._types import BoolArray
    from napari_hqsam2.evaluation.prompting import MaskMode
    from napari_hqsam2.evaluation.results import Run
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

MASKS_NAME = "masks.csv"
COLUMNS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "boundary_ap")


@dataclass(frozen=True, slots=True)
class DetectionBox:
    """What a detector found."""

    category_id: int
    score: float
    x: float
    y: float
    width: float
    height: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) as the predictor takes them."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True, slots=True)
class CocoMask:
    """The mask of one detection: a row of masks.csv."""

    item: str
    """Id of the image."""
    category_id: int
    score: float
    """Of the detector."""
    x: float
    y: float
    width: float
    height: float
    hq: str
    masks: str
    annotation_id: int
    """True object that the box means; -1 if there is none."""
    iou: float
    """With its mask."""
    rows: int
    columns: int
    counts: str
    """Run lengths of the mask, compressed as COCO does."""

    @property
    def segmentation(self) -> coco_metrics.Json:
        """Run lengths as pycocotools takes them."""
        return {"size": [self.rows, self.columns], "counts": self.counts}


@dataclass(frozen=True)
class CocoData:
    """Images, true masks and boxes."""

    folder: Path
    truth: COCO
    boxes: dict[int, list[DetectionBox]]
    """By image."""
    image_ids: tuple[int, ...]
    """Images that are measured."""

    def frame(self, image_id: int) -> FrameSource:
        """The image as a source of one frame."""
        path = self.folder / self.truth.imgs[image_id]["file_name"]
        if not path.is_file():
            msg = f"There is no image {path}, which the annotations name."
            raise EvaluationError(msg)
        return open_frames([str(path)])


def open_coco(
    images: Path, annotations: Path, boxes: Path | None, limit: int | None = None
) -> CocoData:
    """Open a data set in COCO's format.

    Parameters
    ----------
    images : Path
        Folder of the images.
    annotations : Path
        JSON with the true masks, such as ``instances_val2017.json``.
    boxes : Path, optional
        JSON list of a detector's boxes with ``image_id``, ``category_id``, ``bbox`` (x,
        y, width, height) and ``score``; without it the true boxes are taken.
    limit : int, optional
        At most this many images, evenly spread.

    Raises
    ------
    EvaluationError
        A file is not what it should be.
    """
    truth = coco_metrics.load_truth(annotations)
    image_ids = sorted(truth.getImgIds())
    chosen = tuple(
        image_ids[i] for i in spread(len(image_ids), limit or len(image_ids))
    )
    records = _true_boxes(truth) if boxes is None else _read_boxes(boxes)
    found: dict[int, list[DetectionBox]] = defaultdict(list)
    for record in records:
        image_id, box = _detection(record, boxes or annotations)
        found[image_id].append(box)
    if not found.keys() & set(image_ids):
        msg = (
            f"No box of {boxes or annotations} lies in an image of {annotations}; "
            "compare image_id."
        )
        raise EvaluationError(msg)
    return CocoData(images, truth, dict(found), chosen)


def _true_boxes(truth: COCO) -> list[coco_metrics.Json]:
    real = truth.loadAnns(truth.getAnnIds(iscrowd=False))
    return [each | {"score": 1.0} for each in real]


def _read_boxes(path: Path) -> list[coco_metrics.Json]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is not JSON: {error}"
        raise EvaluationError(msg) from error
    if not isinstance(records, list):
        msg = f"{path} must hold a list of boxes, as detectors write it for COCO."
        raise EvaluationError(msg)
    return records


def _detection(record: Any, path: Path) -> tuple[int, DetectionBox]:
    try:
        x, y, width, height = map(float, record["bbox"])
        box = DetectionBox(
            int(record["category_id"]), float(record["score"]), x, y, width, height
        )
        return int(record["image_id"]), box
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"A box of {path} is {record!r}; it needs image_id, category_id, score and "
            "bbox with x, y, width and height."
        )
        raise EvaluationError(msg) from error


def evaluate_coco(
    predictor: SAM2ImagePredictor,
    data: CocoData,
    hq: Sequence[HqMode],
    masks: Sequence[MaskMode],
    run: Run,
) -> list[Table]:
    """Turn boxes into masks and measure them; goes on where it was interrupted.

    Parameters
    ----------
    predictor : SAM2ImagePredictor
        The model under test.
    data : CocoData
        Images, truth and boxes.
    hq, masks : sequence
        Uses of the high-quality mask, and of the candidates, that are compared.
    run : Run
        Where to; masks.csv, summary.json and cases.png are written.

    Returns
    -------
    list of Table
        AP for each use of the model.

    Raises
    ------
    EvaluationError, StackError
        An image is missing or cannot be used.
    """
    run.begin()
    journal = Journal(run.folder / MASKS_NAME, CocoMask)
    modes = [(each, mask) for each in hq for mask in masks]
    for done, image_id in enumerate(data.image_ids):
        run.progress(done, len(data.image_ids))
        if str(image_id) not in journal.finished:
            journal.add(str(image_id), _rows(predictor, data, image_id, modes))
    run.progress(len(data.image_ids), len(data.image_ids))
    tables = [_table(data, journal.rows, modes)]
    _draw(data, journal.rows, modes[0], run.folder / CASES_NAME)
    run.finish(tables)
    return tables


def _rows(
    predictor: SAM2ImagePredictor,
    data: CocoData,
    image_id: int,
    modes: Sequence[tuple[HqMode, MaskMode]],
) -> list[CocoMask]:
    boxes = data.boxes.get(image_id, [])
    if not boxes:
        return []
    frame = data.frame(image_id)
    if frame.hw != coco_metrics.image_hw(data.truth, image_id):
        msg = f"Image {image_id} has {frame.hw} pixels, other than the annotations say."
        raise EvaluationError(msg)
    predictor.set_image(frame.read(0))
    rows = []
    size = batch_size(predictor, frame.hw)
    for hq, mode in modes:
        predictor.hq = hq
        for first in range(0, len(boxes), size):
            batch = boxes[first : first + size]
            corners = np.array([box.corners for box in batch])
            nothing = np.zeros((len(batch), 0))
            talk = Conversation(
                predictor, frame.hw, mode, nothing[..., None], nothing, corners
            )
            rows += _measured(data.truth, image_id, batch, talk.masks(), (hq, mode))
    return rows


def _measured(
    truth: COCO,
    image_id: int,
    boxes: Sequence[DetectionBox],
    masks: BoolArray,
    mode: tuple[str, str],
) -> list[CocoMask]:
    found: list[coco_metrics.Json] = [
        {
            "category_id": box.category_id,
            "bbox": [box.x, box.y, box.width, box.height],
            "segmentation": coco_metrics.encode(mask),
        }
        for box, mask in zip(boxes, masks, strict=True)
    ]
    overlaps = coco_metrics.true_overlaps(truth, image_id, found)
    height, width = masks.shape[1:]
    return [
        CocoMask(
            str(image_id),
            box.category_id,
            box.score,
            *(box.x, box.y, box.width, box.height),
            *mode,
            *overlap,
            height,
            width,
            each["segmentation"]["counts"],
        )
        for box, each, overlap in zip(boxes, found, overlaps, strict=True)
    ]


def _of_mode(rows: Sequence[CocoMask], mode: tuple[str, str]) -> list[CocoMask]:
    return [row for row in rows if (row.hq, row.masks) == mode]


def _table(
    data: CocoData, rows: Sequence[CocoMask], modes: Sequence[tuple[HqMode, MaskMode]]
) -> Table:
    lines = []
    for mode in modes:
        of_mode = _of_mode(rows, mode)
        found = [
            {
                "image_id": int(row.item),
                "category_id": row.category_id,
                "score": row.score,
                "segmentation": row.segmentation,
            }
            for row in of_mode
        ]
        precision = coco_metrics.average_precision(data.truth, found, data.image_ids)
        values = (getattr(precision, name) for name in COLUMNS)
        overlap = mean([row.iou for row in of_mode])
        lines.append((*mode, len(of_mode), *values, overlap))
    columns = ("hq", "masks", "boxes", *COLUMNS, "iou_of_matched")
    return Table("average_precision", columns, tuple(lines))


def _draw(
    data: CocoData, rows: Sequence[CocoMask], mode: tuple[str, str], path: Path
) -> None:
    matched = [row for row in _of_mode(rows, mode) if row.annotation_id >= 0]
    cases = []
    for row in extremes(matched, lambda row: row.iou):
        frame = data.frame(int(row.item))
        runs = data.truth.annToRLE(data.truth.anns[row.annotation_id])
        guess = coco_metrics.decode(row.segmentation)
        title = f"{row.iou:.2f}  image {row.item} object {row.annotation_id}"
        real = coco_metrics.decode(runs)
        cases.append(Case(title, frame.read(0), estimate_limits(frame), real, guess))
    write_cases(path, cases)
