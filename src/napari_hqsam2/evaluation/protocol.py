"""The interactive protocol: clicks where the error is largest, boxes, box and click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.evaluation.baselines import (
    box_mask,
    ellipse_mask,
    look_up,
)
from napari_hqsam2.evaluation.clicks import box_of, interior_point, largest_error
from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.evaluation.prompting import Conversation, batch_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_hqsam2._types import HW, BoolArray, LabelArray
    from napari_hqsam2.evaluation.prompting import MaskMode
    from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

ALWAYS_CLICKED = 5
"""Every object gets so many clicks; more only if it has not reached its goal."""
GOAL = 0.9
"""IoU from which on no more clicks are given."""


@dataclass(frozen=True)
class Protocol:
    """What is asked of the model for every object."""

    clicks: int = 20
    """Most clicks: the first in the middle of the object, each of the others in the
    largest error of the mask before; 0 for none."""
    masks: MaskMode = "auto"
    box_and_click: bool = True
    """Also correct the mask of a box with one click."""


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """The mask of one object for one kind of prompt."""

    index: int
    """Of the object among those asked for."""
    prompt: str
    """click_1, click_2, ..., box, box_click, or the name of a baseline."""
    mask: BoolArray
    """(H, W)."""
    iou: float


def prompted_masks(
    predictor: SAM2ImagePredictor, truths: Sequence[BoolArray], protocol: Protocol
) -> Iterator[Guess]:
    """Ask for objects of the image that was set in a predictor.

    Parameters
    ----------
    predictor : SAM2ImagePredictor
        With an image; its use of the HQ mask counts.
    truths : sequence of ndarray
        (H, W) masks of the objects, none of them empty.
    protocol : Protocol
        What is asked.

    Yields
    ------
    Guess
        Object by object and prompt by prompt, in no particular order.
    """
    if not len(truths):
        return
    height, width = truths[0].shape
    size = batch_size(predictor, (height, width))
    for first in range(0, len(truths), size):
        batch = truths[first : first + size]
        for found in (
            _clicked(predictor, batch, protocol),
            _boxed(predictor, batch, protocol),
        ):
            for row, prompt, mask in found:
                yield Guess(first + row, prompt, mask, iou(mask, batch[row]))


def _hw(truths: Sequence[BoolArray]) -> HW:
    height, width = truths[0].shape
    return height, width


def _clicked(
    predictor: SAM2ImagePredictor, truths: Sequence[BoolArray], protocol: Protocol
) -> Iterator[tuple[int, str, BoolArray]]:
    if not protocol.clicks:
        return
    clicks = [(*interior_point(truth), True) for truth in truths]
    talk = Conversation.about(predictor, _hw(truths), protocol.masks, clicks=clicks)
    active = list(range(len(truths)))
    for number in range(1, protocol.clicks + 1):
        guesses = talk.masks()
        for row, guess in zip(active, guesses, strict=True):
            yield row, f"click_{number}", guess
        if number == protocol.clicks:
            return
        if number >= ALWAYS_CLICKED:
            unsolved = [
                place
                for place, row in enumerate(active)
                if iou(guesses[place], truths[row]) < GOAL
            ]
            talk.keep(unsolved)
            guesses = guesses[unsolved]
            active = [active[place] for place in unsolved]
            if not active:
                return
        errors = zip(guesses, active, strict=True)
        talk.click([largest_error(guess, truths[row]) for guess, row in errors])


def _boxed(
    predictor: SAM2ImagePredictor, truths: Sequence[BoolArray], protocol: Protocol
) -> Iterator[tuple[int, str, BoolArray]]:
    boxes = [box_of(truth) for truth in truths]
    talk = Conversation.about(predictor, _hw(truths), protocol.masks, boxes=boxes)
    guesses = talk.masks()
    for row, guess in enumerate(guesses):
        yield row, "box", guess
    if protocol.box_and_click:
        pairs = zip(guesses, truths, strict=True)
        talk.click([largest_error(guess, truth) for guess, truth in pairs])
        for row, guess in enumerate(talk.masks()):
            yield row, "box_click", guess


def baseline_masks(plain: LabelArray, truths: Sequence[BoolArray]) -> Iterator[Guess]:
    """What the same prompts give without a network.

    Parameters
    ----------
    plain : ndarray
        (H, W) labels of the whole image from `otsu_watershed`.
    truths : sequence of ndarray
        (H, W) masks of the objects, none of them empty.

    Yields
    ------
    Guess
        "otsu_watershed" for a click in the middle; "box_filled" and "box_ellipse".
    """
    height, width = plain.shape
    for index, truth in enumerate(truths):
        box = box_of(truth)
        masks = {
            "otsu_watershed": look_up(plain, *interior_point(truth)),
            "box_filled": box_mask((height, width), box),
            "box_ellipse": ellipse_mask((height, width), box),
        }
        for prompt, mask in masks.items():
            yield Guess(index, prompt, mask, iou(mask, truth))
