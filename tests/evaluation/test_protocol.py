"""The interactive protocol, its summary, and the baselines beside it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hqsam2.evaluation.baselines import (
    box_mask,
    ellipse_mask,
    look_up,
    otsu_watershed,
)
from napari_hqsam2.evaluation.clicks import box_of, interior_point, largest_error
from napari_hqsam2.evaluation.image_run import ImageOptions, evaluate_images
from napari_hqsam2.evaluation.image_summary import (
    ObjectScore,
    clicks_needed,
    image_tables,
)
from napari_hqsam2.evaluation.label_files import pair_files
from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.evaluation.objects import find_objects, spread_objects
from napari_hqsam2.evaluation.prompting import Conversation
from napari_hqsam2.evaluation.protocol import (
    GOAL,
    Protocol,
    baseline_masks,
    prompted_masks,
)
from napari_hqsam2.geometry import data_yx_to_sam_xy
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.evaluation.results import Run
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor


def square(low: int, high: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[low:high, low:high] = True
    return mask


@pytest.fixture
def truths() -> list[np.ndarray]:
    first, second = np.zeros((2, 64, 80), bool)
    first[8:24, 8:24], second[36:56, 30:60] = True, True
    return [first, second]


@pytest.fixture
def asked(
    predictor: SAM2VideoPredictor, truths: list[np.ndarray]
) -> SAM2ImagePredictor:
    asked = SAM2ImagePredictor(predictor.model)
    asked.set_image(np.where(truths[0] | truths[1], 220, 30).astype(np.uint8))
    return asked


def test_clicks_are_those_of_single_calls(
    asked: SAM2ImagePredictor, truths: list[np.ndarray]
) -> None:
    found = defaultdict(dict)
    for guess in prompted_masks(asked, truths, Protocol(clicks=2)):
        found[guess.index][guess.prompt] = guess.mask
        assert guess.iou == iou(guess.mask, truths[guess.index])
    size = asked.model.image_size
    for index, truth in enumerate(truths):
        assert found[index].keys() == {"click_1", "click_2", "box", "box_click"}
        row, column = interior_point(truth)
        points = data_yx_to_sam_xy([(row, column)], truth.shape, size)
        masks, scores, logits = asked.predict(points, [1], multimask_output=True)
        best = scores.argmax()
        np.testing.assert_array_equal(found[index]["click_1"], masks[best])
        y, x, positive = largest_error(masks[best], truth)
        points = data_yx_to_sam_xy([(row, column), (y, x)], truth.shape, size)
        (mask,), _, _ = asked.predict(
            points,
            [1, int(positive)],
            mask_input=logits[best : best + 1],
            multimask_output=False,
        )
        assert iou(found[index]["click_2"], mask) > 0.99


@pytest.mark.parametrize("hq", ["add", "only", "off"])
@pytest.mark.parametrize("mode", ["auto", "single", "multi"])
def test_every_use_of_the_model_finds_plain_squares(
    asked: SAM2ImagePredictor, truths: list[np.ndarray], hq: str, mode: str
) -> None:
    asked.hq = hq
    guesses = list(prompted_masks(asked, truths, Protocol(clicks=1, masks=mode)))
    assert len(guesses) == 2 * 3
    boxes = [guess.iou for guess in guesses if guess.prompt == "box"]
    assert min(boxes) > 0.6


def test_objects_that_are_good_enough_get_no_more_than_five_clicks(
    asked: SAM2ImagePredictor, truths: list[np.ndarray]
) -> None:
    impossible = np.zeros((64, 80), bool)
    impossible[::9, ::9] = True
    ious = defaultdict(list)
    for guess in prompted_masks(asked, [truths[0], impossible], Protocol(clicks=7)):
        if guess.prompt.startswith("click"):
            ious[guess.index].append(guess.iou)
    assert len(ious[1]) == 7
    reached = [n for n, value in enumerate(ious[0], 1) if value >= GOAL and n >= 5]
    assert len(ious[0]) == (reached[0] if reached else 7)


def test_a_conversation_goes_on_with_some_objects(
    asked: SAM2ImagePredictor, truths: list[np.ndarray]
) -> None:
    clicks = [(*interior_point(truth), True) for truth in truths]
    talk = Conversation.about(asked, (64, 80), "auto", clicks=clicks)
    talk.masks()
    talk.keep([1])
    talk.click([(0, 0, False)])
    assert talk.masks().shape == (1, 64, 80)
    assert talk.labels.tolist() == [[1, 0]]


def test_boxes_and_ellipses_fill_their_boxes() -> None:
    box = box_of(square(4, 14))
    assert box == (4, 4, 13, 13)
    np.testing.assert_array_equal(box_mask((20, 20), box), square(4, 14))
    ellipse = ellipse_mask((20, 20), box)
    assert ellipse.sum() == pytest.approx(np.pi * 25, rel=0.06)
    assert box_of(ellipse) == box


def test_otsu_and_watershed_find_bright_squares(truths: list[np.ndarray]) -> None:
    rgb = np.repeat(np.where(truths[0] | truths[1], 0.9, 0.1)[..., None], 3, axis=2)
    labels = otsu_watershed(rgb)
    found = {(g.index, g.prompt): g.iou for g in baseline_masks(labels, truths)}
    assert found[0, "otsu_watershed"] > 0.8
    assert found[0, "box_filled"] == found[1, "box_filled"] == 1
    assert not look_up(labels, 0, 0).any()
    assert otsu_watershed(np.full((8, 8, 3), 0.3)).max() == 0


def test_objects_are_labels_or_their_pieces() -> None:
    labels = np.zeros((20, 20), np.int64)
    labels[2:5, 2:5], labels[10:14, 10:14], labels[0, 19] = 7, 7, 10**12
    whole = find_objects(labels)
    assert [(each.value, each.area) for each in whole] == [(7, 25), (10**12, 1)]
    pieces = find_objects(labels, split=True, min_area=2)
    assert [each.area for each in pieces] == [9, 16]
    np.testing.assert_array_equal(pieces[0].full((20, 20)), square(2, 5))
    assert [each.area for each in spread_objects(whole + pieces, 2)] == [25, 16]
    assert find_objects(np.full((4, 4), -1)) == []


def score(number: int, prompt: str, value: float, area: int = 500) -> ObjectScore:
    place = ("a", "a", 600, 300, number, number, area)
    return ObjectScore(*place, "add", "auto", prompt, value, value / 2)


def test_clicks_needed_by_hand() -> None:
    assert clicks_needed([0.5, 0.86, 0.7], 0.85, 20) == 2
    assert clicks_needed([0.5, 0.86], 0.9, 20) is None
    assert clicks_needed([0.5, 0.86, 0.95], 0.9, 2) is None


def test_summary_by_hand() -> None:
    series = {1: [0.95] * 5, 2: [0.5, 0.7, 0.86, 0.8, 0.9], 3: [0.1] * 6}
    scores = [
        score(number, f"click_{n}", value, area=20_000 if number == 3 else 500)
        for number, values in series.items()
        for n, value in enumerate(values, 1)
    ]
    tables = {table.name: table.records() for table in image_tables(scores, clicks=6)}
    means, needed = tables["means"], tables["clicks_needed"]
    by_object, by_image = tables["by_object_size"], tables["by_image_size"]
    assert [row["prompt"] for row in means] == ["click_1", "click_3", "click_5"]
    assert means[0]["iou"] == pytest.approx((0.95 + 0.5 + 0.1) / 3)
    assert means[0]["boundary_iou"] == pytest.approx(means[0]["iou"] / 2)
    assert needed[0]["clicks"] == pytest.approx((1 + 3 + 6) / 3)
    assert needed[1]["clicks"] == pytest.approx((1 + 5 + 6) / 3)
    assert needed[0]["not_reached"] == pytest.approx(1 / 3)
    sizes = {(row["size"], row["prompt"]): row for row in by_object}
    assert sizes["large", "click_1"]["iou"] == pytest.approx(0.1)
    assert sizes["small", "click_1"]["objects"] == 2
    assert {row["size"] for row in by_image} == {"<= 1024 px"}
    needed = tables["clicks_needed_by_object_size"]
    assert [(row["size"], row["goal"], row["objects"]) for row in needed] == [
        ("small", 0.85, 2),
        ("small", 0.9, 2),
        ("large", 0.85, 1),
        ("large", 0.9, 1),
    ]
    counts = [row["clicks"] for row in needed]
    assert counts == pytest.approx([(1 + 3) / 2, (1 + 5) / 2, 6, 6])
    assert [row["not_reached"] for row in needed] == [0, 0, 1, 1]


def test_sizes_are_listed_from_small_to_large() -> None:
    scores = [
        replace(score(number, prompt, 0.5, area), height=side)
        for number, (side, area) in enumerate(
            ((3000, 9216), (1500, 9215), (700, 1024), (600, 1023), (400, 5), (300, 5))
        )
        for prompt in ("box", "click_1")
    ]
    tables = {table.name: table.records() for table in image_tables(scores, clicks=1)}
    by_image = [(row["size"], row["prompt"]) for row in tables["by_image_size"]]
    assert [size for size, prompt in by_image if prompt == "box"] == [
        "<= 512 px",
        "<= 1024 px",
        "<= 2048 px",
        "> 2048 px",
    ]
    assert by_image[:2] == [("<= 512 px", "click_1"), ("<= 512 px", "box")]
    by_object = [
        (row["size"], row["objects"])
        for row in tables["by_object_size"]
        if row["prompt"] == "box"
    ]
    assert by_object == [("small", 3), ("medium", 2), ("large", 1)]


def test_an_interrupted_run_goes_on(
    predictor: SAM2VideoPredictor, pictures: tuple[Path, Path], run: Run
) -> None:
    pairs = pair_files(*pictures)
    options = ImageOptions(clicks=1, objects=1, boundary_px=2, masks=("single",))
    asked = SAM2ImagePredictor(predictor.model)
    evaluate_images(asked, pairs[:1], options, run)
    begun = (run.folder / "scores.csv").read_text(encoding="utf-8")
    evaluate_images(asked, pairs, options, run)
    done = (run.folder / "scores.csv").read_text(encoding="utf-8")
    assert done.startswith(begun)
    assert {line.split(",")[0] for line in done.splitlines()} == {"item", "a", "b"}
