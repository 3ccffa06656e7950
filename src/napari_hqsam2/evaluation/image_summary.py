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
SIZED_PROMPTS = ("click_1", "click_3", "click_5", "box", "box_click")
GOALS = (0.85, 0.90)


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


@dataclass(frozen=True)
class Sizes:
    """A way to sort scores by size."""

    name: str
    limits: tuple[tuple[str, int], ...]
    """Names of sizes, and the numbers of pixels below which they are counted."""
    beyond: str
    """Name of what is larger."""
    pixels: Callable[[ObjectScore], int]

    @property
    def names(self) -> tuple[str, ...]:
        """All sizes, the smallest first."""
        return (*(name for name, _ in self.limits), self.beyond)

    def of(self, score: ObjectScore) -> str:
        """Size of one score."""
        pixels = self.pixels(score)
        return next(
            (name for name, limit in self.limits if pixels < limit), self.beyond
        )


BY_OBJECT = Sizes(
    "object_size",
    (("small", 32**2), ("medium", 96**2)),
    "large",
    lambda score: score.area,
)
"""By area, with COCO's limits."""
BY_IMAGE = Sizes(
    "image_size",
    tuple((f"<= {side} px", side + 1) for side in (256, 512, 1024, 2048)),
    "> 2048 px",
    lambda score: max(score.height, score.width),
)
"""By the longer side of the image."""


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
        _by_size(scores, BY_OBJECT),
        _clicks_needed(scores, clicks, BY_OBJECT),
        _by_size(scores, BY_IMAGE),
        _clicks_needed(scores, clicks, BY_IMAGE),
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


def _clicks_needed(
    scores: Sequence[ObjectScore], most: int, sizes: Sizes | None = None
) -> Table:
    """Mean number of clicks until a goal is reached, of all objects or by size."""
    clicked = [score for score in scores if score.prompt.startswith("click_")]
    groups = _grouped(clicked, lambda s: (*s.method, sizes.of(s) if sizes else ""))
    rows: list[tuple[Cell, ...]] = []
    for (hq, masks, size), group in sorted(groups.items(), key=_order(sizes)):
        series: defaultdict[tuple[str, str, int], dict[int, float]] = defaultdict(dict)
        for score in group:
            number = int(score.prompt.removeprefix("click_"))
            series[score.item, score.frame, score.number][number] = score.iou
        for goal in GOALS:
            needed = [
                clicks_needed([ious[n] for n in sorted(ious)], goal, most)
                for ious in series.values()
            ]
            counted = mean([float(most if n is None else n) for n in needed])
            failed = needed.count(None) / len(needed)
            method = (hq, masks, size) if sizes else (hq, masks)
            rows.append((*method, goal, len(needed), counted, failed, most))
    figures = ("goal", "objects", "clicks", "not_reached", "most_clicks")
    if sizes is None:
        return Table("clicks_needed", ("hq", "masks", *figures), tuple(rows))
    columns = ("hq", "masks", "size", *figures)
    return Table(f"clicks_needed_by_{sizes.name}", columns, tuple(rows))


def _order(
    sizes: Sizes | None,
) -> Callable[[tuple[tuple[str, ...], object]], tuple[str | int, ...]]:
    """Key to sort groups by, small before large; the third part of a key is a size."""
    names = sizes.names if sizes else ("",)

    def key(group: tuple[tuple[str, ...], object]) -> tuple[str | int, ...]:
        hq, masks, size, *prompts = group[0]
        return hq, masks, names.index(size), *map(SHOWN_PROMPTS.index, prompts)

    return key


def _by_size(scores: Sequence[ObjectScore], sizes: Sizes) -> Table:
    sized = [score for score in scores if score.prompt in SIZED_PROMPTS]
    groups = _grouped(sized, lambda s: (*s.method, sizes.of(s), s.prompt))
    rows: list[tuple[Cell, ...]] = [
        (
            *key,
            len(group),
            mean([score.iou for score in group]),
            mean([score.boundary_iou for score in group]),
        )
        for key, group in sorted(groups.items(), key=_order(sizes))
    ]
    columns = ("hq", "masks", "size", "prompt", "objects", "iou", "boundary_iou")
    return Table(f"by_{sizes.name}", columns, tuple(rows))
