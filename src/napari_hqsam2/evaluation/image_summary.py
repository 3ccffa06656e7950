"""What the scores of single objects come to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.evaluation.results import Table, mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_hqsam2.evaluation.results import Cell

SHOWN_PROMPTS = (
    "click_1",
    "click_3",
    "click_5",
    "box",
    "box_click",
    "otsu_watershed",
    "box_ellipse",
    "box_filled",
)
SIZED_PROMPTS = ("click_1", "click_3", "box")
GOALS = (0.85, 0.90)
OBJECT_SIZES = (("small", 32**2), ("medium", 96**2))
"""Areas in pixels below which an object is small, and medium (COCO)."""
IMAGE_SIZES = (256, 512, 1024, 2048)
"""Longest sides up to which images are counted together."""


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """One mask of one object: a row of scores.csv."""

    item: str
    """Name of the pair of files."""
    frame: str
    """Name of the frame; that of the file if it has only one."""
    height: int
    width: int
    number: int
    """Place of the object among those of the frame that were measured."""
    label: int
    area: int
    """In pixels."""
    hq: str
    """Use of the high-quality mask; empty for a baseline."""
    masks: str
    """Single mask or candidates; empty for a baseline."""
    prompt: str
    iou: float
    boundary_iou: float

    @property
    def method(self) -> tuple[str, str]:
        """How the model was used."""
        return self.hq, self.masks


def object_size(score: ObjectScore) -> str:
    """Size of the object in COCO's words."""
    for name, limit in OBJECT_SIZES:
        if score.area < limit:
            return name
    return "large"


def image_size(score: ObjectScore) -> str:
    """Size of the image by its longest side in pixels."""
    longest = max(score.height, score.width)
    for limit in IMAGE_SIZES:
        if longest <= limit:
            return f"<= {limit} px"
    return f"> {IMAGE_SIZES[-1]} px"


def image_tables(scores: Sequence[ObjectScore], clicks: int) -> list[Table]:
    """Tables of a run.

    Parameters
    ----------
    scores : sequence of ObjectScore
        Of all objects.
    clicks : int
        Most clicks that an object was given.
    """
    return [
        _means(scores),
        _clicks_needed(scores, clicks),
        _by_size("by_object_size", scores, object_size),
        _by_size("by_image_size", scores, image_size),
    ]


def _grouped(
    scores: Iterable[ObjectScore], key: Callable[[ObjectScore], tuple[str, ...]]
) -> dict[tuple[str, ...], list[ObjectScore]]:
    groups = defaultdict(list)
    for score in scores:
        groups[key(score)].append(score)
    return groups


def _means(scores: Sequence[ObjectScore]) -> Table:
    groups = _grouped(scores, lambda s: (*s.method, s.prompt))
    ordered = sorted(
        (key for key in groups if key[2] in SHOWN_PROMPTS),
        key=lambda key: SHOWN_PROMPTS.index(key[2]),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            *key,
            len(groups[key]),
            mean([score.iou for score in groups[key]]),
            mean([score.boundary_iou for score in groups[key]]),
        )
        for key in ordered
    ]
    columns = ("hq", "masks", "prompt", "objects", "iou", "boundary_iou")
    return Table("means", columns, tuple(rows))


def clicks_needed(ious: Sequence[float], goal: float, most: int) -> int | None:
    """Number of the first click whose mask has the IoU; None if none of `most` has.

    Parameters
    ----------
    ious : sequence of float
        IoU after the first, second, ... click.
    goal : float
        IoU to be reached.
    most : int
        Clicks beyond are not looked at.
    """
    reached = (n for n, value in enumerate(ious[:most], 1) if value >= goal)
    return next(reached, None)


def _clicks_needed(scores: Sequence[ObjectScore], most: int) -> Table:
    clicked = [score for score in scores if score.prompt.startswith("click_")]
    rows: list[tuple[Cell, ...]] = []
    for method, of_method in _grouped(clicked, lambda s: s.method).items():
        series: defaultdict[tuple[str, str, int], dict[int, float]] = defaultdict(dict)
        for score in of_method:
            number = int(score.prompt.removeprefix("click_"))
            series[score.item, score.frame, score.number][number] = score.iou
        for goal in GOALS:
            needed = [
                clicks_needed([ious[n] for n in sorted(ious)], goal, most)
                for ious in series.values()
            ]
            counted = mean([float(most if n is None else n) for n in needed])
            failed = needed.count(None) / len(needed)
            rows.append((*method, goal, len(needed), counted, failed, most))
    columns = ("hq", "masks", "goal", "objects", "clicks", "not_reached", "most_clicks")
    return Table("clicks_needed", columns, tuple(rows))


def _by_size(
    name: str, scores: Sequence[ObjectScore], size: Callable[[ObjectScore], str]
) -> Table:
    sized = [score for score in scores if score.prompt in SIZED_PROMPTS]
    groups = _grouped(sized, lambda s: (*s.method, size(s), s.prompt))
    rows: list[tuple[Cell, ...]] = [
        (
            *key,
            len(group),
            mean([score.iou for score in group]),
            mean([score.boundary_iou for score in group]),
        )
        for key, group in sorted(groups.items())
    ]
    columns = ("hq", "masks", "size", "prompt", "objects", "iou", "boundary_iou")
    return Table(name, columns, tuple(rows))
