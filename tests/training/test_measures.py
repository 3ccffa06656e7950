"""The quick evaluator beside the one that asks the predictor; tracking; the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.api import segment_image
from napari_hqsam2.evaluation.measures import iou
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.prompts import BoxPrompt, FramePrompts
from napari_hqsam2.training import report, tracking
from napari_hqsam2.training.evaluate import Protocol, evaluate_images
from napari_hqsam2.training.predicting import (
    BASELINES,
    evaluate_predictor,
    evaluate_segmenting,
)
from napari_hqsam2.training.report_tables import markdown
from napari_hqsam2.training.sources import Clip, Frame
from napari_hqsam2.training.tracking import (
    TrackingPlan,
    evaluate_tracking,
    owner,
    touches,
)
from napari_hqsam2.weights.download import cached_path

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.predictors.session import VideoSession


MODEL = "sam2.1_hq_hiera_nano"


def two_squares() -> Frame:
    labels = np.zeros((64, 64), dtype=np.uint16)
    labels[8:24, 8:24], labels[36:56, 30:50] = 1, 2
    return Frame(np.where(labels > 0, 220, 30).astype(np.uint8), labels)


def moving_squares(frames: int) -> Clip:
    """Both squares move 4 px to the right a frame."""
    frame = two_squares()
    shifts = range(0, 4 * frames, 4)
    return Clip(
        np.stack([np.roll(frame.image, shift, axis=1) for shift in shifts]),
        np.stack([np.roll(frame.labels, shift, axis=1) for shift in shifts]),
    )


def test_quick_scores_equal_those_of_the_predictor(micro: HqSam2) -> None:
    micro.eval()
    frame = two_squares()
    quick = evaluate_images(micro, [frame], Protocol(clicks=2))
    real = evaluate_predictor(SAM2ImagePredictor(micro), [frame], clicks=2)
    for name in ("click_1", "click_2", "box"):
        np.testing.assert_allclose(quick.iou[name], real["add"].iou[name], atol=0.02)
    assert real[BASELINES].iou["box_filled"] == [1.0, 1.0]


def test_uses_of_the_hq_mask_are_measured_apart(micro: HqSam2) -> None:
    micro.eval()
    modes = ("add", "off", "only")
    frames = [two_squares()]
    together = evaluate_predictor(SAM2ImagePredictor(micro), frames, hq=modes)
    for mode in modes:
        alone = evaluate_predictor(SAM2ImagePredictor(micro, hq=mode), frames)
        assert set(alone) == {"add", BASELINES}
        apart = evaluate_predictor(SAM2ImagePredictor(micro), frames, hq=(mode,))
        assert together[mode].iou == apart[mode].iou
    assert together["add"].iou != together["only"].iou


def test_segmenting_is_scored_as_users_see_it(micro: HqSam2) -> None:
    predictor, frame = SAM2VideoPredictor(micro.eval()), two_squares()
    scores = evaluate_segmenting(predictor, [frame], clicks=2)
    prompts = [
        FramePrompts((), 1, box=BoxPrompt(8, 8, 24, 24)),
        FramePrompts((), 2, box=BoxPrompt(36, 30, 56, 50)),
    ]
    labels = segment_image(frame.image, prompts, model=predictor)
    expected = [iou(labels == value, frame.labels == value) for value in (1, 2)]
    assert scores.iou["box"] == expected
    assert scores.iou.keys() == {"box", "click_1", "click_2"}


def test_tracking_is_compared_with_copying(micro: HqSam2) -> None:
    with torch.inference_mode():
        score = evaluate_tracking(SAM2VideoPredictor(micro.eval()), moving_squares(3))
    # 16 and 20 pixel squares moved by 4 and by 8
    overlaps = [[1, *((s - m) / (s + m) for m in (4, 8))] for s in (16, 20)]
    np.testing.assert_allclose(score.copied, overlaps)
    assert score.tracked.shape == (1, 2, 3)
    assert 0 <= score.mean() <= 1
    np.testing.assert_allclose(score.tracked[0, :, 0], 1, atol=0.1)
    assert not score.touching.any()


def test_every_round_clicks_into_the_worst_frame(
    micro: HqSam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[FramePrompts] = []
    sessions: list[VideoSession] = []
    really_say = tracking.say

    def say(*where: object, keep_old: bool = False) -> None:
        sessions.append(where[1])  # type: ignore[arg-type]
        said.append(where[2])  # type: ignore[arg-type]
        really_say(*where, keep_old=keep_old)  # type: ignore[arg-type]

    monkeypatch.setattr(tracking, "say", say)
    clip = moving_squares(4)
    with torch.inference_mode():
        score = evaluate_tracking(
            SAM2VideoPredictor(micro.eval()), clip, TrackingPlan(2, "click", 2)
        )
    assert score.tracked.shape == (3, 2, 4)
    assert score.kept.shape == (3, 2)
    starts, corrections = said[:2], [said[2:4], said[4:6]]
    assert [(each.position, each.obj_id) for each in starts] == [((0,), 1), ((0,), 2)]
    for before, prompts in zip(score.tracked, corrections, strict=False):
        worst = [(int(frame),) for frame in before.argmin(1)]
        assert [each.position for each in prompts] == worst
    session = sessions[0]
    for obj_id in (1, 2):
        told = {each.position[0] for each in said[:4] if each.obj_id == obj_id}
        assert told <= session.objects[obj_id].bank.conditioning.keys()
    for each in corrections[0]:
        (point,) = each.points
        truth = clip.labels[each.position[0], int(point.y), int(point.x)]
        assert point.positive == (truth == each.obj_id)


def test_a_mask_is_not_corrected_on_its_own_frame(
    micro: HqSam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "iou", lambda guess, truth: 0.5)
    with torch.inference_mode():
        predictor = SAM2VideoPredictor(micro.eval())
        frames = []
        monkeypatch.setattr(
            tracking, "_correct", lambda *given: frames.append(list(given[-1]))
        )
        evaluate_tracking(predictor, moving_squares(3), TrackingPlan(2, "mask", 1))
        evaluate_tracking(predictor, moving_squares(3), TrackingPlan(2, "click", 1))
    assert frames == [[1, 1], [0, 0]]


def test_whose_mask_it_is_and_who_touches_whom() -> None:
    labels = np.zeros((2, 8, 12), dtype=np.uint16)
    labels[0, 2:6, 0:3], labels[0, 2:6, 6:9] = 4, 7
    assert not touches(labels, 4)
    labels[1, 2:6, 0:3], labels[1, 2:6, 5:8] = 4, 7
    assert not touches(labels, 4)
    labels[1, 2:6, 4] = 7
    assert touches(labels, 4)
    assert touches(labels, 7)
    mask = np.zeros((8, 12), dtype=bool)
    assert owner(mask, labels[0]) == 0
    mask[2:6] = True
    mask[2, 0] = False
    assert owner(mask, labels[0]) == 7
    mask[2:4, 7] = False
    assert owner(mask, labels[0]) == 4


def test_a_report_has_every_table(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    command = [f"--weights={cached_path(MODEL)}", f"--data={data}", f"--out={out}"]
    command += ["--images=1", "--objects=2", "--frames=2", "--tracked=1"]
    command += ["--segmented=1"]
    report.main([*command, "--corrections=1"])
    figures = json.loads(out.read_text())
    stills, movie = figures["dsb2018"], figures["moving_tyx"]
    assert (stills["images"], stills["objects"]) == (1, 2)
    assert "from_mask" not in stills
    assert movie["tracked_objects"] == 2
    assert (movie["tracked_frames"], movie["unseen_frames"]) == (2, 1)
    for start in ("mask", "click"):
        for name in (f"from_{start}", f"from_{start}_corrected"):
            assert 0 <= movie[name] <= 1
            assert movie[f"{name}_unseen"] == pytest.approx(movie[name])
    printed = capsys.readouterr().out
    assert printed.count("| dsb2018 |") == 3
    assert f"{stills['segmented_click_3']:.3f}" in printed
    assert f"{stills['click_1_boundary_hq_off']:.3f}" in printed
    assert f"{movie['from_click_corrected']:.3f}" in printed
    assert "Mean J" not in markdown({"dsb2018": stills})
